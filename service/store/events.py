"""Stores flushes: one transaction each, run again until its outcome is known or time is up."""

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from service.clock import Clock
from service.model import EventRow, Outcome, Payload, RejectedRow, Verdict
from service.reasons import Reason, Refusal
from service.store.faults import Fault, SilentRollbackError, classify
from service.store.flush import Flush, plan, quarantined
from service.store.partitions import ensure_partitions
from service.store.pool import lent
from service.store.sql import statement
from service.store.transaction import Transaction, Verdicts

log = structlog.get_logger()

_TRIES_MAX: Final = 5
_PAUSE_S: Final = 0.02
# A session that was told to end is waited for this long before its rows are run again.
_END_SESSION_MS: Final = 500
# Past the deadline of a flush its connection is torn down; its task then ends at once.
_TEARDOWN_S: Final = 1.0
_POISON_MESSAGE: Final = "PostgreSQL refused to store this event."


class Poisoned(Exception):  # noqa: N818 - one row of a flush cannot be stored; which is not known
    """A flush failed for the data of one of its rows, and was rolled back."""


class EventStore:
    """The write path of one worker."""

    def __init__(
        self,
        pool: Any,
        clock: Clock,
        *,
        keep: Callable[[str], bool],
        on_fault: Callable[[Fault], None],
    ) -> None:
        """*keep* is the quarantine budget by key; *on_fault* counts what went wrong."""
        self._pool = pool
        self._clock = clock
        self._keep = keep
        self._on_fault = on_fault

    async def write(self, payloads: list[Payload], deadline: float) -> list[list[Verdict]]:
        """
        Store *payloads* together; return their verdicts once committed.

        Raises
        ------
        Refusal
            `store_unavailable`: nothing is stored. `outcome_unknown`: it may be.
        """
        rows = [row for payload in payloads for row in payload.events]
        rejected = [row for payload in payloads for row in payload.rejected]
        verdicts = await self._isolate(rows, rejected, deadline)
        return [[verdicts[row.id] for row in payload.events] for payload in payloads]

    async def _isolate(
        self, rows: list[EventRow], rejected: list[RejectedRow], deadline: float
    ) -> Verdicts:
        """Store the rows; one that PostgreSQL refuses is found by halving and costs only itself."""
        if not rows and not rejected:
            return {}
        try:
            return await self._settle(plan(rows, rejected), deadline)
        except Poisoned as caught:
            poisoned = caught
        if len(rows) + len(rejected) > 1:
            # In order, so that of twins the first to arrive stays the first.
            verdicts: Verdicts = {}
            for some_rows, some_rejected in _halves(rows, rejected):
                verdicts |= await self._isolate(some_rows, some_rejected, deadline)
            return verdicts
        if rows:
            return await self._refuse(rows[0], poisoned, deadline)
        log.error("quarantine_refused", id=rejected[0].id, error=str(poisoned))
        return {}

    async def _refuse(self, row: EventRow, poisoned: Poisoned, deadline: float) -> Verdicts:
        log.error("event_refused_by_store", id=row.id, error=str(poisoned))
        kept = quarantined(row, Reason.STORE_REFUSED, f"{_POISON_MESSAGE} ({poisoned})")
        await self._isolate([], [kept] if self._keep(row.key_id) else [], deadline)
        return {
            row.id: Verdict(
                row.event_id,
                Outcome.REJECTED,
                Reason.STORE_REFUSED,
                message=_POISON_MESSAGE,
            )
        }

    async def _settle(self, flush: Flush, deadline: float) -> Verdicts:
        """Run *flush* until its outcome is known. The ids of its rows make a second run safe."""
        reason = Reason.STORE_UNAVAILABLE
        for tries in itertools.count(1):
            attempt = _Attempt()
            try:
                return await self._attempt(attempt, flush, deadline)
            except Exception as error:
                fault = classify(error)
                self._on_fault(fault)
                log.warning("flush_try_failed", fault=fault, tries=tries, error=_describe(error))
                if attempt.is_outcome_unknown(error):
                    reason = Reason.OUTCOME_UNKNOWN
                if fault is Fault.DATA:
                    raise Poisoned(_describe(error)) from error
            if not self._may_try_again(fault, tries, deadline):
                break
            await self._recover(fault, attempt, flush, deadline)
            await self._pause(tries, deadline)
        raise Refusal(reason)

    def _may_try_again(self, fault: Fault, tries: int, deadline: float) -> bool:
        if fault in {Fault.CAPACITY, Fault.BUG} or self._clock.monotonic() >= deadline:
            return False
        # A database that comes back within the deadline is waited for; the rest has its chances.
        return fault is Fault.LOST or tries < _TRIES_MAX

    async def _pause(self, tries: int, deadline: float) -> None:
        pause_s = _PAUSE_S * 2 ** min(tries, _TRIES_MAX) * random.random()  # noqa: S311 - jitter
        await asyncio.sleep(max(min(pause_s, deadline - self._clock.monotonic()), 0))

    async def _attempt(self, attempt: "_Attempt", flush: Flush, deadline: float) -> Verdicts:
        left = deadline - self._clock.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline of the flush has passed")
        async with self._pool.acquire(timeout=left) as connection:
            attempt.session = (connection.pid, connection.backend_start)
            attempt.transaction = Transaction(connection, flush, self._keep)
            running = asyncio.ensure_future(attempt.transaction.run())
            # Not wait_for, and no timeout of asyncpg: both cancel, and a cancel that meets COMMIT
            # can make it lie. Past the deadline the connection is torn down instead.
            done, _ = await asyncio.wait(
                {running}, timeout=max(deadline - self._clock.monotonic(), 0)
            )
            if not done:
                connection.terminate()
                await asyncio.wait({running}, timeout=_TEARDOWN_S)
            return await running

    async def _recover(
        self, fault: Fault, attempt: "_Attempt", flush: Flush, deadline: float
    ) -> None:
        """Do what makes another try worth while; its own failures are left to that try."""
        left = deadline - self._clock.monotonic()
        if left <= 0:
            return
        try:
            async with asyncio.timeout(left):
                if fault is Fault.LOST and attempt.session is not None:
                    await self._end_session(*attempt.session)
                elif fault is Fault.PARTITION:
                    days = [row.received_at.date() for row in flush.firsts + flush.twins]
                    days += [row.received_at.date() for row in flush.rejected]
                    await ensure_partitions(self._pool, min(days), max(days))
        except Exception as error:  # noqa: BLE001 - the next try meets the same fault and is sorted
            log.warning("recovery_failed", fault=fault, error=_describe(error))

    async def _end_session(self, pid: int, backend_start: object) -> None:
        async with lent(self._pool) as connection:
            await connection.execute(statement("end_session"), pid, backend_start, _END_SESSION_MS)


class _Attempt(msgspec.Struct):
    """How far one try came: which session ran it, and whether COMMIT had left."""

    session: tuple[int, object] | None = None
    transaction: Transaction | None = None

    def is_outcome_unknown(self, error: Exception) -> bool:
        if self.transaction is None or not self.transaction.is_commit_sent:
            return False
        return not isinstance(error, SilentRollbackError)


def _halves(
    rows: list[EventRow], rejected: list[RejectedRow]
) -> list[tuple[list[EventRow], list[RejectedRow]]]:
    if rows and rejected:
        return [(rows, []), ([], rejected)]
    middle, rejected_middle = len(rows) // 2, len(rejected) // 2
    return [
        (rows[:middle], rejected[:rejected_middle]),
        (rows[middle:], rejected[rejected_middle:]),
    ]


def _describe(error: BaseException) -> str:
    """Name an error without its text, which may quote an event."""
    state = getattr(error, "sqlstate", None)
    constraint = getattr(error, "constraint_name", None)
    return " ".join(str(part) for part in (type(error).__name__, state, constraint) if part)
