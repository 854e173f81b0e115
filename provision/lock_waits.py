"""
Waits for locks without queueing ingestion: short lock timeouts, pauses, and the name of who blocks.

A statement that waits for a lock of a table makes every later statement on the table wait behind
it, events too. So such a statement gives up soon, lets the events through, and is tried again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from provision.database import Connection
from provision.errors import ProvisionError
from provision.sql import statement

# Shorter than a flush waits for a lock: events behind the statement are stored late, not refused.
LOCK_TIMEOUT_MS: Final = 300
WAIT_S: Final = 300.0
_PAUSE_S: Final = 1.0
_POLL_S: Final = 0.05

Say = Callable[[str], None]


class LockTimeoutError(Exception):
    """A lock was not to be had within its timeout; nothing was changed."""


class LockWaits:
    """The waits of one command, of which *say* is told."""

    def __init__(self, connection: Connection, say: Say, *, wait_s: float = WAIT_S) -> None:
        """Look for blockers on *connection*; *wait_s* bounds all tries together."""
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

        *run* is not called while a partition is pending detach: a column that the table gets
        meanwhile does not reach that partition, and PostgreSQL can then not finish the detach.

        Raises
        ------
        ProvisionError
            It did not get them in time, or a partition is pending detach.
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
        """Say who blocks, once for each session, until *task* has ended."""
        while not task.done():
            rows = await self._connection.fetch(statement("list_blockers"), application_name)
            if rows:
                self._blockers = "; ".join(row["blocker"] for row in rows)
                if not self._said.issuperset(pids := {row["pid"] for row in rows}):
                    self._said |= pids
                    self._say(f"{what} waits for {self._blockers}")
            await asyncio.wait([task], timeout=_POLL_S)
