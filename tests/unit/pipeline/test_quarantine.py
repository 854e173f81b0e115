"""
The limits for rejected events in quarantine: per key and minute, and for the table.

If these tests fail: one sender can fill the disk with rejected events, or an analyst misses some.
"""

from service.pipeline.quarantine import QuarantineBudget
from tests.doubles import FixedClock, quarantine_limits


class Bench:
    def __init__(self, *, workers: int = 1, **limits: int) -> None:
        self.clock = FixedClock()
        self.dropped: list[str] = []
        self.budget = QuarantineBudget(
            self.clock, quarantine_limits(**limits), self.dropped.append, workers=workers
        )

    def is_full(self) -> bool:
        return self.budget.is_table_full

    def take(self, key_id: str, times: int, size_bytes: int = 10) -> list[bool]:
        return [self.budget.take(key_id, size_bytes) for _ in range(times)]


def test_what_is_over_the_budget_is_counted_not_kept() -> None:
    bench = Bench(rows_per_minute=2)

    assert [True, True, False, False] == bench.take("a", 4)
    assert ["rows", "rows"] == bench.dropped


def test_bytes_are_limited_too_and_a_smaller_event_may_still_fit() -> None:
    bench = Bench(bytes_per_minute=100)

    assert [True, True, False] == bench.take("a", 3, size_bytes=40)
    assert [True, False] == bench.take("a", 2, size_bytes=20)
    assert ["bytes", "bytes"] == bench.dropped


def test_each_key_has_its_own_budget() -> None:
    bench = Bench(rows_per_minute=1, bytes_per_minute=10)

    assert [True, False] == bench.take("a", 2)
    assert [True] == bench.take("b", 1)


def test_a_minute_later_there_is_a_new_one() -> None:
    bench = Bench(rows_per_minute=1, bytes_per_minute=15)
    bench.take("a", 1)

    bench.clock.advance(59.9)
    assert [False] == bench.take("a", 1)
    bench.clock.advance(0.2)
    assert [True, False] == bench.take("a", 2)


def test_a_budget_of_nothing_keeps_nothing() -> None:
    assert [False] == Bench(rows_per_minute=0).take("a", 1)
    assert [False] == Bench(bytes_per_minute=0).take("a", 1)
    assert [False] == Bench(table_bytes_max=0).take("a", 1)


def test_all_workers_together_keep_no_more_than_the_limits() -> None:
    benches = [Bench(workers=3, rows_per_minute=10, bytes_per_minute=65) for _ in range(3)]

    kept = [sum(bench.take("a", 20, size_bytes=1)) for bench in benches]
    assert [3, 3, 3] == kept
    kept = [sum(bench.take("b", 2, size_bytes=20)) for bench in benches]
    assert [1, 1, 1] == kept


def test_between_two_measurements_a_part_of_what_the_table_has_left_is_used() -> None:
    bench = Bench(workers=2, table_bytes_max=1_000_000)

    # 4,000 bytes take 6,024 on disk, at most.
    bench.budget.table_measured(950_000)
    assert [True] * 4 + [False] == bench.take("a", 5, size_bytes=4_000)
    assert bench.is_full()
    assert ["table"] == bench.dropped
    bench.budget.table_measured(975_000)
    assert not bench.is_full()
    assert [True, True, False] == bench.take("a", 3, size_bytes=4_000)


def test_a_full_table_refuses_every_key_until_it_has_room() -> None:
    bench = Bench(table_bytes_max=10_000)

    bench.budget.table_measured(10_001)
    assert bench.is_full()
    assert [False, False] == bench.take("a", 1) + bench.take("b", 1)
    bench.budget.table_measured(0)
    assert [True, True] == bench.take("a", 1) + bench.take("b", 1)


def test_an_event_that_is_not_kept_takes_nothing_of_the_budget() -> None:
    bench = Bench(rows_per_minute=3, bytes_per_minute=100)

    assert [False] == bench.take("a", 1, size_bytes=101)
    assert [True, True] == bench.take("a", 2, size_bytes=50)
