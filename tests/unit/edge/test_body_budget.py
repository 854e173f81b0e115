"""
The memory for incomplete bodies: its limits, and the shares of them.

If these tests fail: senders without a key, or one noisy tenant, can use up the memory of a worker
or have the requests of others refused.
"""

import pytest

from service.edge.body_budget import BodyBudget
from service.reasons import Reason, RefusedError

BYTES_MAX = 8_000


class Bench:
    def __init__(self, bytes_max: int = BYTES_MAX, body_bytes_max: int = 100) -> None:
        self.reached: list[str] = []
        self.budget = BodyBudget(bytes_max, body_bytes_max, self.reached.append)

    def is_refused(self, key_id: str | None, more_bytes: int) -> bool:
        try:
            self.budget.take(key_id, more_bytes)
        except RefusedError:
            return True
        return False


def test_requests_without_a_key_share_an_eighth() -> None:
    bench = Bench()
    bench.budget.take(None, 600)
    bench.budget.take(None, 400)

    assert bench.is_refused(None, 1)
    assert not bench.is_refused("a", 4_000)
    assert ["without_key"] == bench.reached


def test_a_key_gets_half() -> None:
    bench = Bench()
    bench.budget.take("a", 4_000)

    assert bench.is_refused("a", 1)
    assert not bench.is_refused("b", 4_000)
    assert bench.is_refused("c", 1)
    assert bench.is_refused(None, 1)
    assert ["key", "worker", "worker"] == bench.reached


def test_what_is_given_back_can_be_taken_again() -> None:
    bench = Bench()
    for _ in range(3):
        bench.budget.take("a", 3_000)
        bench.budget.take("a", 1_000)
        bench.budget.give_back("a", 3_000)
        assert 1_000 == bench.budget.held_bytes
        bench.budget.give_back("a", 1_000)
        assert 0 == bench.budget.held_bytes


def test_a_refusal_counts_nothing() -> None:
    bench = Bench()
    bench.budget.take(None, 1_000)

    assert bench.is_refused(None, 1)

    assert 1_000 == bench.budget.held_bytes
    bench.budget.give_back(None, 1_000)
    bench.budget.give_back(None, 0)
    assert not bench.is_refused(None, 1_000)


def test_the_share_without_a_key_holds_the_largest_body() -> None:
    bench = Bench(body_bytes_max=2_000)

    assert not bench.is_refused(None, 2_000)


def test_a_refusal_names_the_limit_and_the_memory() -> None:
    bench = Bench()

    with pytest.raises(RefusedError, match="without a key in a header") as caught:
        bench.budget.take(None, 1_001)

    assert Reason.OVERLOADED == caught.value.reason
    assert {"limit": 1_000, "actual": 1_001} == caught.value.details
