"""Bounds how long a connection is used, without a cancel that could lie about a COMMIT."""

import asyncio
from types import TracebackType
from typing import Any, Final

from service.store.pool import tear_down

# Past the deadline the connection is torn down; what runs on it then ends at once.
_TEARDOWN_S: Final = 1.0


class Watchdog:
    """
    Tears down *connection* when the block takes longer than *timeout_s*.

    Not `asyncio.timeout`, and no timeout of asyncpg: both cancel, and a cancel that meets COMMIT
    can make it lie. Nor a task to wait for: each flush would pay for it.
    """

    def __init__(self, connection: Any, timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._has_cancelled = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - who uses a connection is in one
        self._task = task
        self._timer = self._loop.call_later(max(self._timeout_s, 0), self._tear_down)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Raise ConnectionResetError when the block had to be cancelled."""
        self._timer.cancel()
        if not self._has_cancelled:
            return
        # Only ours: who was cancelled by somebody else as well has to end.
        is_ours = not self._task.uncancel()
        if is_ours and isinstance(error, asyncio.CancelledError):
            raise ConnectionResetError("the line to the database is silent") from None

    def _tear_down(self) -> None:
        self._timer = self._loop.call_later(_TEARDOWN_S, self._cancel)
        tear_down(self._connection)

    def _cancel(self) -> None:
        # asyncpg waits without end for a full line to drain, also when that line is lost. It is
        # torn down already: a cancel can no longer lie about what became of it.
        self._has_cancelled = True
        self._task.cancel()
