"""
Keys take turns in a fair queue, whatever the number of their items.

If these tests fail: one key with many requests delays the requests of all others.
"""

from random import Random

from service.pipeline.fair_queue import FairQueue


def queue_of(items: str, cost: int = 1, quantum: int = 2) -> FairQueue[str]:
    queue: FairQueue[str] = FairQueue(quantum)
    for item in items:
        queue.put(item, item, cost)
    return queue


def order_of(queue: FairQueue[str]) -> str:
    order = ""
    while queue:
        order += queue.pop()
    return order


def test_with_one_key_it_is_first_in_first_out() -> None:
    queue: FairQueue[int] = FairQueue(3)
    for number in range(20):
        queue.put("key", number, 1 + number % 5)

    assert [*range(20)] == [queue.pop() for _ in range(20)]
    assert not queue


def test_keys_take_turns() -> None:
    assert "aabbaaba" == order_of(queue_of("aaaaabbb"))


def test_a_key_that_comes_late_waits_for_one_turn_only() -> None:
    queue = queue_of("a" * 100)
    queue.pop()
    queue.put("b", "b", 1)

    assert "ab" == queue.pop() + queue.pop()


def test_what_an_item_costs_beyond_a_turn_is_deducted_from_the_next_turn() -> None:
    queue = queue_of("aaa", cost=7)
    for _ in range(12):
        queue.put("b", "b", 1)

    # The turns of a: 7 of 2, so three turns of b pass before the next one.
    assert "abbbbbba" == order_of(queue)[:8]


def test_two_keys_get_the_same_share_of_the_cost() -> None:
    chance = Random(1)
    queue: FairQueue[str] = FairQueue(10)
    costs = {"large": 25, "small": 1}
    for key, cost in costs.items():
        for _ in range(2_500 // cost):
            queue.put(key, key, cost)
    got = dict.fromkeys(costs, 0)

    for _ in range(500 + chance.randrange(100)):
        key = queue.pop()
        got[key] += costs[key]

    assert abs(got["large"] - got["small"]) <= 25 + 10


def test_the_next_item_stays_in_the_queue() -> None:
    queue = queue_of("ab")

    assert "aa" == queue.next() + queue.next()
    assert "ab" == order_of(queue)


def test_the_newest_items_of_the_largest_key_are_removed() -> None:
    queue: FairQueue[str] = FairQueue(2)
    for item, cost in (("a1", 1), ("b1", 2), ("a2", 2), ("a3", 1)):
        queue.put(item[0], item, cost)

    assert ("a", "a3") == (queue.largest(), queue.pop_newest("a"))
    assert (3, 2, 0) == (queue.cost_of("a"), queue.cost_of("b"), queue.cost_of("c"))
    assert ["a1", "a2", "b1"] == list(queue)


def test_the_oldest_items_are_removed_up_to_the_first_that_stays() -> None:
    queue: FairQueue[int] = FairQueue(2)
    for number in (1, 2, 3, 11, 4):
        queue.put("low", number, 1)
    queue.put("high", 12, 1)
    queue.put("gone", 1, 1)

    assert [1, 2, 3, 1] == queue.pop_oldest_while(lambda number: number < 10)
    assert [11, 4, 12] == list(queue)
    assert "gone" not in queue
