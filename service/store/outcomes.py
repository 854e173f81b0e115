"""
Decides the outcome of every event: accepted, duplicate, conflict or rejected.

`EventStore.write` stores payloads together. A payload that cannot be stored does not affect the
others: the flush is halved until that payload, or that row, is alone.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
import structlog

from service._native import Plan, Row, Rows, is_same_content
from service.clock import Clock, moment
from service.content import as_object
from service.model import AcceptedVerdicts, Outcome, Payload, RejectedRow, Verdict, WriteResult
from service.reasons import CONFLICT_MESSAGES, Reason, RefusedError
from service.store.attempt import (
    Bounds,
    FlushRetrier,
    LockTimeoutError,
    RowRejectedError,
    RowSkippedError,
)
from service.store.ledger import (
    Flush,
    Judgement,
    LedgerEntry,
    LedgerTransaction,
    Verdicts,
    key_of,
)

log = structlog.get_logger()

MayQuarantine = Callable[[str, int], bool]
"""Whether one more row of this key (id) and size (bytes) may be quarantined; counts it if so."""

# At most what the names of its members and its event_id add to the content of a quarantined event.
_NAMES_BYTES_MAX: Final = 640
# How long to retry a payload blocked by another session's row lock, after the rest of its batch is
# stored.
_LOCK_RETRY_S: Final = 1.0
# Conflicts of a flush that are encoded before other requests go on. Each takes tens of us.
_CONFLICTS_PER_ITERATION: Final = 50
_REJECTED_MESSAGE: Final = "PostgreSQL refused to store this event."
_LOCKED_MESSAGE: Final = (
    "Another writer holds one of these ids; nothing was stored. Send again with the same ids."
)


class EventStore:
    """The write path of one worker."""

    def __init__(self, retrier: FlushRetrier, clock: Clock, may_quarantine: MayQuarantine) -> None:
        self._retrier = retrier
        self._clock = clock
        self._may_quarantine = may_quarantine

    async def write(self, payloads: list[Payload], deadline: float) -> list[WriteResult]:
        """
        Store *payloads* together, until *deadline* (monotonic seconds).

        Returns the verdicts of each payload, once committed. A payload that could not be stored has
        a RefusedError instead: `store_unavailable` when nothing of it is stored, `outcome_unknown`
        when a part of it may be.
        """
        return await self._store(payloads, Bounds(deadline, is_splittable=len(payloads) > 1))

    async def _store(self, payloads: list[Payload], bounds: Bounds) -> list[WriteResult]:
        events = [payload.events for payload in payloads]
        rejected = [row for payload in payloads for row in payload.rejected]
        flush = flush_of(events, rejected, self._may_quarantine)
        if not len(flush.plan) and not rejected:
            return [[] for _ in payloads]
        try:
            verdicts = await self._retrier.store(flush, bounds)
        except RefusedError as refusal:
            return [refusal for _ in payloads]
        except (LockTimeoutError, RowSkippedError):
            if len(payloads) == 1:
                return [RefusedError(Reason.STORE_UNAVAILABLE, _LOCKED_MESSAGE)]
        except RowRejectedError:
            if len(payloads) == 1:
                return [await self._store_by_row(payloads[0], bounds)]
        else:
            return [verdicts_of(payload, verdicts) for payload in payloads]
        # One of several payloads made the flush fail; it is not known which.
        return await self._store_halves(payloads, bounds)

    async def _store_halves(self, payloads: list[Payload], bounds: Bounds) -> list[WriteResult]:
        """Store the halves in order, so that of two equal events the first one is accepted."""
        if bounds.lock_deadline is None:
            lock_deadline = self._clock.monotonic() + _LOCK_RETRY_S
            bounds = msgspec.structs.replace(bounds, lock_deadline=lock_deadline)
        middle = len(payloads) // 2
        written: list[WriteResult] = []
        for half in (payloads[:middle], payloads[middle:]):
            half_bounds = msgspec.structs.replace(bounds, is_splittable=len(half) > 1)
            written += await self._store(half, half_bounds)
        return written

    async def _store_by_row(self, payload: Payload, bounds: Bounds) -> WriteResult:
        try:
            verdicts = await self._isolate(payload.events, payload.rejected, bounds)
        except (RefusedError, LockTimeoutError):
            return RefusedError(Reason.OUTCOME_UNKNOWN)  # other rows of it may have been stored
        return verdicts_of(payload, verdicts)

    async def _isolate(self, events: Rows, rejected: list[RejectedRow], bounds: Bounds) -> Verdicts:
        """Store the rows of one payload, in smaller and smaller parts; reject the bad rows only."""
        if not len(events) and not rejected:
            return {}
        flush = flush_of([events], rejected, self._may_quarantine)
        try:
            return await self._retrier.store(flush, bounds)
        except RowRejectedError as caught:
            error = caught
        if len(events) + len(rejected) > 1:
            verdicts: Verdicts = {}
            for some_events, some_rejected in _halves(events, rejected):
                verdicts |= await self._isolate(some_events, some_rejected, bounds)
            return verdicts
        if len(events):
            return await self._reject(events, error, bounds)
        log.error("quarantine_refused", id=rejected[0].id, error=str(error))
        return {}

    async def _reject(self, events: Rows, error: RowRejectedError, bounds: Bounds) -> Verdicts:
        (row,) = events.all()
        log.error("event_refused_by_store", id=row.id, error=str(error))
        rejected = []
        if self._may_quarantine(row.key_id, quarantined_bytes_max(row)):
            message = f"{_REJECTED_MESSAGE} ({error})"
            rejected = [quarantined(row, Reason.STORE_REFUSED, message)]
        await self._isolate(events.part(0, 0), rejected, bounds)
        verdict = Verdict(
            row.event_id, Outcome.REJECTED, Reason.STORE_REFUSED, message=_REJECTED_MESSAGE
        )
        return {row.id: verdict}


def flush_of(
    events: list[Rows], rejected: list[RejectedRow], may_quarantine: MayQuarantine
) -> Flush:
    """Return the flush of these rows."""
    return Flush(events, rejected, Plan(events), partial(judge, may_quarantine))


async def judge(
    may_quarantine: MayQuarantine, transaction: LedgerTransaction, rows: list[Row]
) -> Judgement:
    """Decide the outcomes of *rows*, whose keys the ledger or an earlier row of the flush has."""
    entries = await transaction.find_entries(rows)
    judgement = Judgement({}, [])
    conflicts: list[tuple[Row, LedgerEntry]] = []
    for row in rows:
        entry = entries[key_of(row)]
        outcome = outcome_of(row, entry)
        if outcome is Outcome.CONFLICT:
            conflicts.append((row, entry))
        else:
            judgement.verdicts[row.id] = Verdict(row.event_id, outcome)
    if not conflicts:
        return judgement
    stored = [(row.tenant_id, entry.received_at, entry.id) for row, entry in conflicts]
    workspaces = await transaction.find_workspaces(stored)
    for number, ((row, _), event) in enumerate(zip(conflicts, stored, strict=True), start=1):
        if number % _CONFLICTS_PER_ITERATION == 0:
            await asyncio.sleep(0)
        is_same_workspace = workspaces.get(event, row.workspace_id) == row.workspace_id
        reason = Reason.CONTENT_DIFFERS if is_same_workspace else Reason.ID_USED_IN_OTHER_WORKSPACE
        judgement.verdicts[row.id] = conflict_verdict(row, reason)
        if may_quarantine(row.key_id, quarantined_bytes_max(row)):
            judgement.quarantined.append(quarantined(row, reason, CONFLICT_MESSAGES[reason]))
    return judgement


def outcome_of(row: Row, entry: LedgerEntry) -> Outcome:
    """Compare *row* with the ledger entry that has its key."""
    # An id alone does not identify a row: another process may have used the same id.
    if entry.id == row.id and entry.received_at == moment(row.received_at_us):
        return Outcome.ACCEPTED  # an earlier attempt of this flush was committed
    if is_same_content(entry.payload_hash, row.payload_hash):
        return Outcome.DUPLICATE
    return Outcome.CONFLICT


def ledger_entry(row: Row) -> LedgerEntry:
    """Return the ledger entry of *row* when it is the first with its key."""
    return LedgerEntry(row.id, row.payload_hash, moment(row.received_at_us))


def conflict_verdict(row: Row, reason: Reason) -> Verdict:
    """Return the verdict for an event whose id belongs to another stored event."""
    return Verdict(row.event_id, Outcome.CONFLICT, reason, "event_id", CONFLICT_MESSAGES[reason])


def verdicts_of(payload: Payload, verdicts: Verdicts) -> AcceptedVerdicts | list[Verdict]:
    """Return the verdicts of a payload in order; rows that are not in *verdicts* are accepted."""
    events = payload.events
    if not verdicts or verdicts.keys().isdisjoint(events.ids):
        return AcceptedVerdicts(events)
    rows = zip(events.ids, AcceptedVerdicts(events), strict=True)
    return [verdicts.get(row_id, accepted) for row_id, accepted in rows]


def quarantined(row: Row, reason: Reason, message: str) -> RejectedRow:
    """Return the quarantine row of *row*, with its event encoded as JSON again."""
    sent_at = None if row.sent_at_us is None else moment(row.sent_at_us)
    return RejectedRow(
        id=row.id,
        tenant_id=row.tenant_id,
        workspace_id=row.workspace_id,
        event_id=row.event_id,
        code=reason,
        field=None,
        message=message,
        payload=as_object(row.content, row.event_id, sent_at),
        request_id=row.request_id,
        received_at=moment(row.received_at_us),
        key_id=row.key_id,
    )


def quarantined_bytes_max(row: Row) -> int:
    """Return at most the bytes of *row* in quarantine, without encoding it."""
    return len(row.content) + _NAMES_BYTES_MAX


def _halves(events: Rows, rejected: list[RejectedRow]) -> list[tuple[Rows, list[RejectedRow]]]:
    if len(events) and rejected:
        return [(events, []), (events.part(0, 0), rejected)]
    middle, rejected_middle = len(events) // 2, len(rejected) // 2
    return [
        (events.part(0, middle), rejected[:rejected_middle]),
        (events.part(middle, len(events)), rejected[rejected_middle:]),
    ]
