"""The clock of the system, and the interface of a clock: tests use their own."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

MICROSECONDS_PER_SECOND: Final = 1_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """A source of time."""

    def now(self) -> datetime:
        """Return the wall-clock time, UTC."""

    def unix_us(self) -> int:
        """Return the wall-clock time in whole microseconds since 1970."""

    def monotonic(self) -> float:
        """Return seconds from an unspecified start; they never decrease."""


class SystemClock:
    """The clock of the system."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def unix_us(self) -> int:
        return time.time_ns() // 1_000

    monotonic = staticmethod(time.monotonic)


def moment(unix_us: int) -> datetime:
    """Return the time that is *unix_us* microseconds after the start of 1970, UTC."""
    return _EPOCH + timedelta(microseconds=unix_us)
