"""One timer for all who wait equally long."""

import asyncio
import time
from typing import Any, Final

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

    def begin(self) -> asyncio.Task[Any]:
        """Give the task that runs its time from here on, and return it for what follows."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - who awaits is in one
        self._due[task] = time.monotonic() + self.timeout_s
        if not self._is_watching:
            self._watch(self.timeout_s)
        return task

    def forgive(self, task: asyncio.Task[Any]) -> bool:
        """
        Take back the cancel that *task* has met; tell whether it was for taking too long alone.

        False for who was cancelled by somebody else as well: that one has to end.
        """
        return self._due[task] is _LATE and not task.uncancel()

    def end(self, task: asyncio.Task[Any]) -> None:
        """Stop the time of *task*."""
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
