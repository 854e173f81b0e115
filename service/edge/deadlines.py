"""One timer for all who wait equally long."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

T = TypeVar("T")

_LATE: Final = None


class Deadlines:
    """
    Gives up what takes longer than *timeout_s*.

    As `asyncio.timeout` does; but that sets up and takes down a timer each, for a third of what a
    request costs, and hardly one of them ever rings.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        # In the order in which they are due, as all have the same time.
        self._due: dict[asyncio.Task[Any], float | None] = {}
        self._is_watching = False

    async def within(self, awaitable: Awaitable[T]) -> T:
        """
        Return what *awaitable* returns.

        Raises
        ------
        TimeoutError
            It took too long, and was cancelled.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - who awaits is in one
        self._due[task] = time.monotonic() + self.timeout_s
        if not self._is_watching:
            self._watch(self.timeout_s)
        try:
            return await awaitable
        except asyncio.CancelledError:
            # Only ours: who was cancelled by somebody else as well has to end.
            if self._due[task] is _LATE and not task.uncancel():
                raise TimeoutError from None
            raise
        finally:
            del self._due[task]

    def _watch(self, delay_s: float) -> None:
        self._is_watching = True
        asyncio.get_running_loop().call_later(delay_s, self._give_up_late)

    def _give_up_late(self) -> None:
        self._is_watching = False
        now = time.monotonic()
        for task, due in self._due.items():
            if due is _LATE:
                continue
            if due > now:
                self._watch(due - now)
                return
            self._due[task] = _LATE
            task.cancel()
