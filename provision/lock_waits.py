"""
Waits for locks without delaying ingestion: short lock timeouts, pauses, and the blocking session.

A statement that waits for a table lock makes every later statement on the table wait, events
included. So it has a short lock timeout, and is tried again after a pause, in which events go on.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from provision.database import Connection
from provision.errors import ProvisionError
from provision.sql import statement

# Shorter than the lock timeout of a flush: events that wait are delayed, not refused.
LOCK_TIMEOUT_MS: Final = 300
WAIT_S: Final = 300.0
_PAUSE_S: Final = 1.0
_POLL_S: Final = 0.05

Say = Callable[[str], None]


class LockTimeoutError(Exception):
    """The lock timeout expired; nothing was changed."""


class LockWaits:
    """Waits for the locks of one command; *say* reports each wait."""

    def __init__(self, connection: Connection, say: Say, *, wait_s: float = WAIT_S) -> None:
        """Find blocking sessions by *connection*; *wait_s* bounds all tries together."""
        self._connection = connection
        self._say = say
        self.wait_s = wait_s
        self._blockers = ""
        self._said: set[int] = set()

    async def until_done(
        self, what: str, application_name: str, run: Callable[[], Awaitable[None]]
    ) -> None:
        """
        Call *run*, whose session has this *application_name*, until it gets its locks.

        *run* is not called while a partition is pending detach: that partition would lack a column
        that *run* adds to the table, and PostgreSQL could then not finish the detach.

        Raises
        ------
        ProvisionError
            *run* did not get its locks in time, or a partition is pending detach.
        """
        deadline = time.monotonic() + self.wait_s
        while True:
            await self._require_no_pending_detach()
            task = asyncio.ensure_future(run())
            try:
                await self._watch(task, what, application_name)
                return await task
            except LockTimeoutError:
                if time.monotonic() + _PAUSE_S > deadline:
                    raise ProvisionError(
                        f"{what} was given up after {self.wait_s:g} s: it waited for"
                        f" {self._blockers or 'another session'}; end that transaction, or run"
                        " this again later"
                    ) from None
            finally:
                task.cancel()
            await asyncio.sleep(_PAUSE_S)

    async def _require_no_pending_detach(self) -> None:
        for row in await self._connection.fetch(statement("list_pending_detach")):
            raise ProvisionError(
                f"the partition {row['partition']} is pending detach: run ALTER TABLE"
                f" {row['parent']} DETACH PARTITION {row['partition']} FINALIZE, and this again"
            )

    async def _watch(self, task: "asyncio.Future[None]", what: str, application_name: str) -> None:
        """Report each blocking session once, until *task* has ended."""
        while not task.done():
            rows = await self._connection.fetch(statement("list_blockers"), application_name)
            if rows:
                self._blockers = "; ".join(row["blocker"] for row in rows)
                if not self._said.issuperset(pids := {row["pid"] for row in rows}):
                    self._said |= pids
                    self._say(f"{what} waits for {self._blockers}")
            await asyncio.wait([task], timeout=_POLL_S)
