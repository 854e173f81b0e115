"""
Keys that send much are stored apart from the others, and a full queue refuses them first.

If these tests fail: one key with many events makes the events of other keys wait, or has them
refused.
"""

import asyncio

import msgspec
import pytest

from service.pipeline.lanes import QueuedPayload
from service.pipeline.queue import Queue, QueueLimits
from service.reasons import Reason, RefusedError
from tests.unit.pipeline.gated_store import Bench, Task, reason_of
from tests.unit.pipeline.test_queue import item

KIB = 1024
NOW = 1_000.0
# A cost is the bytes and 1 KiB for each row; these payloads have no bytes.
LIMITS = QueueLimits(
    queue_rows_max=40,
    queue_bytes_max=40_000,
    batch_rows_max=20,
    batch_bytes_max=20_000,
    light_key_cost_max=4 * KIB,
    heavy_batch_cost_max=6 * KIB,
)


def offer(queue: Queue, key_id: str, rows: int = 1, *, now: float = NOW) -> list[QueuedPayload]:
    return queue.offer(item(key_id, rows, deadline=now + 5, key_id=key_id), now)


def keys(batch: list[QueuedPayload]) -> str:
    return "".join(queued.payload.key_id for queued in batch)


def heavy_queue(*key_ids: str) -> Queue:
    """Return an empty queue in which these keys are heavy."""
    queue = Queue(LIMITS)
    for key_id in key_ids:
        for _ in range(5):
            offer(queue, key_id)
        queue.take_batch(queue.light, NOW)
    assert not queue
    assert len(key_ids) == queue.heavy_keys
    return queue


def test_a_key_with_much_in_one_batch_is_heavy_and_the_rest_of_it_moves() -> None:
    queue = Queue(LIMITS)
    for key_id in "bbbbbgbbbbbbbbbbbbbbbbbbbhb":
        offer(queue, key_id)

    assert "bbbbbgbbbbbbbbbbbbbb" == keys(queue.take_batch(queue.light, NOW))
    assert "h" == keys(queue.take_batch(queue.light, NOW))
    assert "bbbbbb" == keys(queue.take_batch(queue.heavy, NOW))
    assert not queue


def test_many_keys_with_little_each_are_light() -> None:
    queue = Queue(LIMITS)
    for number in range(20):
        offer(queue, str(number))

    assert 20 == len(queue.take_batch(queue.light, NOW))
    assert 0 == queue.heavy_keys


def test_a_key_is_light_again_a_second_after_its_last_large_batch() -> None:
    queue = heavy_queue("b")

    offer(queue, "b", now=NOW + 0.9)
    assert queue.heavy
    queue.take_batch(queue.heavy, NOW + 0.9)
    offer(queue, "b", now=NOW + 1.1)

    assert queue.light
    assert "b" == keys(queue.take_batch(queue.light, NOW + 1.1))
    assert 0 == queue.heavy_keys


def test_the_payloads_of_a_key_stay_in_one_lane_and_in_order() -> None:
    queue = heavy_queue("b")
    offer(queue, "b", 1)
    offer(queue, "b", 2, now=NOW + 2)

    assert not queue.light
    taken = queue.take_batch(queue.heavy, NOW + 2)
    assert [1, 2] == [queued.payload.rows for queued in taken]


def test_heavy_keys_take_turns() -> None:
    queue = heavy_queue("a", "b")
    for key_id in "aaaaaaaaaaaab":
        offer(queue, key_id)

    assert "aaaab" == keys(queue.take_batch(queue.heavy, NOW))[:5]


def test_while_light_keys_send_a_batch_of_heavy_ones_is_small() -> None:
    queue = heavy_queue("b")
    for _ in range(20):
        offer(queue, "b")
    offer(queue, "g")

    assert 6 == len(queue.take_batch(queue.heavy, NOW + 0.05))
    assert 14 == len(queue.take_batch(queue.heavy, NOW + 0.15))


def test_a_full_queue_refuses_the_key_that_has_most() -> None:
    queue = heavy_queue("b", "c")
    for _ in range(39):
        offer(queue, "b")
    assert [] == offer(queue, "c")

    assert "b" == keys(offer(queue, "b"))  # itself
    assert "b" == keys(offer(queue, "g"))  # the newest one of b
    assert "b" == keys(offer(queue, "c"))
    assert 40 == queue.rows
    assert {"b", "c", "g"} == set(keys([*queue.light, *queue.heavy]))


def test_the_displaced_payloads_are_the_newest() -> None:
    queue = heavy_queue("b")
    for rows in (20, 15, 5):
        offer(queue, "b", rows)

    displaced = offer(queue, "g", 10)

    assert [5, 15] == [queued.payload.rows for queued in displaced]


