"""
The batcher: payloads are stored together, and each is answered after its commit.

If these tests fail: senders get a 200 for events that are not stored, or no answer.
"""

import asyncio

import pytest

from service.model import Outcome, Payload, Verdict
from service.reasons import Reason, RefusedError
from tests.doubles import MemoryStore
from tests.unit.pipeline.gated_store import Bench, accepted, reason_of


class Panic(BaseException):
    """Like a panic of the core: not an instance of Exception."""


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_an_answer_comes_only_after_the_write_has_returned(bench: Bench) -> None:
    request = bench.send("a", "b")
    write = await bench.store.next_write()
    assert not request.done()

    write.succeed()

    assert accepted("a", "b") == await request


async def test_requests_of_one_loop_iteration_are_stored_in_one_flush(bench: Bench) -> None:
    requests = [bench.send("a"), bench.send("b"), bench.send("c")]

    write = await bench.store.next_write()
    write.succeed()

    assert [["a"], ["b"], ["c"]] == write.event_ids
    assert [accepted("a"), accepted("b"), accepted("c")] == await asyncio.gather(*requests)
    assert bench.store.is_idle


async def test_an_idle_batcher_writes_at_once_without_a_timer(bench: Bench) -> None:
    first = bench.send("a")
    (await bench.store.next_write()).succeed()
    await first

    second = bench.send("b")
    (await bench.store.next_write()).succeed()

    assert accepted("b") == await second
    assert 2 == len(bench.store.flushes)


async def test_payloads_queue_while_a_flush_is_in_progress(bench: Bench) -> None:
    first = bench.send("a")
    held = await bench.store.next_write()
    later = [bench.send("b")]
    await asyncio.sleep(0)  # another turn of the loop
    later.append(bench.send("c"))
    await asyncio.sleep(0)
    assert bench.store.is_idle

    held.succeed()
    await first
    following = await bench.store.next_write()
    following.succeed()
    await asyncio.gather(*later)

    assert [["b"], ["c"]] == following.event_ids


async def test_no_more_flushes_are_under_way_than_allowed(bench: Bench) -> None:
    bench.make(flushes_max=2, batch_rows_max=1)
    requests = [bench.send(name) for name in "abc"]

    one, two = await bench.store.next_write(), await bench.store.next_write()
    assert bench.store.is_idle
    two.succeed()
    three = await bench.store.next_write()
    one.succeed()
    three.succeed()

    assert [accepted(name) for name in "abc"] == await asyncio.gather(*requests)


async def test_a_request_is_never_split(bench: Bench) -> None:
    requests = [bench.send("a", "b", "c"), bench.send("d", "e"), bench.send("f", "g")]

    first = await bench.store.next_write()
    first.succeed()
    second = await bench.store.next_write()
    second.succeed()
    await asyncio.gather(*requests)

    assert [["a", "b", "c"]] == first.event_ids
    assert [["d", "e"], ["f", "g"]] == second.event_ids


async def test_each_request_gets_its_own_verdicts(bench: Bench) -> None:
    requests = [bench.send("a", "b"), bench.send("a"), bench.send("c")]
    (await bench.store.next_write()).succeed()

    got = await asyncio.gather(*requests)

    assert got == [accepted("a", "b"), [Verdict("a", Outcome.DUPLICATE)], accepted("c")]


async def test_the_deadline_is_that_of_the_request_that_waits_longest(bench: Bench) -> None:
    started = bench.clock.monotonic()
    requests = [bench.send("a")]
    held = await bench.store.next_write()
    requests.append(bench.send("b"))
    await asyncio.sleep(0)
    bench.clock.advance(2)
    requests.append(bench.send("c"))
    await asyncio.sleep(0)
    held.succeed()
    following = await bench.store.next_write()
    following.succeed()
    await asyncio.gather(*requests)

    assert (started + 5, started + 5) == (held.deadline, following.deadline)


async def test_above_its_limit_the_batcher_is_overloaded_until_half_is_left(bench: Bench) -> None:
    bench.make(queue_rows_max=4, batch_rows_max=2)
    requests = [bench.send("0")]
    write = await bench.store.next_write()
    requests += [bench.send("a", "b"), bench.send("c", "d")]
    await asyncio.sleep(0)

    assert 4 == bench.batcher.queued_rows
    assert Reason.OVERLOADED == await reason_of(bench.send("x"))
    write.succeed()
    write = await bench.store.next_write()
    requests.append(bench.send("e"))
    await asyncio.sleep(0)
    assert 3 == bench.batcher.queued_rows
    write.succeed()
    bench.store.open()
    await asyncio.gather(*requests)

    assert {"0", "a", "b", "c", "d", "e"} == {row.event_id for row in bench.store.events}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RefusedError(Reason.STORE_UNAVAILABLE), Reason.STORE_UNAVAILABLE),
        (RefusedError(Reason.OUTCOME_UNKNOWN), Reason.OUTCOME_UNKNOWN),
        (ValueError("a bug"), Reason.OUTCOME_UNKNOWN),
        (Panic("the core"), Reason.OUTCOME_UNKNOWN),
        (SystemExit(1), Reason.OUTCOME_UNKNOWN),
    ],
)
async def test_a_failed_write_answers_all_its_requests_and_the_batcher_continues(
    bench: Bench, error: BaseException, expected: Reason
) -> None:
    failing = [bench.send("a"), bench.send("b")]

    (await bench.store.next_write()).fail(error)
    assert [expected] * 2 == [await reason_of(request) for request in failing]

    working = bench.send("c")
    (await bench.store.next_write()).succeed()
    assert accepted("c") == await working


