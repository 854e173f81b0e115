"""
Waiting for locks: for the lock of `provision migrate`, and for the table locks of a migration.

While a statement waits for a table lock, every later statement on that table waits too, and so do
flushes. So a migration has a short lock timeout. When it expires, the migration runs again after a
pause, in which events are stored.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg

from provision.database import Connection, statement
from provision.errors import ProvisionError

# Shorter than the lock timeout of a flush: so flushes are delayed, and do not fail.
LOCK_TIMEOUT_MS: Final = 300
LOCK_WAIT_S: Final = 300.0
# Longer than a migration of a large database takes.
OTHER_MIGRATE_WAIT_S: Final = 300.0
_PAUSE_S: Final = 1.0
_POLL_S: Final = 0.05
# Shorter waits are not reported: they are normal if several commands start at the same time.
_QUIET_S: Final = 2.0

Say = Callable[[str], None]


async def take_migration_lock(connection: Connection, timeout_s: float, say: Say) -> None:
    """
    Take the lock of `provision migrate`. The lock is held until *connection* closes.

    *say* is called with a message about the session that holds the lock.

    Raises
    ------
    ProvisionError
        Another session held the lock for *timeout_s* seconds; the message names that session.
    """
    started = time.monotonic()
    said = None
    while not await connection.fetchval(statement("try_lock_migrations")):
        holder = await connection.fetchrow(statement("find_migration_lock_holder"))
        waited_s = time.monotonic() - started
        if waited_s >= timeout_s:
            raise ProvisionError(
                f"another `provision migrate` has held its lock for longer than {timeout_s:g} s"
                f" ({_described(holder)}): wait for it, or end it with"
                f" SELECT pg_terminate_backend({holder['pid'] if holder else 'pid'}); nothing was"
                " changed"
            )
        if holder is not None and waited_s >= min(_QUIET_S, timeout_s / 2) and said != holder:
            said = holder
            say(f"waiting for another `provision migrate` ({_described(holder)})")
        await asyncio.sleep(_POLL_S)


def _described(holder: Any) -> str:
    if holder is None:
        return "it has just ended"
    return (
        f"pid {holder['pid']}, application {holder['application_name']!a},"
        f" client {holder['client'] or 'on the local socket'},"
        f" connected since {holder['backend_start']:%Y-%m-%d %H:%M:%S} UTC, {holder['state']}"
    )


class LockWaits:
    """Repeats a migration until it gets its locks, and reports the sessions that block it."""

    def __init__(
        self, watching: Connection, applying: Connection, say: Say, *, wait_s: float
    ) -> None:
        """*watching* finds the sessions that block *applying*; *wait_s* limits each wait."""
        self._watching = watching
        self._applying = applying
        self._say = say
        self._wait_s = wait_s
        self._blockers = ""
        self._said: set[int] = set()

    async def until_done(self, what: str, run: Callable[[], Awaitable[None]]) -> None:
        """
        Call *run* on the applying connection, again after each lock timeout, until it succeeds.

        *run* is not called while the detach of a partition is pending: if *run* added a column,
        that partition would not get it, and PostgreSQL could not finish the detach.

        Raises
        ------
        ProvisionError
            *run* did not get its locks in time, or the detach of a partition is pending.
        """
        deadline = time.monotonic() + self._wait_s
        # From the server: the process id that a pooler sends is not that of the session.
        pid = await self._applying.fetchval(statement("read_pid"))
        while True:
            await self._require_no_pending_detach()
            task = asyncio.ensure_future(run())
            try:
                while not (await asyncio.wait([task], timeout=_POLL_S))[0]:
                    await self._report_blockers(what, pid)
                return await task
            except asyncpg.LockNotAvailableError:
                if time.monotonic() + _PAUSE_S > deadline:
                    raise ProvisionError(
                        f"{what} was given up after {self._wait_s:g} s: it waited for"
                        f" {self._blockers or 'another session'}; end that transaction, or run"
                        " this again later"
                    ) from None
            except BaseException:
                # An interrupted command cancels its statement; the server would continue it.
                if not task.done():
                    await self._watching.execute(statement("cancel_statement"), pid)
                    await asyncio.gather(task, return_exceptions=True)
                raise
            await asyncio.sleep(_PAUSE_S)

    async def _require_no_pending_detach(self) -> None:
        for row in await self._watching.fetch(statement("list_pending_detach")):
            raise ProvisionError(
                f"the detach of the partition {row['partition']} is pending: run ALTER TABLE"
                f" {row['parent']} DETACH PARTITION {row['partition']} FINALIZE, then run"
                " this again"
            )

    async def _report_blockers(self, what: str, pid: int) -> None:
        """Report the sessions that block the session *pid*, each of them once."""
        rows = await self._watching.fetch(statement("list_blockers"), pid)
        if rows:
            self._blockers = "; ".join(row["blocker"] for row in rows)
            if not self._said.issuperset(pids := {row["pid"] for row in rows}):
                self._said |= pids
                self._say(f"{what} waits for {self._blockers}")
