"""A deterministic event loop: virtual time, no I/O, random order from a seed."""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context
from random import Random
from typing import Any, Final, TypeVar, cast

T = TypeVar("T")

_STARTED_AT: Final = 1_000.0


class Handle:
    """A scheduled callback, kept small because a run has half a million of them."""

    __slots__ = ("args", "callback", "context", "is_cancelled")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def run(self) -> None:
        if self.context is None:
            self.callback(*self.args)
        else:
            self.context.run(self.callback, *self.args)


class SeededLoop:
    """
    The part of an event loop that asyncio's tasks, futures, `sleep` and `wait` use.

    When nothing is ready, time jumps to the next timer; timers of the same moment fall due in any
    order. A loop that is not in order also runs what is ready in any order: asyncio promises more,
    so what holds here holds there.
    """

    def __init__(self, rng: Random, *, is_in_order: bool) -> None:
        self.is_in_order = is_in_order
        self.faults: list[object] = []
        self.tasks: list[asyncio.Task[Any]] = []  # of the code under test
        self.cancels = 0
        self.as_loop = cast("asyncio.AbstractEventLoop", self)
        self._rng = rng
        self._now = _STARTED_AT
        self._ready: list[Handle] = []
        self._timers: list[tuple[float, float, int, Handle]] = []
        self._timers_made = 0
        self._is_next_task_cancelled = False

    def time(self) -> float:
        return self._now

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        handle = Handle(callback, args, context)
        self._ready.append(handle)
        return handle

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Handle:
        return self.call_at(self._now + delay, callback, *args)

    def call_at(self, when: float, callback: Callable[..., object], *args: Any) -> Handle:
        handle = Handle(callback, args, None)
        self._timers_made += 1
        heapq.heappush(self._timers, (when, self._rng.random(), self._timers_made, handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self.as_loop)

    def create_task(self, coro: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Create a task of the code under test."""
        task = asyncio.Task(coro, loop=self.as_loop)
        self.tasks.append(task)
        if self._is_next_task_cancelled:
            self._is_next_task_cancelled = False
            task.cancel()
        return task

    def cancel_a_task(self) -> None:
        """Cancel a task of the code under test, or the next one before its first step."""
        self.cancels += 1
        running = [task for task in self.tasks if not task.done()]
        if running and self._rng.random() < 0.5:
            self._rng.choice(running).cancel()
        else:
            self._is_next_task_cancelled = True

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.faults.append(context.get("exception") or context.get("message"))

    def get_debug(self) -> bool:
        return False

    def run(self, after_step: Callable[[], None], at_rest: Callable[[], None]) -> None:
        """
        Run until no callback is ready and no timer is left.

        *at_rest* is called each time before time advances, and at the end.
        """
        asyncio._set_running_loop(self.as_loop)
        try:
            while True:
                while self._ready:
                    self._step()
                    after_step()
                at_rest()
                if not self._timers:
                    return
                self._pass_time()
        finally:
            asyncio._set_running_loop(None)

    def abandon(self) -> None:
        """Cancel all tasks that still run, so that the garbage collector reports none."""
        while tasks := asyncio.all_tasks(self.as_loop):
            for task in tasks:
                task.cancel()
            self.run(lambda: None, lambda: None)

    def _step(self) -> None:
        waiting = len(self._ready)
        is_free = waiting > 1 and not self.is_in_order
        handle = self._ready.pop(int(self._rng.random() * waiting) if is_free else 0)
        if not handle.is_cancelled:
            try:
                handle.run()
            except Exception as error:  # noqa: BLE001 - as asyncio's own handles do
                self.call_exception_handler({"exception": error})

    def _pass_time(self) -> None:
        self._now = max(self._now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now:
            self._ready.append(heapq.heappop(self._timers)[-1])