async def test_each_request_gets_a_refusal_of_its_own(bench: Bench) -> None:
    """One exception raised in many tasks would gather the tracebacks of all."""
    requests = [bench.send("a"), bench.send("b")]
    (await bench.store.next_write()).fail(RefusedError(Reason.STORE_UNAVAILABLE, "It is away."))

    one, two = await asyncio.gather(*requests, return_exceptions=True)

    assert one is not two
    assert ["It is away."] * 2 == [str(one), str(two)]


async def test_a_write_that_answers_too_few_is_a_fault_not_a_hang(bench: Bench) -> None:
    class Forgetful(MemoryStore):
        async def write(self, payloads: list[Payload], deadline: float) -> list[list[Verdict]]:
            return (await super().write(payloads, deadline))[:1]

    bench.store = Forgetful()  # type: ignore[assignment]
    bench.make()
    requests = [bench.send("a"), bench.send("b")]

    got = await asyncio.gather(*requests, return_exceptions=True)

    assert accepted("a") == got[0]
    assert isinstance(got[1], RefusedError)


async def test_a_cancelled_flush_answers_all_its_requests(bench: Bench) -> None:
    requests = [bench.send("a"), bench.send("b")]
    write = await bench.store.next_write()
    assert write.task is not None

    write.task.cancel()

    assert [Reason.OUTCOME_UNKNOWN] * 2 == [await reason_of(request) for request in requests]
    working = bench.send("c")
    (await bench.store.next_write()).succeed()
    assert accepted("c") == await working


async def test_a_flush_that_is_cancelled_before_its_first_step_answers_too(bench: Bench) -> None:
    request = bench.send("a")
    await asyncio.sleep(0)  # the request is submitted
    await asyncio.sleep(0)  # its flush is there, and has yet to begin

    (flush,) = bench.batcher._flushes
    flush.cancel()

    assert Reason.OUTCOME_UNKNOWN == await reason_of(request)
    assert bench.store.is_idle


async def test_an_expired_request_does_not_fail_the_rest_of_its_flush(bench: Bench) -> None:
    first = bench.send("a")
    held = await bench.store.next_write()
    late = bench.send("b")
    await asyncio.sleep(0)
    bench.clock.advance(5)
    fresh = bench.send("c")
    await asyncio.sleep(0)

    held.succeed()
    following = await bench.store.next_write()
    following.succeed()

    assert [["c"]] == following.event_ids
    assert Reason.OVERLOADED == await reason_of(late)
    assert accepted("a") == await first
    assert accepted("c") == await fresh


async def test_a_cancelled_request_is_stored_and_affects_no_other(bench: Bench) -> None:
    gone, staying = bench.send("a"), bench.send("b")
    write = await bench.store.next_write()

    gone.cancel()
    await asyncio.wait({gone})
    write.succeed()

    assert accepted("b") == await staying
    assert ["a", "b"] == [row.event_id for row in bench.store.events]


@pytest.mark.parametrize("error", [RefusedError(Reason.STORE_UNAVAILABLE), Panic()])
async def test_a_failed_write_ignores_cancelled_requests(
    bench: Bench, error: BaseException
) -> None:
    gone, staying = bench.send("a"), bench.send("b")
    write = await bench.store.next_write()

    gone.cancel()
    await asyncio.wait({gone})
    write.fail(error)

    assert isinstance(await reason_of(staying), Reason)
    assert gone.cancelled()


async def test_on_flush_gets_the_measures_of_every_flush_failed_ones_included(bench: Bench) -> None:
    one = bench.send("a", "b")
    (await bench.store.next_write()).succeed()
    await one
    two = bench.send("c")
    write = await bench.store.next_write()
    bench.clock.advance(1.5)
    write.fail(Panic())
    await reason_of(two)

    assert [(2, 0), (1, 0)] == [(rows, queued_rows) for rows, queued_rows, _ in bench.flushed]
    assert [0, 1.5] == [duration_s for *_, duration_s in bench.flushed]


async def test_drain_waits_until_all_is_answered(bench: Bench) -> None:
    bench.make(batch_rows_max=1)
    requests = [bench.send(name) for name in "abc"]
    await asyncio.sleep(0)
    draining = asyncio.create_task(bench.batcher.drain(30))

    for _ in requests:
        assert not draining.done()
        (await bench.store.next_write()).succeed()

    assert await draining
    assert all(request.done() for request in requests)
    assert 0 == bench.batcher.queued_rows


async def test_drain_stores_queued_payloads(bench: Bench) -> None:
    request = bench.send("a")
    await asyncio.sleep(0)  # submitted, and its flush is not due before the next turn
    draining = asyncio.create_task(bench.batcher.drain(30))

    (await bench.store.next_write()).succeed()

    assert await draining
    assert request.done()


async def test_drain_waits_for_payloads_submitted_meanwhile(bench: Bench) -> None:
    bench.make(flushes_max=2)
    first = bench.send("a")
    write = await bench.store.next_write()
    draining = asyncio.create_task(bench.batcher.drain(30))
    await asyncio.sleep(0)

    later = bench.send("b")
    write.succeed()
    await first
    (await bench.store.next_write()).succeed()

    assert await draining
    assert later.done()


async def test_an_idle_batcher_is_drained_at_once(bench: Bench) -> None:
    assert await bench.batcher.drain(30)


async def test_drain_returns_false_after_its_timeout(bench: Bench) -> None:
    request = bench.send("a")
    write = await bench.store.next_write()

    assert not await bench.batcher.drain(0.01)

    write.succeed()
    assert accepted("a") == await request
