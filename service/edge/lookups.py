"""Key look-ups in the store: one statement, with one deadline, for all ids that wait."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import structlog

from service.model import ApiKey

log = structlog.get_logger()

# Two, so that one silent connection does not stop all look-ups. Not more, because flushes and
# probes need connections too.
_STATEMENTS_MAX: Final = 2
_WAITING_MAX: Final = 256

Lookup = asyncio.Future[ApiKey | None]


class Lookups:
    """
    Look-ups of one worker.

    While two statements run, further ids wait, and the next statement looks all of them up: many
    unknown ids take no more time than one. Waiting ids share the deadline of the first of them,
    which includes the wait for a statement; the deadlines of running statements are earlier.
    """

    def __init__(
        self,
        find: Callable[[Sequence[str]], Awaitable[dict[str, ApiKey]]],
        *,
        timeout_s: float,
    ) -> None:
        """*find* returns the stored keys with the given ids; it is cancelled at the deadline."""
        self.timeout_s = timeout_s
        self._find = find
        self._waiting: dict[str, Lookup] = {}
        self._deadline = 0.0
        self._statements: set[asyncio.Task[None]] = set()

    @property
    def is_full(self) -> bool:
        """Whether so many ids wait that unknown ones have to be refused."""
        return len(self._waiting) >= _WAITING_MAX

    def begin(self, key_id: str) -> Lookup:
        """
        Look *key_id* up; the result is None when there is no such key.

        The result is set within `timeout_s`, to the error of the store if it could not answer.
        """
        waiting = self._waiting.get(key_id)
        if waiting is not None:
            return waiting
        loop = asyncio.get_running_loop()
        lookup: Lookup = loop.create_future()
        if not self._waiting:
            self._deadline = loop.time() + self.timeout_s
        self._waiting[key_id] = lookup
        self._start()
        return lookup

    def _start(self) -> None:
        if self._waiting and len(self._statements) < _STATEMENTS_MAX:
            lookups, self._waiting = self._waiting, {}
            statement = asyncio.create_task(self._run(lookups, self._deadline))
            self._statements.add(statement)
            statement.add_done_callback(partial(self._ended, lookups))

    async def _run(self, lookups: dict[str, Lookup], deadline: float) -> None:
        async with asyncio.timeout_at(deadline):
            found = await self._find(list(lookups))
        for key_id, lookup in lookups.items():
            lookup.set_result(found.get(key_id))

    def _ended(self, lookups: dict[str, Lookup], statement: "asyncio.Task[None]") -> None:
        self._statements.discard(statement)
        error = asyncio.CancelledError() if statement.cancelled() else statement.exception()
        if error is not None:
            # A cancelled statement must not cancel the requests that wait for it.
            failure = error if isinstance(error, Exception) else RuntimeError("look-up cancelled")
            for lookup in lookups.values():
                lookup.set_exception(failure)
        self._start()
        if error is not None:
            log.warning("key_lookup_failed", error=type(error).__name__, keys=len(lookups))
