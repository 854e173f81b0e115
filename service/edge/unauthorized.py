"""The pace of answers to requests without a valid key."""

import random
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from service.clock import Clock

# After a pause, the answers of so many seconds leave at once.
_BURST_S: Final = 1.0


class UnauthorizedLimits(msgspec.Struct, frozen=True, kw_only=True):
    """
    How fast a worker answers 401.

    `per_second`: answers without a delay. `delay_max_s`: longest delay of further ones, in seconds.
    `delayed_max`: answers that are delayed at the same time; each needs memory.
    """

    per_second: int
    delay_max_s: float
    delayed_max: int


class UnauthorizedPace:
    """
    Delays answers of 401 beyond a rate.

    A sender waits for its answer before it sends again. So a flood of made-up keys slows itself
    down, and leaves the processor to requests with a valid key; these are never delayed.
    """

    def __init__(
        self, limits: UnauthorizedLimits, clock: Clock, on_delay: Callable[[], None]
    ) -> None:
        """*on_delay* is called for each answer that is delayed."""
        self._interval_s = 1 / limits.per_second
        self._delay_max_s = limits.delay_max_s
        self._delayed_max = limits.delayed_max
        self._delayed = 0
        self._clock = clock
        self._on_delay = on_delay
        # When the next answer without a delay is due, by the monotonic clock.
        self._due = 0.0

    async def wait(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Wait until the next answer may leave; *sleep* gets the delay in seconds."""
        delay_s = self.next_delay_s()
        if delay_s <= 0 or self._delayed >= self._delayed_max:
            return
        self._on_delay()
        self._delayed += 1
        try:
            await sleep(delay_s)
        finally:
            self._delayed -= 1

    def next_delay_s(self) -> float:
        """Return the delay of the next answer in seconds, and count that answer."""
        now = self._clock.monotonic()
        if self._due <= now:
            self._due = max(self._due, now - _BURST_S) + self._interval_s
            return 0.0
        # Random, so that the senders do not all come back in the same moment.
        return self._delay_max_s * (1 + random.random()) / 2  # noqa: S311 - not a secret
