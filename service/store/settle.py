"""Runs one flush until its outcome is known, or time is up."""

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from service.clock import Clock
from service.reasons import Reason, Refusal
from service.store.causes import Cause, Trouble, trouble_of
from service.store.faults import Fault, classify, is_known_rollback
from service.store.flush import Flush, Verdicts
from service.store.partitions import ensure_partitions
from service.store.pool import Session, lent
from service.store.readiness import Readiness
from service.store.sessions import Sessions
from service.store.sql import statement
from service.store.transaction import Transaction

log = structlog.get_logger()

# A retry would fail too: an operator has to act first.
_FINAL: Final = frozenset({Fault.CAPACITY, Fault.REFUSED, Fault.BUG})
_ADVICE: Final = "Nothing was stored. Send again with the same ids."
_TRIES_MAX: Final = 5
# A second session may reach the new primary; a third one would reach the same server.
_TRIES_READ_ONLY_MAX: Final = 2
_PAUSE_S: Final = 0.02
# A session that was told to end is waited for this long before its rows are run again.
_END_SESSION_MS: Final = 500
# A session that outlived its flush holds the flush's rows: for so long it is tried to be ended.
_END_LATER_S: Final = 60.0
_END_TRY_S: Final = 5.0


class Poisoned(Exception):  # noqa: N818 - one row of a flush cannot be stored; which is not known
    """A flush failed for the data of one of its rows, and was rolled back."""


class Blocked(Exception):  # noqa: N818 - one payload blocks the others; not known which
    """
    A flush was rolled back because of one of its payloads.

    Another session holds a lock on one of its rows for too long, or a table did not store a row.
    """


class Bounds(msgspec.Struct, frozen=True):
    """
    How long a flush may take (monotonic seconds).

    `is_splittable`: instead of waiting once more for a held row, let the flush be halved.
    `held_until`: waits for held rows are short from now on, and end here.
    """

    deadline: float
    is_splittable: bool = False
    held_until: float | None = None


class _Known:
    """What is known of a flush after the tries so far."""

    def __init__(self) -> None:
        self.is_nothing_stored = True
        self.trouble = Trouble(Cause.AWAY)

    def note(self, fault: Fault, attempt: Transaction | None, error: Exception) -> None:
        # LOST includes a try that began at the deadline, which says nothing about the cause.
        if fault is not Fault.LOST:
            self.trouble = trouble_of(error)
        if attempt is not None and attempt.is_commit_sent:
            is_rolled_back = is_known_rollback(error) and not attempt.is_committed
            self.is_nothing_stored = self.is_nothing_stored and is_rolled_back

    @property
    def refusal(self) -> Refusal:
        """The answer when there are no more tries."""
        if self.is_nothing_stored:
            return Refusal(Reason.STORE_UNAVAILABLE, f"{self.trouble.message} {_ADVICE}")
        return Refusal(Reason.OUTCOME_UNKNOWN)


