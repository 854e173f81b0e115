"""
Waits for locks: for another `provision migrate`, and for the table locks of a migration.

A statement that waits for a table lock makes every later statement on that table wait, events
included. So a migration has a short lock timeout and runs again after a pause, in which events are
stored.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg

from provision.database import Connection, statement
from provision.errors import ProvisionError

# Shorter than the lock timeout of a flush: events are delayed, not refused.
LOCK_TIMEOUT_MS: Final = 300
LOCK_WAIT_S: Final = 300.0
# Longer than the migrations of a large database take.
OTHER_MIGRATE_WAIT_S: Final = 300.0
_PAUSE_S: Final = 1.0
_POLL_S: Final = 0.05
# Shorter waits, as of commands that start together, are not reported.
_QUIET_S: Final = 2.0

Say = Callable[[str], None]


async def take_migration_lock(connection: Connection, timeout_s: float, say: Say) -> None:
    """
    Take the lock of `provision migrate` and hold it until *connection* ends.

    *say* reports the session that holds the lock.

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
    """Runs statements until they get their locks, and reports the sessions that block them."""

    def __init__(
        self, watching: Connection, applying: Connection, say: Say, *, wait_s: float
    ) -> None:
        """Watch from one connection what blocks the other; *wait_s* bounds each wait."""
        self._watching = watching
        self._applying = applying
        self._say = say
        self._wait_s = wait_s
        self._blockers = ""
        self._said: set[int] = set()

    async def until_done(self, what: str, run: Callable[[], Awaitable[None]]) -> None:
        """
        Call *run*, which uses the applying connection, until its lock timeout does not expire.

        *run* is not called while a partition is pending detach: that partition would lack a column
        that *run* adds to the table, and PostgreSQL could then not finish the detach.

        Raises
        ------
        ProvisionError
            *run* did not get its locks in time, or a partition is pending detach.
        """
        deadline = time.monotonic() + self._wait_s
        # Asked of the server: a pooler gives a number of its own at the start of a connection.
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
                # Otherwise the server goes on with the statement of an interrupted command.
                if not task.done():
                    await self._watching.execute(statement("cancel_statement"), pid)
                    await asyncio.gather(task, return_exceptions=True)
                raise
            await asyncio.sleep(_PAUSE_S)

    async def _require_no_pending_detach(self) -> None:
        for row in await self._watching.fetch(statement("list_pending_detach")):
            raise ProvisionError(
                f"the partition {row['partition']} is pending detach: run ALTER TABLE"
                f" {row['parent']} DETACH PARTITION {row['partition']} FINALIZE, and this again"
            )

    async def _report_blockers(self, what: str, pid: int) -> None:
        """Report each session once that blocks the session *pid*."""
        rows = await self._watching.fetch(statement("list_blockers"), pid)
        if rows:
            self._blockers = "; ".join(row["blocker"] for row in rows)
            if not self._said.issuperset(pids := {row["pid"] for row in rows}):
                self._said |= pids
                self._say(f"{what} waits for {self._blockers}")
