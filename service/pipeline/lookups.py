"""Look-ups of API keys in the store: combined into few statements, each with a deadline."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Literal

import msgspec
import structlog

from service.model import ApiKey

log = structlog.get_logger()

# Two, so that one stalled connection does not stop all look-ups. Not more, because flushes and
# probes need connections too.
_STATEMENTS_MAX: Final = 2
# Bounds the duration of a statement, and so the wait of a cached key behind unknown ids.
_STATEMENT_IDS_MAX: Final = 1_000

FindKeys = Callable[[Sequence[str]], Awaitable[dict[str, ApiKey]]]
"""Returns the stored keys with the given ids, by id."""
Lookup = asyncio.Future[ApiKey | None]
LookupResult = Literal["found", "unknown", "failed", "refused"]
OnLookups = Callable[[LookupResult, int], None]
"""Gets a result of look-ups and the number of ids that had it."""


class UnknownLimits(msgspec.Struct, frozen=True):
    """
    Limits of look-ups of ids that are not cached.

    `ids_max`: ids that may wait. `pause_s`: between the starts of two statements, in seconds.
    """

    ids_max: int
    pause_s: float


class Lookups:
    """
    Key look-ups of one worker, in two lanes: for cached keys, and for ids that are not cached.

    While two statements run, further ids wait; the next statement looks up all of them, cached keys
    first. Statements for unknown ids have a pause between them, in which ids gather. So unknown
    ids, however many, cost few statements, and delay a look-up by the duration of one.
    """

    def __init__(
        self, find: FindKeys, on_lookups: OnLookups, *, timeout_s: float, limits: UnknownLimits
    ) -> None:
        """
        *find* is cancelled at the deadline.

        *timeout_s*: limit for one look-up, in seconds, which includes the wait for a statement.
        """
        self.timeout_s = timeout_s
        self._find = find
        self._on_lookups = on_lookups
        self._limits = limits
        # When the next statement for unknown ids may start, by the clock of the loop.
        self._unknown_due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._cached = _Lane()
        self._unknown = _Lane()
        self._statements: set[asyncio.Task[None]] = set()

    def begin(self, key_id: str, *, is_cached: bool) -> Lookup | None:
        """
        Look *key_id* up; the result is None when there is no such key.

        The result is set within `timeout_s`, to the error of the store if it could not answer.
        Returns None when too many ids wait. Cached keys are exempt: the cache limits their number.
        """
        lane = self._cached if is_cached else self._unknown
        if not is_cached and len(lane) >= self._limits.ids_max:
            self._on_lookups("refused", 1)
            return None
        loop = asyncio.get_running_loop()
        lookup = lane.add(key_id, loop, loop.time() + self.timeout_s)
        self._start()
        return lookup

    def _start(self) -> None:
        """Start the statements that may start now."""
        while self._may_start(self._cached):
            self._start_statement(self._cached)
        while self._may_start(self._unknown):
            loop = asyncio.get_running_loop()
            now = loop.time()
            if now < self._unknown_due:
                if self._timer is None:
                    self._timer = loop.call_at(self._unknown_due, self._resume)
                return
            self._unknown_due = now + self._limits.pause_s
            self._start_statement(self._unknown)

    def _may_start(self, lane: "_Lane") -> bool:
        return len(lane) > 0 and len(self._statements) < _STATEMENTS_MAX

    def _resume(self) -> None:
        self._timer = None
        self._start()

    def _start_statement(self, lane: "_Lane") -> None:
        lookups, deadline = lane.take(_STATEMENT_IDS_MAX)
        statement = asyncio.create_task(self._run(lookups, deadline))
        self._statements.add(statement)
        statement.add_done_callback(partial(self._ended, lookups))

    async def _run(self, lookups: dict[str, Lookup], deadline: float) -> None:
        async with asyncio.timeout_at(deadline):
            found = await self._find(list(lookups))
        self._on_lookups("found", len(found))
        self._on_lookups("unknown", len(lookups) - len(found))
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
            self._on_lookups("failed", len(lookups))
            log.warning("key_lookup_failed", error=type(error).__name__, keys=len(lookups))


class _Lane:
    """Ids that wait for a statement, oldest first, with the deadline of each."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[Lookup, float]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key_id: str, loop: asyncio.AbstractEventLoop, deadline: float) -> Lookup:
        """Return the look-up of *key_id* that waits, or a new one."""
        waiting = self._waiting.get(key_id)
        if waiting is None:
            waiting = self._waiting[key_id] = (loop.create_future(), deadline)
        return waiting[0]

    def take(self, ids_max: int) -> tuple[dict[str, Lookup], float]:
        """Remove the oldest look-ups; return them, and the first of their deadlines."""
        ids = list(self._waiting)[:ids_max]
        deadline = self._waiting[ids[0]][1]
        return {key_id: self._waiting.pop(key_id)[0] for key_id in ids}, deadline
