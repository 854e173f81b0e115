"""Whether this worker can store events, from the results of flushes, and of probes when idle."""

import asyncio
import math
from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Final

import asyncpg
import structlog

from service.clock import Clock
from service.store.connections import FlushConnections, require_safe
from service.store.errors import (
    Cause,
    FailureClass,
    MissingRowsError,
    Trouble,
    UnconfirmedCommitError,
    classify,
    trouble_of,
)
from service.store.partitions import ensure_partitions
from service.store.sql import statement

log = structlog.get_logger()

# Longest age of the last check of the server's settings when a flush begins, in seconds.
_CHECK_S: Final = 1.0
# Pause between probes, in seconds: shorter than the age above.
_PAUSE_S: Final = 0.8
_PROBE_TIMEOUT_S: Final = 3.0
# After this time without a result, the last result is ignored.
_STALE_S: Final = 15.0
# Causes that may affect a single flush only. The probe decides whether they affect all flushes.
_OF_ONE_FLUSH: Final = frozenset(
    {Cause.LOCKED, Cause.BUSY, Cause.NO_CONNECTION, Cause.ROWS_MISSING, Cause.OTHER}
)
_COMMIT_TIMEOUT_S: Final = 1.0
_CONSTRAINT_CLASS: Final = "23"
# A full disk still has room on existing pages; this many rows need new pages.
_ROWS_WHEN_FULL: Final = 500


class Readiness:
    """Tracks why events cannot be stored, from the results of flushes and probes."""

    def __init__(
        self,
        pool: Any,
        connections: FlushConnections,
        clock: Clock,
        on_change: Callable[[Trouble | None, Trouble | None], None],
    ) -> None:
        """*on_change* gets the previous and the current trouble; None: events can be stored."""
        self._pool = pool
        self._connections = connections
        self._clock = clock
        self._on_change = on_change
        self._trouble: Trouble | None = None
        self._updated_at = -math.inf
        self._checked_at = -math.inf
        self._was_locked = False
        self.latency_s: float | None = None
        """Duration of the first round trip of the last probe, in seconds."""

    @property
    def trouble(self) -> Trouble | None:
        """Why events cannot be stored; None: they can be stored."""
        if self._clock.monotonic() - self._updated_at > _STALE_S:
            return Trouble(Cause.AWAY)
        return self._trouble

    def stored(self) -> None:
        """Note that a flush or a probe succeeded."""
        self._updated_at = self._clock.monotonic()
        if self._trouble is not None:
            self._change(None)

    def flush_failed(self, trouble: Trouble) -> None:
        """Note why a flush failed."""
        # A flush that ran out of time is AWAY too; the cause found by a probe is more precise.
        is_vague = trouble.cause is Cause.AWAY and self._trouble is not None
        if trouble.cause not in _OF_ONE_FLUSH and not is_vague:
            self._failed(trouble)

    async def require_safe(self, connection: Any) -> None:
        """
        Raise UnsafeSessionError while a crash of the server could lose acknowledged events.

        Queries the server at most once a second; while a setting is unsafe, on each call.
        """
        now = self._clock.monotonic()
        if now - self._checked_at < _CHECK_S:
            return
        (row,) = await connection.fetch(statement("check_settings"))
        require_safe(row)
        self._checked_at = now

    async def watch(self) -> None:
        """Probe in a loop, except while flushes have recent results."""
        while True:
            if self._clock.monotonic() - self._updated_at >= _PAUSE_S:
                await self.probe()
            await asyncio.sleep(_PAUSE_S)

    async def probe(self) -> None:
        """Write rows and roll them back, commit an empty message, and note the result."""
        now = self._clock.now()
        for is_last in (False, True):
            try:
                await self._write(now)
            except Exception as error:  # noqa: BLE001 - a flush would meet the same error
                failure = classify(error)
                if failure is not FailureClass.PARTITION and _is_about_probe(error):
                    break
                trouble = trouble_of(error)
                if not self._is_of_all(trouble):
                    return
                self._failed(trouble)
                if failure is not FailureClass.PARTITION or is_last:
                    return
                await self._make_partitions(now.date())
            else:
                break
        self._was_locked = False
        self.stored()

    def _is_of_all(self, trouble: Trouble) -> bool:
        """Whether *trouble*, found by a probe, affects all flushes."""
        if trouble.cause is Cause.NO_CONNECTION and self._connections.in_use:
            # All connections are used by flushes, whose results set the state.
            return False
        # A flush waits longer for a lock than a probe does, so it may succeed after the first probe
        # has failed: LOCKED counts from the second probe on.
        was_locked, self._was_locked = self._was_locked, trouble.cause is Cause.LOCKED
        return was_locked or not self._was_locked

    async def _make_partitions(self, today: date) -> None:
        try:
            await ensure_partitions(self._pool, today, today)
        except Exception as error:  # noqa: BLE001 - the next write finds it missing
            log.debug("probe_made_no_partition", error=type(error).__name__)

    async def _write(self, received_at: datetime) -> None:
        is_full = self._trouble is not None and self._trouble.cause is Cause.FULL
        async with self._connections.lend(self._clock.monotonic() + _PROBE_TIMEOUT_S) as connection:
            self._checked_at = -math.inf
            started = self._clock.monotonic()
            await self.require_safe(connection)
            self.latency_s = self._clock.monotonic() - started
            rows = _ROWS_WHEN_FULL if is_full else 1
            await connection.execute(statement("begin_probe"))
            try:
                (stored,) = await connection.fetch(statement("probe"), received_at, rows)
            except asyncpg.PostgresError:
                if not connection.is_closed():
                    await connection.execute("ROLLBACK")
                raise
            await connection.execute("ROLLBACK")
            for table, count in stored.items():
                if count != rows:
                    raise MissingRowsError(table)
            await self._commit_nothing(connection)

    async def _commit_nothing(self, connection: Any) -> None:
        """Commit an empty message: it needs the disk of the WAL, and a synchronous standby."""
        standbys = await connection.fetchval(statement("read_standby_names"))
        connection.is_unconfirmed = False
        try:
            # This commit may be cancelled: no answer depends on it.
            await connection.fetch(statement("commit_nothing"), timeout=_COMMIT_TIMEOUT_S)
        except TimeoutError:
            if standbys:
                raise UnconfirmedCommitError from None
            raise
        if connection.is_unconfirmed:
            raise UnconfirmedCommitError

    def _failed(self, trouble: Trouble) -> None:
        self._updated_at = self._clock.monotonic()
        if trouble != self._trouble:
            self._change(trouble)

    def _change(self, trouble: Trouble | None) -> None:
        before, self._trouble = self._trouble, trouble
        if trouble is None:
            log.info("store_available")
        else:
            log.error("store_unavailable", cause=trouble.cause, subject=trouble.subject)
        self._on_change(before, trouble)


def _is_about_probe(error: Exception) -> bool:
    """Whether an operator's constraint refuses the rows of a probe: other rows can be stored."""
    if classify(error) is FailureClass.DATA:
        return True
    return isinstance(error, asyncpg.PostgresError) and bool(
        (error.sqlstate or "").startswith(_CONSTRAINT_CLASS)
    )
