"""What it costs to do something over one connection: both sides' CPU, and the time it takes."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

_PROC: Final = Path("/proc")
# A session goes on for a moment after its last answer; its clock stands still once it waits.
_REST_S: Final = 0.001


class Cost(NamedTuple):
    """Microseconds of one flush."""

    client: float
    postgres: float
    wall: float

    @property
    def cpu(self) -> float:
        """Both sides."""
        return self.client + self.postgres


class Meter:
    """Watches one session of the server, and this process."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    async def cost(self, act: Callable[[], Awaitable[Any]]) -> Cost:
        """Do it, and say what it cost."""
        postgres = session_cpu_us(self._pid)
        client, wall = time.process_time(), time.perf_counter()
        await act()
        wall, client = time.perf_counter() - wall, time.process_time() - client
        await asyncio.sleep(_REST_S)
        return Cost(client * 1e6, session_cpu_us(self._pid) - postgres, wall * 1e6)


def session_cpu_us(pid: int) -> float:
    """Return the CPU time of one session; /proc/PID/stat counts in ticks of 10 ms only."""
    return int((_PROC / str(pid) / "schedstat").read_text().split()[0]) / 1e3


def median(costs: Iterable[Cost]) -> Cost:
    """Return the median of each figure."""
    return Cost(*medians(costs))


def medians(samples: Iterable[tuple[float, ...]]) -> list[float]:
    """Return the median of each place."""
    return [statistics.median(figures) for figures in zip(*samples, strict=True)]


def ratio(above: list[Cost], below: list[Cost], figure: str) -> float:
    """Return the median over the rounds of how many times as much the one costs."""
    pairs = zip(above, below, strict=True)
    ratios: list[float] = [getattr(a, figure) / getattr(b, figure) for a, b in pairs]
    return statistics.median(ratios)


def spread(values: list[float]) -> float:
    """Return how far the middle half of *values* reaches, as a share of their median."""
    low, middle, high = statistics.quantiles(values, n=4)
    return (high - low) / middle