class Settler:
    """Runs flushes over the connections of a pool."""

    def __init__(
        self,
        pool: Any,
        clock: Clock,
        *,
        acquire_timeout_s: float,
        keep: Callable[[str], bool],
        on_fault: Callable[[Fault], None],
        on_change: Callable[[Trouble | None, Trouble | None], None] = lambda _before, _now: None,
    ) -> None:
        """
        *keep* is the quarantine budget by key; *on_fault* counts failed tries by class.

        *on_change* gets the previous and the current trouble of all flushes; None: no trouble.
        """
        self._pool = pool
        self._sessions = Sessions(pool, clock, wait_s=acquire_timeout_s)
        self.readiness = Readiness(pool, self._sessions, clock, on_change)
        self._clock = clock
        self._keep = keep
        self._on_fault = on_fault
        self._endings: set[asyncio.Task[None]] = set()

    @property
    def idle_connections(self) -> int:
        """Connections that are kept for the next flush."""
        return self._sessions.idle

    async def settle(self, flush: Flush, bounds: Bounds) -> Verdicts:
        """
        Store *flush*; return verdicts of late rows. The ids of its rows make a second run safe.

        Raises
        ------
        Poisoned, Blocked
            Nothing is stored, because of one row.
        Refusal
            `store_unavailable`: nothing is stored. `outcome_unknown`: it may be.
        """
        known = _Known()
        is_impatient = bounds.held_until is not None
        for tries in itertools.count(1):
            attempt: Transaction | None = None
            try:
                async with self._sessions.lent(bounds.deadline) as session:
                    await self.readiness.require_safe(session)
                    attempt = Transaction(session, flush, self._keep, is_impatient=is_impatient)
                    verdicts = await attempt.run()
            except Exception as error:
                fault = classify(error)
                self._on_fault(fault)
                log.warning("flush_try_failed", fault=fault, tries=tries, error=describe(error))
                known.note(fault, attempt, error)
                if known.is_nothing_stored and fault is Fault.DATA:
                    raise Poisoned(describe(error)) from error
                if known.is_nothing_stored and fault is Fault.HELD:
                    self._require_patience(bounds)
            else:
                self.readiness.stored()
                return verdicts
            if not self._may_try_again(fault, tries, bounds.deadline):
                self._end_later(fault, attempt)
                break
            await self._recover(fault, attempt, flush, bounds.deadline)
            await self._pause(tries, bounds.deadline)
        is_of_rows = known.trouble.cause is Cause.ROWS_MISSING
        if is_of_rows and known.is_nothing_stored and bounds.is_splittable:
            raise Blocked
        self.readiness.flush_failed(known.trouble)
        raise known.refusal

    def _require_patience(self, bounds: Bounds) -> None:
        held_until = bounds.held_until
        is_over = held_until is not None and self._clock.monotonic() >= held_until
        if bounds.is_splittable or is_over:
            raise Blocked

    def _may_try_again(self, fault: Fault, tries: int, deadline: float) -> bool:
        if fault in _FINAL or self._clock.monotonic() >= deadline:
            return False
        # Faults that may pass by themselves are retried until the deadline, others a few times.
        tries_max = _TRIES_READ_ONLY_MAX if fault is Fault.READ_ONLY else _TRIES_MAX
        return fault in {Fault.LOST, Fault.HELD, Fault.UNCONFIRMED} or tries < tries_max

    async def _pause(self, tries: int, deadline: float) -> None:
        pause_s = _PAUSE_S * 2 ** min(tries, _TRIES_MAX) * random.random()  # noqa: S311 - jitter
        await asyncio.sleep(max(min(pause_s, deadline - self._clock.monotonic()), 0))

    async def _recover(
        self, fault: Fault, attempt: Transaction | None, flush: Flush, deadline: float
    ) -> None:
        """Do what makes another try worth while; its own failures are left to that try."""
        left = deadline - self._clock.monotonic()
        if left <= 0:
            return
        try:
            async with asyncio.timeout(left):
                if fault is Fault.LOST and attempt is not None:
                    await self._end_session(attempt.session)
                elif fault is Fault.PARTITION:
                    for day in sorted(flush.days):
                        await ensure_partitions(self._pool, day, day)
        except Exception as error:  # noqa: BLE001 - the next try meets the same fault and is sorted
            log.warning("recovery_failed", fault=fault, error=describe(error))

    def _end_later(self, fault: Fault, attempt: Transaction | None) -> None:
        """
        End the session of a flush that has run out of time, so that its rows can be sent again.

        Behind a line that fell silent the server does not know that nobody is there; in the middle
        of COPY data none of its own limits ends such a session.
        """
        if fault is Fault.LOST and attempt is not None:
            ending = asyncio.create_task(self._keep_ending(attempt.session))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    async def _keep_ending(self, session: Session) -> None:
        until = self._clock.monotonic() + _END_LATER_S
        while self._clock.monotonic() < until and not self._pool.is_closing():
            try:
                async with asyncio.timeout(_END_TRY_S):
                    await self._end_session(session)
                    return
            except Exception as error:  # noqa: BLE001 - it is tried again, and the server has limits
                log.warning("session_not_ended", error=describe(error))
            await asyncio.sleep(_END_TRY_S / 5)

    async def _end_session(self, session: Session) -> None:
        async with lent(self._pool) as connection:
            await connection.execute(
                statement("end_session"), session.pid, session.backend_start, _END_SESSION_MS
            )


def describe(error: BaseException) -> str:
    """Name an error without its text, which may quote an event."""
    state = getattr(error, "sqlstate", None)
    constraint = getattr(error, "constraint_name", None)
    table = getattr(error, "table", None) or getattr(error, "table_name", None)
    parts = (type(error).__name__, state, constraint, table, getattr(error, "setting", None))
    return " ".join(str(part) for part in parts if part)
