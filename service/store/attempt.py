"""Attempts to store one flush: retries until its outcome is known, or its deadline has passed."""

import asyncio
import random
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from service.clock import Clock
from service.reasons import Reason, RefusedError
from service.store.connections import Connection, FlushConnections, lent
from service.store.errors import Cause, FailureClass, Trouble, classify, describe, trouble_of
from service.store.ledger import AttemptState, Flush, LedgerTransaction, Verdicts
from service.store.partitions import ensure_partitions
from service.store.readiness import Readiness
from service.store.sql import statement

log = structlog.get_logger()

# A retry would fail too: an operator has to act first.
_FINAL: Final = frozenset({FailureClass.CAPACITY, FailureClass.REFUSED, FailureClass.BUG})
# Failures that may pass by themselves are retried until the deadline, others a few times.
_UNTIL_DEADLINE: Final = frozenset({FailureClass.LOST, FailureClass.HELD, FailureClass.UNCONFIRMED})
_ATTEMPTS_MAX: Final = 5
# A second session may reach the new primary; a third one would reach the same server.
_ATTEMPTS_READ_ONLY_MAX: Final = 2
# Upper bound of the first pause between attempts; it doubles with each attempt.
_PAUSE_S: Final = 0.04
_ADVICE: Final = "Nothing was stored. Send again with the same ids."
# How long an attempt waits for the end of the session that the last attempt has lost.
_END_SESSION_MS: Final = 500
# How long, and in which intervals, to try to end the lost session of a flush that was given up.
_END_SESSION_S: Final = 60.0
_END_SESSION_TIMEOUT_S: Final = 5.0
_END_SESSION_PAUSE_S: Final = 1.0


class RowRejectedError(Exception):
    """PostgreSQL rejects the data of a row of the flush. Nothing was stored."""


class LockTimeoutError(Exception):
    """Another session holds a lock on a row of the flush for too long. Nothing was stored."""


class RowSkippedError(Exception):
    """A table did not store a row of a flush of several payloads. Nothing was stored."""


class Bounds(msgspec.Struct, frozen=True):
    """
    How long a flush may take (monotonic seconds).

    `is_splittable`: the flush can be halved, so one lock timeout ends it.
    `lock_deadline`: lock timeouts are short from now on, and after this time one ends the flush.
    """

    deadline: float
    is_splittable: bool = False
    lock_deadline: float | None = None


