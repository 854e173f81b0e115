"""
Limits of the events per second of a key.

If these tests fail: a key sends more events than its limit, fewer than it may, or is refused
because of another key.
"""

import contextlib
import mmap
import multiprocessing
import os
import random
from typing import Final

import pytest

from service.pipeline.rate_limits import MEMORY_BYTES, RateLimits
from service.reasons import Reason, RefusedError
from tests.doubles import FixedClock

KEY: Final = "0123456789ab"
OTHER: Final = "ba9876543210"


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def limits(clock: FixedClock) -> RateLimits:
    return RateLimits(mmap.mmap(-1, MEMORY_BYTES), clock)


def is_taken(limits: RateLimits, rate: int, events: int, key_id: str = KEY) -> bool:
    """Take tokens, if there is one; the check before the body must give the same answer."""
    try:
        limits.require_token(key_id, rate)
    except RefusedError:
        with pytest.raises(RefusedError):
            limits.take(key_id, rate, events)
        return False
    limits.take(key_id, rate, events)
    return True


def refusal(limits: RateLimits, rate: int, key_id: str = KEY) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        limits.require_token(key_id, rate)
    return caught.value


@pytest.mark.parametrize("rate", [1, 3, 10, 999, 10_000])
def test_a_full_bucket_holds_the_tokens_of_one_second(limits: RateLimits, rate: int) -> None:
    taken = 0
    while is_taken(limits, rate, 1):
        taken += 1

    assert rate == taken


@pytest.mark.parametrize("rate", [1, 7, 100])
@pytest.mark.parametrize("events", [1, 50])
def test_the_admitted_rate_is_the_limit(
    clock: FixedClock, limits: RateLimits, rate: int, events: int
) -> None:
    steps = random.Random(f"{rate} {events}")
    admitted = 0
    elapsed_s = 0.0
    while elapsed_s < max(20 * events / rate, 5):
        admitted += events * is_taken(limits, rate, events)
        step_s = steps.random() / 10 * min(events / rate, 1)
        clock.advance(step_s)
        elapsed_s += step_s

    # At first the bucket is full, and at the end it can have the debt of one request.
    assert 0.9 * rate * elapsed_s < admitted
    assert admitted < rate * (elapsed_s + 1) + events


def test_a_sender_that_obeys_retry_after_reaches_its_rate(
    clock: FixedClock, limits: RateLimits
) -> None:
    admitted = 0
    waited_s = 0.0
    while waited_s < 100:
        while is_taken(limits, 20, 1):
            admitted += 1
        pause_s = float(refusal(limits, 20).details["retry_after_s"])
        clock.advance(pause_s)
        waited_s += pause_s

    assert 100 * 20 == admitted


@pytest.mark.parametrize(
    ("events", "retry_after_s", "counted"),
    [(10, 1, 10), (15, 1, 15), (50, 5, 50), (10_000, 1000, 10_000)],
)
def test_a_batch_of_any_size_is_admitted_and_later_requests_wait_for_it(
    clock: FixedClock, limits: RateLimits, events: int, retry_after_s: int, counted: int
) -> None:
    assert is_taken(limits, 10, events)

    error = refusal(limits, 10)

    assert Reason.RATE_LIMITED == error.reason
    assert {"limit": 10, "actual": counted, "retry_after_s": retry_after_s} == error.details
    assert f"may send 10 events per second; {counted} events" in error.message
    assert f"Send again in {retry_after_s} s." in error.message
    clock.advance(retry_after_s - 1)
    assert refusal(limits, 10).details["retry_after_s"] == 1
    clock.advance(1)
    assert is_taken(limits, 10, events)


def test_an_idle_bucket_holds_no_more_than_one_second(
    clock: FixedClock, limits: RateLimits
) -> None:
    assert is_taken(limits, 5, 5)
    clock.advance(3600)

    assert [True] * 5 + [False] == [is_taken(limits, 5, 1) for _ in range(6)]


def test_a_refused_request_takes_nothing(clock: FixedClock, limits: RateLimits) -> None:
    assert is_taken(limits, 10, 10)
    for _ in range(1_000):
        assert not is_taken(limits, 10, 50)
    clock.advance(1)

    assert is_taken(limits, 10, 1)


def test_keys_do_not_affect_each_other(limits: RateLimits) -> None:
    assert is_taken(limits, 10, 1_000)

    assert not is_taken(limits, 10, 1)
    assert is_taken(limits, 10, 1, OTHER)


def test_a_changed_limit_applies_at_once(limits: RateLimits) -> None:
    """A debt at the old rate does not count at the new one."""
    assert is_taken(limits, 1, 1_000)

    assert is_taken(limits, 1_000, 1)
    assert not is_taken(limits, 1, 1)


def test_objects_with_the_same_memory_share_the_buckets(clock: FixedClock) -> None:
    memory = mmap.mmap(-1, MEMORY_BYTES)
    workers = [RateLimits(memory, clock) for _ in range(2)]

    taken = [is_taken(workers[number % 2], 10, 1) for number in range(12)]

    assert [True] * 10 + [False] * 2 == taken


def test_no_bucket_in_debt_is_lost_among_ten_thousand(clock: FixedClock) -> None:
    limits = RateLimits(mmap.mmap(-1, MEMORY_BYTES), clock)
    keys = [f"{number:012}" for number in range(10_000)]
    for key_id in keys:
        limits.take(key_id, 10, 100)

    assert not any(is_taken(limits, 10, 1, key_id) for key_id in keys)


def test_when_there_are_too_many_keys_the_bucket_that_is_full_first_is_lost(
    clock: FixedClock,
) -> None:
    limits = RateLimits(mmap.mmap(-1, MEMORY_BYTES), clock)
    limits.take(KEY, 1, 10_000)
    for number in range(100_000):
        limits.take(f"{number:012}", 1, 10)

    assert not is_taken(limits, 1, 1)


def _take_all(descriptor: int, rate: int, taken: "multiprocessing.Queue[int]") -> None:
    limits = RateLimits(mmap.mmap(descriptor, MEMORY_BYTES), FixedClock())
    count = 0
    with contextlib.suppress(RefusedError):
        while True:
            limits.take(KEY, rate, 1)
            count += 1
    taken.put(count)


def test_processes_share_the_buckets() -> None:
    rate = 50_000
    descriptor = os.memfd_create("buckets")
    os.ftruncate(descriptor, MEMORY_BYTES)
    fork = multiprocessing.get_context("fork")
    taken = fork.Queue()
    processes = [fork.Process(target=_take_all, args=(descriptor, rate, taken)) for _ in range(2)]
    for process in processes:
        process.start()
    total = sum(taken.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    os.close(descriptor)

    # More than the limit: processes that do nothing else lose counts of each other.
    assert rate <= total < 1.8 * rate
