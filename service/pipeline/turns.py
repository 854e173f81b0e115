"""Turns on the event loop: large bodies are scanned one after the other, and keys take turns."""

import asyncio
from collections.abc import Callable

from service.pipeline.fair_queue import FairQueue


class ScanTurns:
    """
    Limits the bytes that are scanned in one iteration of the event loop.

    A scan occupies the event loop: many large bodies that arrive together would delay every other
    request until the last of them is scanned. With a limit, other requests go on in between, and a
    body of another key is the next one, however many bodies of one key wait.
    """

    def __init__(self, turn_bytes: int, on_wait: Callable[[], None]) -> None:
        """*turn_bytes*: of one iteration. *on_wait* is called for each body that waits."""
        self._turn_bytes = turn_bytes
        self._on_wait = on_wait
        self._left_bytes = turn_bytes
        self._waiting: FairQueue[tuple[asyncio.Future[None], int]] = FairQueue(turn_bytes)
        self._is_scheduled = False

    def take(self, size_bytes: int) -> bool:
        """Return whether a body of this size may be scanned now; if so, count it."""
        if self._left_bytes <= 0 or self._waiting:
            return False
        self._left_bytes -= size_bytes
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._begin_iteration)
        return True

    async def wait(self, key_id: str, size_bytes: int) -> None:
        """Return when a body may be scanned that `take` has not allowed."""
        self._on_wait()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put(key_id, (turn, size_bytes), size_bytes)
        await turn

    def _begin_iteration(self) -> None:
        self._left_bytes = self._turn_bytes
        while self._left_bytes > 0 and self._waiting:
            turn, size_bytes = self._waiting.pop()
            if not turn.done():  # cancelled
                turn.set_result(None)
                self._left_bytes -= size_bytes
        self._is_scheduled = self._left_bytes < self._turn_bytes
        if self._is_scheduled:
            asyncio.get_running_loop().call_soon(self._begin_iteration)
