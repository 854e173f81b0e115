"""Time as an argument: the system's clock, and the shape a test's clock has to have."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the service asks of a clock."""

    def now(self) -> datetime:
        """Return the wall-clock time, UTC."""

    def monotonic(self) -> float:
        """Return seconds that never step back; only differences mean something."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def unix_ms(moment: datetime) -> int:
    """Return whole milliseconds since 1970."""
    return int(moment.timestamp() * 1000)
