"""Deadlines for the work of many tasks, with one timer of the event loop."""

import asyncio
import math
import time
from collections.abc import Callable
from itertools import takewhile
from typing import Any, Final


class Deadlines:
    """
    Calls a function when a task exceeds its deadline.

    A task has a deadline between `begin` and `end`, which is called a use here. `asyncio.timeout`
    creates and cancels a timer for each use, which cost a third of a request. Here one timer serves
    all uses, and a use costs a dict entry. The timer is not cancelled when a use ends. When it
    fires, it is set again for the next deadline.

    The deadlines of concurrent uses must be in the order in which the uses began.
    """

    __slots__ = ("_deadlines", "_fires_at", "_monotonic", "_on_exceeded", "_timer")

    def __init__(
        self,
        on_exceeded: Callable[[asyncio.Task[Any]], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """*on_exceeded* gets the task, once per deadline; *monotonic* returns the time in s."""
        self._on_exceeded: Final = on_exceeded
        self._monotonic: Final = monotonic
        self._deadlines: Final[dict[asyncio.Task[Any], float]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = math.inf

    def begin(self, deadline: float) -> asyncio.Task[Any]:
        """Begin a use by the current task, until *deadline* (monotonic s); return the task."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._deadlines[task] = deadline
        if deadline < self._fires_at:
            self._set_timer(deadline)
        return task

    def extend(self, task: asyncio.Task[Any], deadline: float) -> None:
        """Set another deadline (monotonic s) for *task*, which has exceeded its deadline."""
        self._deadlines[task] = deadline
        if deadline < self._fires_at:
            self._set_timer(deadline)

    def bring_forward(self, deadline: float) -> None:
        """Let no use in progress have a later deadline than *deadline* (monotonic s)."""
        for task, own in self._deadlines.items():
            self._deadlines[task] = min(own, deadline)
        if self._deadlines and deadline < self._fires_at:
            self._set_timer(deadline)

    def exceed_first(self, deadline_max: float) -> bool:
        """
        Treat the earliest deadline as exceeded now, unless it is later than *deadline_max*.

        Returns whether there was one.
        """
        for task, deadline in self._deadlines.items():
            if deadline > deadline_max:
                return False
            del self._deadlines[task]
            self._on_exceeded(task)
            return True
        return False

    def is_exceeded(self, task: asyncio.Task[Any]) -> bool:
        """Whether *task*, whose use has not ended, has exceeded its deadline."""
        return task not in self._deadlines

    def end(self, task: asyncio.Task[Any]) -> None:
        """End the use by *task*."""
        self._deadlines.pop(task, None)

    def _set_timer(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at = deadline
        delay_s = max(deadline - self._monotonic(), 0)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._check)

    def _check(self) -> None:
        self._timer, self._fires_at = None, math.inf
        now = self._monotonic()
        exceeded = list(takewhile(lambda task: self._deadlines[task] <= now, self._deadlines))
        for task in exceeded:
            del self._deadlines[task]
        for deadline in self._deadlines.values():
            self._set_timer(deadline)
            break
        for task in exceeded:
            self._on_exceeded(task)
