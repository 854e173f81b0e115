"""
A further flush starts when enough rows are queued, or when the others have stalled.

If these tests fail: single events wait behind a stalled flush, or PostgreSQL gets too many small
flushes.
"""

import asyncio
from typing import Final

import pytest

from service.pipeline.batcher import FURTHER_ROWS_MIN, STALLED_S
from tests.unit.pipeline.gated_store import Bench, Task, Write, accepted

# Longer than any test: here a flush is away for as long as the test likes.
NEVER_S: Final = 3_600.0


@pytest.fixture
async def bench() -> Bench:
    bench = Bench()
    bench.make(flushes_max=2, batch_rows_max=1_000, queue_rows_max=1_000, stalled_s=NEVER_S)
    return bench


async def begin(bench: Bench) -> tuple[Task, Write]:
    """Have a flush away."""
    return bench.send("first"), await bench.store.next_write()


async def is_quiet(bench: Bench) -> bool:
    """Tell whether nothing has begun, after a few turns of the loop."""
    for _ in range(5):
        await asyncio.sleep(0)
    return bench.store.is_idle


async def test_beside_a_flush_a_second_one_waits_for_enough_rows(bench: Bench) -> None:
    await begin(bench)
    waiting = [bench.send(str(number)) for number in range(FURTHER_ROWS_MIN - 1)]
    assert await is_quiet(bench)
    assert FURTHER_ROWS_MIN - 1 == bench.batcher.queued_rows

    waiting.append(bench.send("the last"))
    further = await bench.store.next_write()
    further.succeed()

    assert FURTHER_ROWS_MIN == len(further.payloads)
    assert [accepted("the last")] == [(await asyncio.gather(*waiting))[-1]]


async def test_rows_count_and_not_requests(bench: Bench) -> None:
    bench.make(flushes_max=2, stalled_s=NEVER_S, further_rows_min=3)
    await begin(bench)
    one = bench.send("a", "b")
    assert await is_quiet(bench)

    other = bench.send("c")
    (await bench.store.next_write()).succeed()

    assert (accepted("a", "b"), accepted("c")) == (await one, await other)


async def test_the_end_of_a_flush_starts_the_next_one_however_few_rows_are_queued(
    bench: Bench,
) -> None:
    _, first = await begin(bench)
    lone = bench.send("a")
    assert await is_quiet(bench)

    first.succeed()
    (await bench.store.next_write()).succeed()

    assert accepted("a") == await lone


async def test_without_a_flush_in_progress_one_row_starts_a_flush(bench: Bench) -> None:
    for name in "abc":
        request = bench.send(name)
        (await bench.store.next_write()).succeed()
        assert accepted(name) == await request


@pytest.mark.parametrize("error", [ValueError("a bug"), SystemExit(1)])
async def test_after_a_failed_flush_one_row_starts_a_flush(
    bench: Bench, error: BaseException
) -> None:
    failing, write = await begin(bench)
    write.fail(error)
    await asyncio.wait({failing})

    lone = bench.send("a")
    (await bench.store.next_write()).succeed()

    assert accepted("a") == await lone


async def test_no_payload_waits_behind_a_stalled_flush(bench: Bench) -> None:
    bench.make(flushes_max=2)
    loop = asyncio.get_running_loop()
    began = loop.time()
    held, write = await begin(bench)

    lone = bench.send("a")
    (await bench.store.next_write()).succeed()

    assert accepted("a") == await lone
    assert 0.05 == STALLED_S <= loop.time() - began
    assert not held.done()
    write.succeed()
    assert accepted("first") == await held


async def test_a_payload_with_a_short_deadline_does_not_wait_behind_a_flush(bench: Bench) -> None:
    bench.make(flushes_max=2, stalled_s=NEVER_S, timeout_s=0.1)
    await begin(bench)

    lone = bench.send("a")
    (await bench.store.next_write()).succeed()

    assert accepted("a") == await lone


async def test_a_stalled_flush_stays_stalled_until_it_ends(bench: Bench) -> None:
    bench.make(flushes_max=2, stalled_s=0.0)
    await begin(bench)

    for name in "abc":
        request = bench.send(name)
        (await bench.store.next_write()).succeed()
        assert accepted(name) == await request


async def test_a_stalled_flush_does_not_count_for_one_on_time(bench: Bench) -> None:
    bench.make(flushes_max=3, stalled_s=NEVER_S, further_rows_min=2, batch_rows_max=10)
    await begin(bench)
    (stalled,) = bench.batcher._flushes
    bench.send("a", "b")
    on_time = await bench.store.next_write()
    bench.batcher._mark_stalled(stalled)
    lone = bench.send("c")
    assert await is_quiet(bench)

    on_time.succeed()
    (await bench.store.next_write()).succeed()

    assert accepted("c") == await lone


async def test_a_full_batch_waits_for_no_more_rows(bench: Bench) -> None:
    bench.make(flushes_max=2, stalled_s=NEVER_S, batch_rows_max=2)
    await begin(bench)

    pair = bench.send("a", "b")
    (await bench.store.next_write()).succeed()

    assert accepted("a", "b") == await pair


async def test_a_queue_that_refuses_waits_for_no_more_rows(bench: Bench) -> None:
    bench.make(flushes_max=2, stalled_s=NEVER_S, batch_rows_max=1_000, queue_rows_max=2)
    await begin(bench)

    pair = bench.send("a", "b")
    (await bench.store.next_write()).succeed()

    assert accepted("a", "b") == await pair


async def test_a_drain_starts_flushes_of_few_rows_at_once(bench: Bench) -> None:
    held, write = await begin(bench)
    rest = bench.send("a")
    assert await is_quiet(bench)

    draining = asyncio.create_task(bench.batcher.drain(30))
    (await bench.store.next_write()).succeed()
    assert accepted("a") == await rest
    last = bench.send("b")
    (await bench.store.next_write()).succeed()
    assert accepted("b") == await last

    assert not draining.done()
    write.succeed()
    assert await draining
    assert held.done()
