"""Stores payloads together; what is in the way of one of them costs the others nothing."""

from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from service._native import Rows
from service.clock import Clock
from service.model import Accepted, Outcome, Payload, RejectedRow, Verdict, Written
from service.reasons import Reason, Refusal
from service.store.flush import Verdicts, flush_of, quarantined, verdicts_of
from service.store.settle import Blocked, Bounds, Poisoned, Settler

log = structlog.get_logger()

# A payload whose row another session holds is tried again for so long once its mates are settled.
_HELD_S: Final = 1.0
_POISON_MESSAGE: Final = "PostgreSQL refused to store this event."
_HELD_MESSAGE: Final = (
    "Another writer holds one of these ids; nothing was stored. Send again with the same ids."
)


class EventStore:
    """The write path of one worker."""

    def __init__(self, settler: Settler, clock: Clock, keep: Callable[[str], bool]) -> None:
        """*keep* is the quarantine budget by key."""
        self._settler = settler
        self._clock = clock
        self._keep = keep

    async def write(self, payloads: list[Payload], deadline: float) -> list[Written]:
        """
        Store *payloads* together; return their verdicts once committed.

        A payload that could not be settled has a Refusal in its place: `store_unavailable` when
        nothing of it is stored, `outcome_unknown` when it may be.
        """
        return await self._store(payloads, Bounds(deadline, is_splittable=len(payloads) > 1))

    async def _store(self, payloads: list[Payload], bounds: Bounds) -> list[Written]:
        rejected = [row for payload in payloads for row in payload.rejected]
        flush = flush_of([payload.events for payload in payloads], rejected)
        if not len(flush.plan) and not rejected:
            return [[] for _ in payloads]
        try:
            late = await self._settler.settle(flush, bounds)
        except Refusal as refusal:
            return [refusal for _ in payloads]
        except Blocked:
            if len(payloads) == 1:
                return [Refusal(Reason.STORE_UNAVAILABLE, _HELD_MESSAGE)]
        except Poisoned:
            if len(payloads) == 1:
                return [await self._store_rows_apart(payloads[0], bounds)]
        else:
            return _written(payloads, late)
        # In order, so that of twins the first to arrive stays the first.
        middle = len(payloads) // 2
        halves = payloads[:middle], payloads[middle:]
        bounds = self._without_patience(bounds)
        return [
            written
            for half in halves
            for written in await self._store(
                half, msgspec.structs.replace(bounds, is_splittable=len(half) > 1)
            )
        ]

    def _without_patience(self, bounds: Bounds) -> Bounds:
        """Return bounds for the halves of a flush: none waits long while the others wait for it."""
        held_until = bounds.held_until or self._clock.monotonic() + _HELD_S
        return msgspec.structs.replace(bounds, held_until=held_until)

    async def _store_rows_apart(self, payload: Payload, bounds: Bounds) -> Written:
        try:
            late = await self._isolate(payload.events, payload.rejected, bounds)
        except (Refusal, Blocked):
            return Refusal(Reason.OUTCOME_UNKNOWN)  # a part of it may have been stored
        return verdicts_of(payload, late)

    async def _isolate(self, events: Rows, rejected: list[RejectedRow], bounds: Bounds) -> Verdicts:
        """Store the rows; one that PostgreSQL refuses is found by halving and costs only itself."""
        if not len(events) and not rejected:
            return {}
        try:
            return await self._settler.settle(flush_of([events], rejected), bounds)
        except Poisoned as caught:
            poisoned = caught
        if len(events) + len(rejected) > 1:
            late: Verdicts = {}
            for some_events, some_rejected in _halves(events, rejected):
                late |= await self._isolate(some_events, some_rejected, bounds)
            return late
        if len(events):
            return await self._refuse(events, poisoned, bounds)
        log.error("quarantine_refused", id=rejected[0].id, error=str(poisoned))
        return {}

    async def _refuse(self, events: Rows, poisoned: Poisoned, bounds: Bounds) -> Verdicts:
        (row,) = events.all()
        log.error("event_refused_by_store", id=row.id, error=str(poisoned))
        kept = quarantined(row, Reason.STORE_REFUSED, f"{_POISON_MESSAGE} ({poisoned})")
        await self._isolate(events.part(0, 0), [kept] if self._keep(row.key_id) else [], bounds)
        return {
            row.id: Verdict(
                row.event_id, Outcome.REJECTED, Reason.STORE_REFUSED, message=_POISON_MESSAGE
            )
        }


def _written(payloads: list[Payload], late: Verdicts) -> list[Written]:
    if not late:
        return [Accepted(payload.events) for payload in payloads]
    return [verdicts_of(payload, late) for payload in payloads]


def _halves(events: Rows, rejected: list[RejectedRow]) -> list[tuple[Rows, list[RejectedRow]]]:
    if len(events) and rejected:
        return [(events, []), (events.part(0, 0), rejected)]
    middle, rejected_middle = len(events) // 2, len(rejected) // 2
    return [
        (events.part(0, middle), rejected[:rejected_middle]),
        (events.part(middle, len(events)), rejected[rejected_middle:]),
    ]
