"""Time as an argument: the system's clock, and the shape a test's clock has to have."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What the service asks of a clock."""

    def now(self) -> datetime:
        """Return the wall-clock time, UTC."""

    def unix_us(self) -> int:
        """Return the wall-clock time in whole microseconds since 1970."""

    def monotonic(self) -> float:
        """Return seconds that never step back; only differences mean something."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def unix_us(self) -> int:
        return time.time_ns() // 1_000

    monotonic = staticmethod(time.monotonic)


def moment(unix_us: int) -> datetime:
    """Return a count of microseconds since 1970 as a time, UTC."""
    return _EPOCH + timedelta(microseconds=unix_us)
