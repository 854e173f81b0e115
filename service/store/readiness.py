"""Whether this worker can store events: from its last flush, and while it is idle from a probe."""

import asyncio
import math
from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Final

import asyncpg
import structlog

from service.clock import Clock
from service.store.causes import Cause, Trouble, trouble_of
from service.store.faults import Fault, MissingRowsError, UnconfirmedCommitError, classify
from service.store.partitions import ensure_partitions
from service.store.pool import require_safe
from service.store.sessions import Sessions
from service.store.sql import statement

log = structlog.get_logger()

# How old the last check of the server's settings may be when a flush begins.
_CHECK_S: Final = 1.0
# The pause between probes. With the check's period above, less than a second in all.
_PAUSE_S: Final = 0.8
_PROBE_TIMEOUT_S: Final = 3.0
# Without news for so long the last news no longer counts.
_STALE_S: Final = 15.0
# What may be in the way of one flush alone. Whether it is of others too is left to the probe.
_OF_ONE_FLUSH: Final = frozenset(
    {Cause.LOCKED, Cause.BUSY, Cause.NO_CONNECTION, Cause.ROWS_MISSING, Cause.OTHER}
)
_COMMIT_TIMEOUT_S: Final = 1.0
_CONSTRAINT_CLASS: Final = "23"
# A full disk still has room on pages that exist: so many rows need new ones.
_ROWS_WHEN_FULL: Final = 500


class Readiness:
    """Knows what is in the way of storing; flushes and probes report to it."""

    def __init__(
        self,
        pool: Any,
        sessions: Sessions,
        clock: Clock,
        on_change: Callable[[Trouble | None, Trouble | None], None],
    ) -> None:
        """*on_change* gets the trouble before and now; None: events can be stored."""
        self._pool = pool
        self._sessions = sessions
        self._clock = clock
        self._on_change = on_change
        self._trouble: Trouble | None = None
        self._told_at = -math.inf
        self._checked_at = -math.inf
        self._was_locked = False
        self.latency_s: float | None = None
        """Seconds that the first round trip of the last probe took."""

    @property
    def trouble(self) -> Trouble | None:
        """What is in the way of storing events; None: nothing."""
        if self._clock.monotonic() - self._told_at > _STALE_S:
            return Trouble(Cause.AWAY)
        return self._trouble

    def stored(self) -> None:
        """Note that a flush, or a probe, could store."""
        self._told_at = self._clock.monotonic()
        if self._trouble is not None:
            self._change(None)

    def flush_failed(self, trouble: Trouble) -> None:
        """Note what kept a flush from storing."""
        # A flush that ran out of time is "away" too; what a probe has found says more.
        is_vague = trouble.cause is Cause.AWAY and self._trouble is not None
        if trouble.cause not in _OF_ONE_FLUSH and not is_vague:
            self._failed(trouble)

    async def require_safe(self, session: Any) -> None:
        """
        Raise UnsafeSessionError while a crash of the server could take back what it acknowledges.

        Asks the server at most once a second; while it is unsafe, each time.
        """
        now = self._clock.monotonic()
        if now - self._checked_at < _CHECK_S:
            return
        (row,) = await session.fetch(statement("check_settings"))
        require_safe(row)
        self._checked_at = now

    async def watch(self) -> None:
        """Probe again and again, unless flushes have just said the same."""
        while True:
            if self._clock.monotonic() - self._told_at >= _PAUSE_S:
                await self.probe()
            await asyncio.sleep(_PAUSE_S)

    async def probe(self) -> None:
        """Try to write, and note what came of it."""
        now = self._clock.now()
        for is_last in (False, True):
            try:
                await self._write(now)
            except Exception as error:  # noqa: BLE001 - whatever it was, it is what a flush meets
                fault = classify(error)
                if fault is not Fault.PARTITION and _is_about_probe(error):
                    break
                trouble = trouble_of(error)
                if not self._is_of_all(trouble):
                    return
                self._failed(trouble)
                if fault is not Fault.PARTITION or is_last:
                    return
                await self._make_partitions(now.date())
            else:
                break
        self._was_locked = False
        self.stored()

    def _is_of_all(self, trouble: Trouble) -> bool:
        """Whether *trouble*, which a probe met, is in the way of every flush."""
        if trouble.cause is Cause.NO_CONNECTION and self._sessions.in_use:
            return False  # flushes have the connections, and will tell
        # A flush waits longer for a lock than a probe does.
        was_locked, self._was_locked = self._was_locked, trouble.cause is Cause.LOCKED
        return was_locked or not self._was_locked

    async def _make_partitions(self, today: date) -> None:
        try:
            await ensure_partitions(self._pool, today, today)
        except Exception as error:  # noqa: BLE001 - the next write says that there is none
            log.debug("probe_made_no_partition", error=type(error).__name__)

    async def _write(self, received_at: datetime) -> None:
        is_full = self._trouble is not None and self._trouble.cause is Cause.FULL
        async with self._sessions.lent(self._clock.monotonic() + _PROBE_TIMEOUT_S) as session:
            self._checked_at = -math.inf
            started = self._clock.monotonic()
            await self.require_safe(session)
            self.latency_s = self._clock.monotonic() - started
            rows = _ROWS_WHEN_FULL if is_full else 1
            await session.execute(statement("begin_probe"))
            try:
                (stored,) = await session.fetch(statement("probe"), received_at, rows)
            except asyncpg.PostgresError:
                if not session.is_closed():
                    await session.execute("ROLLBACK")
                raise
            await session.execute("ROLLBACK")
            for table, count in stored.items():
                if count != rows:
                    raise MissingRowsError(table)
            await self._commit_nothing(session)

    async def _commit_nothing(self, session: Any) -> None:
        """Commit an empty message: the log's disk has to take it, and a standby to confirm it."""
        standbys = await session.fetchval(statement("read_standby_names"))
        session.is_unconfirmed = False
        try:
            # A cancel may meet this commit, as nobody relies on it.
            await session.fetch(statement("commit_nothing"), timeout=_COMMIT_TIMEOUT_S)
        except TimeoutError:
            if standbys:
                raise UnconfirmedCommitError from None
            raise
        if session.is_unconfirmed:
            raise UnconfirmedCommitError

    def _failed(self, trouble: Trouble) -> None:
        self._told_at = self._clock.monotonic()
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
    """Whether an operator's own rule refuses the rows of a probe: other rows can be stored."""
    if classify(error) is Fault.DATA:
        return True
    return isinstance(error, asyncpg.PostgresError) and bool(
        (error.sqlstate or "").startswith(_CONSTRAINT_CLASS)
    )
