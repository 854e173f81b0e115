"""One timer for all who wait equally long."""

import asyncio
import time
from types import TracebackType
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

    def __enter__(self) -> None:
        """Begin: from here on the task has its time."""
        self._due[_current_task()] = time.monotonic() + self.timeout_s
        if not self._is_watching:
            self._watch(self.timeout_s)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End; raise TimeoutError when the block took too long, and was cancelled for it."""
        task = _current_task()
        is_late = self._due.pop(task) is _LATE
        # Only ours: who was cancelled by somebody else as well has to end.
        if is_late and isinstance(error, asyncio.CancelledError) and not task.uncancel():
            raise TimeoutError from None

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


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - who awaits is in one
    return task