class FlushRetrier:
    """Stores flushes over the connections of a pool."""

    def __init__(
        self,
        pool: Any,
        clock: Clock,
        *,
        acquire_timeout_s: float,
        on_failure: Callable[[FailureClass], None],
        on_change: Callable[[Trouble | None, Trouble | None], None] = lambda _before, _now: None,
    ) -> None:
        """
        *on_failure* counts failed attempts by class.

        *on_change* gets the previous and the current trouble of all flushes; None: no trouble.
        """
        self._pool = pool
        self._connections = FlushConnections(pool, clock, wait_s=acquire_timeout_s)
        self.readiness = Readiness(pool, self._connections, clock, on_change)
        self._clock = clock
        self._on_failure = on_failure
        self._endings: set[asyncio.Task[None]] = set()

    @property
    def idle_connections(self) -> int:
        """Idle connections that wait for the next flush."""
        return self._connections.idle

    async def store(self, flush: Flush, bounds: Bounds) -> Verdicts:
        """
        Store *flush*; return the verdicts of the rows whose outcome is not simply `accepted`.

        Attempts may repeat a committed attempt: the ids of the rows make that safe.

        Raises
        ------
        RowRejectedError, LockTimeoutError, RowSkippedError
            Nothing is stored, because of one row; it is not known which.
        RefusedError
            `store_unavailable`: nothing is stored. `outcome_unknown`: rows may be stored.
        """
        state, trouble, attempts = AttemptState(), Trouble(Cause.AWAY), 0
        while True:
            attempts += 1
            try:
                verdicts = await self._attempt(flush, bounds, state)
            except Exception as error:  # noqa: BLE001 - every failed attempt is classified
                failure = classify(error)
                self._on_failure(failure)
                log.warning(
                    "flush_try_failed", fault=failure, tries=attempts, error=describe(error)
                )
                state.fail(error)
                state.is_lock_held = failure is FailureClass.HELD
                # LOST includes an attempt that began at the deadline: it does not tell the cause.
                if failure is not FailureClass.LOST:
                    trouble = trouble_of(error)
                self._raise_for_one_row(failure, error, state, bounds)
            else:
                self.readiness.stored()
                return verdicts
            if not self._may_retry(failure, attempts, bounds.deadline):
                if failure is FailureClass.LOST and state.connection is not None:
                    self._end_session_later(state.connection)
                raise self._final_error(trouble, state, bounds)
            await self._recover(failure, state.connection, flush, bounds.deadline)
            await self._pause(attempts, bounds.deadline)

    async def _attempt(self, flush: Flush, bounds: Bounds, state: AttemptState) -> Verdicts:
        state.begin()
        async with self._connections.lend(bounds.deadline) as connection:
            await self.readiness.require_safe(connection)
            state.connection = connection
            short_lock_timeout = bounds.lock_deadline is not None
            return await LedgerTransaction(
                connection, flush, state, short_lock_timeout=short_lock_timeout
            ).run()

    def _raise_for_one_row(
        self, failure: FailureClass, error: Exception, state: AttemptState, bounds: Bounds
    ) -> None:
        """Raise when other rows can be stored without the row that made the attempt fail."""
        if not state.is_nothing_stored:
            return
        if failure is FailureClass.DATA:
            raise RowRejectedError(describe(error)) from error
        if failure is FailureClass.HELD:
            lock_deadline = bounds.lock_deadline
            is_over = lock_deadline is not None and self._clock.monotonic() >= lock_deadline
            if bounds.is_splittable or is_over:
                raise LockTimeoutError

    def _final_error(self, trouble: Trouble, state: AttemptState, bounds: Bounds) -> Exception:
        """Return what to raise when there are no more attempts."""
        is_row_skipped = trouble.cause is Cause.ROWS_MISSING and state.is_nothing_stored
        if is_row_skipped and bounds.is_splittable:
            return RowSkippedError()
        self.readiness.flush_failed(trouble)
        if state.is_nothing_stored:
            return RefusedError(Reason.STORE_UNAVAILABLE, f"{trouble.message} {_ADVICE}")
        return RefusedError(Reason.OUTCOME_UNKNOWN)

    def _may_retry(self, failure: FailureClass, attempts: int, deadline: float) -> bool:
        if failure in _FINAL or self._clock.monotonic() >= deadline:
            return False
        is_read_only = failure is FailureClass.READ_ONLY
        attempts_max = _ATTEMPTS_READ_ONLY_MAX if is_read_only else _ATTEMPTS_MAX
        return failure in _UNTIL_DEADLINE or attempts < attempts_max

    async def _pause(self, attempts: int, deadline: float) -> None:
        bound_s = _PAUSE_S * 2 ** (min(attempts, _ATTEMPTS_MAX) - 1)
        pause_s = bound_s * random.random()  # noqa: S311 - jitter
        await asyncio.sleep(max(min(pause_s, deadline - self._clock.monotonic()), 0))

    async def _recover(
        self, failure: FailureClass, used: Connection | None, flush: Flush, deadline: float
    ) -> None:
        """Do what the next attempt needs; if that fails, the next attempt meets the same error."""
        left_s = deadline - self._clock.monotonic()
        if left_s <= 0:
            return
        try:
            async with asyncio.timeout(left_s):
                if failure is FailureClass.LOST and used is not None:
                    await self._end_session(used)
                elif failure is FailureClass.PARTITION:
                    for day in sorted(flush.days):
                        await ensure_partitions(self._pool, day, day)
        except Exception as error:  # noqa: BLE001 - the next attempt fails and is classified
            log.warning("recovery_failed", fault=failure, error=describe(error))

    def _end_session_later(self, lost: Connection) -> None:
        """
        End the session of a flush that was given up, so that its rows can be sent again.

        Behind a silent connection the server does not notice that the client is gone. While it
        waits for COPY data none of its own timeouts ends the session, which holds row locks.
        """
        ending = asyncio.create_task(self._keep_ending(lost))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    async def _keep_ending(self, lost: Connection) -> None:
        until = self._clock.monotonic() + _END_SESSION_S
        while self._clock.monotonic() < until and not self._pool.is_closing():
            try:
                async with asyncio.timeout(_END_SESSION_TIMEOUT_S):
                    await self._end_session(lost)
                    return
            except Exception as error:  # noqa: BLE001 - it is tried again, and the server has limits
                log.warning("session_not_ended", error=describe(error))
            await asyncio.sleep(_END_SESSION_PAUSE_S)

    async def _end_session(self, lost: Connection) -> None:
        async with lent(self._pool) as connection:
            await connection.execute(
                statement("end_session"), lost.pid, lost.backend_start, _END_SESSION_MS
            )
