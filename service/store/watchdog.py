"""Bounds how long a connection is used, without a cancel that could lie about a COMMIT."""

import asyncio
import math
from typing import Any, Final

from service.clock import Clock
from service.store.pool import tear_down

# Past the deadline the connection is torn down; what runs on it then ends at once.
_TEARDOWN_S: Final = 1.0


class Watchdog:
    """
    Tears down *connection* when one use of it, by one task, takes longer than it may.

    Not `asyncio.timeout`, and no timeout of asyncpg: both cancel, and a cancel that meets COMMIT
    can make it lie. Nor a task to wait for, nor a timer for each use: each flush would pay for it,
    and next to none is late. One timer stands for many uses: it is never later than the deadline
    of the one there is, and when it rings too early for that it is set again.
    """

    def __init__(self, connection: Any, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._user: asyncio.Task[Any] | None = None
        self._deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf
        self._is_torn_down = False
        self._has_cancelled = False

    def start(self, deadline: float) -> None:
        """Guard what this task does from here on, up to *deadline* (monotonic seconds)."""
        self._user = asyncio.current_task()
        self._deadline = deadline
        if deadline < self._rings_at:
            self._set_timer()

    def stop(self, error: BaseException | None) -> None:
        """
        Guard no longer what ended well or in *error*.

        Raises ConnectionResetError when it had to be cancelled, or stumbled over the teardown.
        """
        user, self._user = self._user, None
        if user is None or not self._is_torn_down:
            return
        if not self._has_cancelled:
            if isinstance(error, AttributeError):
                # asyncpg's word for a teardown between the two halves of a statement.
                raise ConnectionResetError("torn down at the deadline") from error
            return
        # Only ours: who was cancelled by somebody else as well has to end.
        is_ours = not user.uncancel()
        if is_ours and isinstance(error, asyncio.CancelledError):
            raise ConnectionResetError("the line to the database is silent") from None

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = self._deadline
        left_s = self._deadline - self._clock.monotonic()
        self._timer = self._loop.call_later(max(left_s, 0), self._ring)

    def _ring(self) -> None:
        self._timer, self._rings_at = None, math.inf
        if self._user is None:
            return
        if self._clock.monotonic() < self._deadline:
            self._set_timer()
        elif not self._is_torn_down:
            self._is_torn_down = True
            self._deadline = self._clock.monotonic() + _TEARDOWN_S
            self._set_timer()
            tear_down(self._connection)
        else:
            # asyncpg waits without end for a full line to drain, also when that line is lost. It
            # is torn down already: a cancel can no longer lie about what became of it.
            self._has_cancelled = True
            self._user.cancel()