def test_a_queue_that_heavy_keys_filled_takes_light_ones_up_to_its_limit() -> None:
    queue = heavy_queue("b")
    for _ in range(2):
        offer(queue, "b", 20)

    # Rows 1 to 20 displace the first batch, and rows 21 to 40 the second one.
    assert ["b", *[""] * 19, "b", *[""] * 19] == [keys(offer(queue, "g")) for _ in range(40)]
    # Now g has filled it, and is heavy itself.
    assert "g" == keys(offer(queue, "g"))
    assert "g" == keys(offer(queue, "h"))
    assert 40 == queue.rows


def test_a_queue_that_becomes_full_looks_for_heavy_keys_itself() -> None:
    queue = Queue(LIMITS)
    for _ in range(40):
        offer(queue, "b")

    assert 1 == queue.heavy_keys
    assert "b" == keys(offer(queue, "g"))


def test_without_a_heavy_key_a_full_queue_refuses_all() -> None:
    queue = Queue(LIMITS)
    for number in range(40):
        offer(queue, str(number))

    assert "g" == keys(offer(queue, "g"))


def test_the_expired_payloads_of_all_keys_are_removed() -> None:
    queue = heavy_queue("b")
    offer(queue, "b")
    offer(queue, "g")
    offer(queue, "b", now=NOW + 1)

    assert "gb" == keys(queue.take_expired(NOW + 5))
    assert 1 == queue.rows


@pytest.fixture
async def bench() -> Bench:
    bench = Bench()
    bench.make(flushes_max=1, batch_rows_max=1_000, queue_rows_max=1_000)
    return bench


def send(bench: Bench, key_id: str, rows: int) -> Task:
    events = [{"type": "page", "event_id": f"{key_id} {number}"} for number in range(rows)]
    payload = msgspec.structs.replace(bench.sender.payload(*events), key_id=key_id)
    return asyncio.create_task(bench.batcher.submit(payload))


async def test_a_light_key_does_not_wait_for_a_flush_of_a_heavy_one(bench: Bench) -> None:
    send(bench, "b", 200)
    first = await bench.store.next_write()
    first.succeed()
    send(bench, "b", 200)
    await bench.store.next_write()  # and it does not end

    request = send(bench, "g", 1)
    (await bench.store.next_write()).succeed()

    assert 1 == len(await request)


async def test_flushes_of_light_keys_leave_room_for_a_heavy_one(bench: Bench) -> None:
    send(bench, "b", 200)
    (await bench.store.next_write()).succeed()
    send(bench, "g", 1)
    await bench.store.next_write()  # and it does not end

    request = send(bench, "b", 200)
    (await bench.store.next_write()).succeed()

    assert 200 == len(await request)


async def test_while_light_keys_send_heavy_keys_have_one_flush_at_a_time(bench: Bench) -> None:
    bench.make(flushes_max=3, batch_rows_max=200, queue_rows_max=10_000, stalled_s=3_600)
    send(bench, "b", 200)
    (await bench.store.next_write()).succeed()
    first = send(bench, "b", 200)
    held = await bench.store.next_write()
    send(bench, "g", 1)
    (await bench.store.next_write()).succeed()
    second = send(bench, "b", 200)
    for _ in range(5):
        await asyncio.sleep(0)
    assert bench.store.is_idle

    held.succeed()
    (await bench.store.next_write()).succeed()

    assert [200, 200] == [len(verdicts) for verdicts in await asyncio.gather(first, second)]


async def test_a_stalled_flush_of_heavy_keys_does_not_delay_the_others(bench: Bench) -> None:
    bench.make(flushes_max=3, batch_rows_max=200, queue_rows_max=10_000, stalled_s=0.001)
    send(bench, "b", 200)
    (await bench.store.next_write()).succeed()
    send(bench, "b", 200)
    await bench.store.next_write()  # and it does not end
    send(bench, "g", 1)
    (await bench.store.next_write()).succeed()

    request = send(bench, "b", 200)
    (await bench.store.next_write()).succeed()

    assert 200 == len(await request)


async def test_a_displaced_request_is_overloaded_and_says_why(bench: Bench) -> None:
    bench.make(flushes_max=1, batch_rows_max=200, queue_rows_max=300)
    writes = []
    for _ in range(2):
        send(bench, "b", 200)
        writes.append(await bench.store.next_write())
    waiting = [send(bench, "b", 150) for _ in range(2)]
    await asyncio.sleep(0)

    light = send(bench, "g", 1)

    with pytest.raises(RefusedError, match="most of them sent with this key"):
        await waiting[1]
    assert Reason.OVERLOADED == await reason_of(send(bench, "b", 150))
    bench.store.open()
    for write in writes:
        write.succeed()
    assert 1 == len(await light)
