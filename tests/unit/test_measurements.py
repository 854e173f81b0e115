"""
Measurements of the database: the size of the quarantine.

If these tests fail: rejected events fill the disk, or nobody learns that they are not kept.
"""

import pytest
from structlog.testing import capture_logs

from service.measurements import Measurements
from service.pipeline.quarantine import QuarantineBudget
from tests.doubles import FixedClock, quarantine_limits


class Bench:
    def __init__(self) -> None:
        self.clock = FixedClock()
        self.size_bytes: int | None = 0
        self.seen: list[int | None] = []
        self.budget = QuarantineBudget(
            self.clock, quarantine_limits(table_bytes_max=10_000), lambda _cause: None
        )
        self.measurements = Measurements(self._size, self.budget, self.clock, self.seen.append)

    async def _size(self) -> int:
        if self.size_bytes is None:
            raise OSError
        return self.size_bytes

    def is_full(self) -> bool:
        return self.budget.is_table_full

    async def measure(self, size_bytes: int | None) -> list[str]:
        """Measure once; return what was logged."""
        self.size_bytes = size_bytes
        with capture_logs() as lines:
            await self.measurements.measure()
        return [line["event"] for line in lines]


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_the_budget_follows_the_size_of_the_table(bench: Bench) -> None:
    await bench.measure(10)
    assert not bench.is_full()
    await bench.measure(20_000)
    assert bench.is_full()
    await bench.measure(10)
    assert not bench.is_full()

    assert [10, 20_000, 10] == bench.seen


async def test_a_full_table_is_logged_once_a_minute(bench: Bench) -> None:
    assert ["quarantine_full"] == await bench.measure(20_000)
    bench.clock.advance(59)
    assert [] == await bench.measure(20_000)
    bench.clock.advance(1)
    assert ["quarantine_full"] == await bench.measure(20_000)


async def test_a_table_that_was_full_between_two_measurements_is_logged(bench: Bench) -> None:
    await bench.measure(9_000)
    bench.budget.take("a", 500)

    assert ["quarantine_full"] == await bench.measure(9_500)
    assert not bench.is_full()


async def test_without_an_answer_the_budget_stays_and_the_next_measurement_counts(
    bench: Bench,
) -> None:
    await bench.measure(20_000)
    bench.clock.advance(60)

    assert ["quarantine_not_measured"] == await bench.measure(None)
    assert bench.is_full()
    assert [20_000, None] == bench.seen
    await bench.measure(0)
    assert not bench.is_full()
