"""
The queue of payloads: admission, batches, expiry.

If these tests fail: an overloaded worker uses up its memory, or answers 503 without need.
"""

from typing import Any

from service.model import Payload, RejectedRow
from service.pipeline.lanes import QueuedPayload
from service.pipeline.queue import Queue, QueueLimits
from service.reasons import Reason
from tests.doubles import NOON, Sender

# The queue does not use the future of a payload.
NO_FUTURE: Any = None
NOW = 1_000.0
LIMITS = QueueLimits(
    queue_rows_max=10, queue_bytes_max=1_000, batch_rows_max=4, batch_bytes_max=400
)


def item(
    name: str,
    rows: int = 1,
    size_bytes: int = 0,
    deadline: float = 0.0,
    *,
    key_id: str = "key",
) -> QueuedPayload:
    row = RejectedRow(1, 1, 1, None, Reason.INVALID_EVENT, None, name, b"", 1, NOON, "key")
    payload = Payload(Sender().rows(), [row] * rows, size_bytes, max(rows, 1), key_id)
    return QueuedPayload(payload, NO_FUTURE, deadline)


def queue_of(*items: QueuedPayload) -> Queue:
    queue = Queue(LIMITS)
    for one in items:
        assert is_admitted(queue, one)
    return queue


def is_admitted(queue: Queue, queued: QueuedPayload) -> bool:
    return queue.offer(queued, NOW) == []


def next_batch(queue: Queue) -> str:
    return names(queue.take_batch(queue.light, NOW))


def is_full(*items: QueuedPayload) -> bool:
    queue = queue_of(*items)
    return queue.is_worth_a_flush(queue.light, 100)


def names(batch: list[QueuedPayload]) -> str:
    return "".join(queued.payload.rejected[0].message for queued in batch)


def test_the_queue_is_first_in_first_out() -> None:
    queue = queue_of(item("a"), item("b"), item("c"))

    assert next_batch(queue) == "abc"
    assert not queue


def test_a_batch_takes_whole_payloads_up_to_its_rows() -> None:
    queue = queue_of(item("a", 3), item("b", 2), item("c", 2), item("d", 1))

    assert ["a", "bc", "d"] == [next_batch(queue) for _ in range(3)]


def test_a_batch_takes_whole_payloads_up_to_its_bytes() -> None:
    queue = queue_of(item("a", 1, 200), item("b", 1, 200), item("c", 1, 1))

    assert ["ab", "c"] == [next_batch(queue) for _ in range(2)]


def test_a_payload_larger_than_a_batch_is_a_batch_of_its_own() -> None:
    queue = queue_of(item("a", 1), item("b", 6, 500), item("c", 1))

    assert ["a", "b", "c"] == [next_batch(queue) for _ in range(3)]


def test_the_queue_is_worth_a_flush_with_enough_rows() -> None:
    queue = queue_of(item("a", 1), item("b", 1))

    assert [True, True, False] == [queue.is_worth_a_flush(queue.light, rows) for rows in (1, 2, 3)]


def test_the_queue_is_worth_a_flush_with_a_full_batch() -> None:
    assert is_full(item("a", 4))
    assert is_full(item("a", 1, 400))
    assert not is_full(item("a", 3, 399))


def test_the_queue_is_worth_a_flush_while_it_refuses_payloads() -> None:
    queue = Queue(QueueLimits(10, 1_000, 100, 10_000))
    for name in "abcd":
        assert is_admitted(queue, item(name, 3, deadline=float(name == "d")))
    assert queue.is_worth_a_flush(queue.light, 100)

    queue.take_expired(0)

    assert not queue.is_worth_a_flush(queue.light, 100)


def test_an_empty_payload_counts_as_one_row() -> None:
    queue = queue_of(item("a", 0), item("b", 0))

    assert 2 == queue.rows


def test_queued_rows_and_bytes_are_counted() -> None:
    queue = queue_of(item("a", 3, 30), item("b", 2, 20))
    assert (5, 50) == (queue.rows, queue.size_bytes)

    next_batch(queue)
    assert (2, 20) == (queue.rows, queue.size_bytes)


def test_at_the_limit_of_rows_the_queue_refuses_until_half_are_left() -> None:
    queue = queue_of(item("a", 3), item("b", 3), item("c", 4))
    assert not is_admitted(queue, item("x"))

    assert next_batch(queue) == "a"
    assert not is_admitted(queue, item("x"))  # 7 wait: below the high mark, above half of it
    assert next_batch(queue) == "b"
    assert is_admitted(queue, item("d"))  # 4 wait


def test_at_the_limit_of_bytes_the_queue_refuses_until_half_are_left() -> None:
    queue = queue_of(item("a", 1, 399), item("b", 1, 399), item("c", 1, 399))
    assert not is_admitted(queue, item("x"))

    next_batch(queue)
    assert not is_admitted(queue, item("x"))  # 798 wait
    next_batch(queue)
    assert is_admitted(queue, item("d"))


def test_a_refused_payload_does_not_change_the_queue() -> None:
    queue = queue_of(item("a", 10))

    assert not is_admitted(queue, item("x", 5, 500))
    assert (10, 0) == (queue.rows, queue.size_bytes)


def test_a_queue_that_one_payload_filled_accepts_again() -> None:
    queue = queue_of(item("a", 99, 9_999))
    assert not is_admitted(queue, item("x"))

    assert next_batch(queue) == "a"
    assert is_admitted(queue, item("b"))


def test_expired_payloads_are_removed() -> None:
    queue = queue_of(*(item(name, 3, deadline=at) for name, at in (("a", 1.0), ("b", 2.0))))
    is_admitted(queue, item("c", 4, deadline=3.0))
    assert not is_admitted(queue, item("x"))

    assert names(queue.take_expired(2.0)) == "ab"
    assert (4, names(queue.take_expired(2.0))) == (queue.rows, "")
    assert is_admitted(queue, item("d"))
    assert next_batch(queue) == "c"
