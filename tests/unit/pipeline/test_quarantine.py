"""
The limit for rejected events in quarantine, per key and minute.

If these tests fail: one sender can fill the disk with rejected events, or an analyst misses some.
"""

from service.pipeline.check import QuarantineBudget
from tests.doubles import FixedClock


class Bench:
    def __init__(self, rows_per_minute: int) -> None:
        self.clock = FixedClock()
        self.dropped: list[int] = []
        self.budget = QuarantineBudget(self.clock, rows_per_minute, self.dropped.append)

    def take(self, key_id: str, times: int) -> list[bool]:
        return [self.budget.take(key_id) for _ in range(times)]


def test_what_is_over_the_budget_is_counted_not_kept() -> None:
    bench = Bench(2)

    assert [True, True, False, False] == bench.take("a", 4)
    assert [1, 1] == bench.dropped


def test_each_key_has_its_own_budget() -> None:
    bench = Bench(1)

    assert [True, False] == bench.take("a", 2)
    assert [True] == bench.take("b", 1)


def test_a_minute_later_there_is_a_new_one() -> None:
    bench = Bench(1)
    bench.take("a", 1)

    bench.clock.advance(59.9)
    assert [False] == bench.take("a", 1)
    bench.clock.advance(0.2)
    assert [True, False] == bench.take("a", 2)


def test_a_budget_of_nothing_keeps_nothing() -> None:
    assert [False] == Bench(0).take("a", 1)
