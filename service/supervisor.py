"""Background tasks of a worker: each one that ends is logged, counted and restarted."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec
import structlog

log = structlog.get_logger()

_PAUSE_MIN_S: Final = 0.2
_PAUSE_MAX_S: Final = 5.0
# A task that ran for this long before it ended is restarted after the shortest pause.
_HEALTHY_S: Final = 30.0
_ENDS_OF_THE_WORKER: Final = (GeneratorExit, KeyboardInterrupt, SystemExit)


class TaskReport(msgspec.Struct, omit_defaults=True):
    """State of one background task, as `/health` shows it."""

    status: Literal["running", "restarting"]
    restarts: int = 0
    last_error: str | None = None


class Supervisor:
    """Runs the background tasks of one worker."""

    def __init__(
        self, on_failure: Callable[[str], None], *, pause_min_s: float = _PAUSE_MIN_S
    ) -> None:
        """
        Call *on_failure* with the task's name each time a task ends by itself.

        *pause_min_s* is the first pause before a restart; it doubles up to five seconds.
        """
        self._on_failure = on_failure
        self._pause_min_s = pause_min_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._reports: dict[str, TaskReport] = {}
        self._is_stopping = False

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run *run* until `stop`; when it returns or raises, run it again after a pause."""
        self._reports[name] = TaskReport("running")
        self._tasks.add(asyncio.create_task(self._supervise(name, run), name=name))

    def report(self) -> dict[str, TaskReport]:
        """Return the state of each task, by its name."""
        return self._reports

    async def stop(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        self._is_stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        report = self._reports[name]
        loop = asyncio.get_running_loop()
        pause_s = self._pause_min_s
        while True:
            started = loop.time()
            try:
                await run()
                report.last_error = "ended"
            except BaseException as error:  # panics of the core are not instances of Exception
                if self._is_stopping or isinstance(error, _ENDS_OF_THE_WORKER):
                    raise
                _take_back_cancel()
                report.last_error = type(error).__name__
            if loop.time() - started >= _HEALTHY_S:
                pause_s = self._pause_min_s
            report.status = "restarting"
            report.restarts += 1
            with contextlib.suppress(Exception):  # an error in reporting must not end the task
                log.error(
                    "background_task_failed", task=name, error=report.last_error, pause_s=pause_s
                )
                self._on_failure(name)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_MAX_S)
            report.status = "running"


def _take_back_cancel() -> None:
    """Clear a cancellation that did not come from `stop`, so that it ends one run only."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()
