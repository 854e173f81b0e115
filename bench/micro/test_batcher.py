"""
The cost of a request that waits for a flush with others, compared with a bare future.

If these tests fail: single events cost more CPU, and a busy service refuses senders earlier.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Final

import uvloop

from bench.micro.conftest import Check, Gate, make_body
from service.clock import SystemClock
from service.model import Outcome, Payload, Verdict
from service.pipeline.batcher import Batcher
from service.pipeline.queue import QueueLimits

REQUESTS: Final = 256
# Measured: 0.53 to 0.67 on two shared cores.
SPEED_MIN: Final = 0.3


async def accept(payloads: list[Payload], deadline: float) -> list[list[Verdict]]:
    """Accept every payload at once, so that only the batcher takes time."""
    del deadline
    return [VERDICTS for _ in payloads]


VERDICTS: Final = [Verdict("e1", Outcome.ACCEPTED)]


def test_queueing_a_payload_costs_a_small_multiple_of_a_bare_future(
    gate: Gate, check: Check
) -> None:
    payload = check(make_body(1)).payload
    batcher = Batcher(
        write=accept,
        clock=SystemClock(),
        limits=QueueLimits(
            queue_rows_max=10_000,
            queue_bytes_max=1 << 30,
            batch_rows_max=100,
            batch_bytes_max=1 << 20,
        ),
        flushes_max=2,
        timeout_s=10.0,
    )

    with contextlib.closing(uvloop.new_event_loop()) as loop:
        gate(
            lambda: loop.run_until_complete(_wait_many(lambda: batcher.submit(payload))),
            lambda: loop.run_until_complete(_wait_many(_round_trip)),
            SPEED_MIN,
        )


async def _wait_many(wait: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """
    Run many waiting coroutines concurrently, without a task for each.

    A task costs ten times what is compared here. So each coroutine is sent to the future that it
    waits for, and again when all futures are done.
    """
    waiting = [wait() for _ in range(REQUESTS)]
    futures = [waiter.send(None) for waiter in waiting]
    # A callback for each future would take time.
    while not all(future.done() for future in futures):  # noqa: ASYNC110
        await asyncio.sleep(0)
    for waiter in waiting:
        with contextlib.suppress(StopIteration):
            waiter.send(None)


async def _round_trip() -> None:
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()
    loop.call_soon(waiter.set_result, None)
    await waiter
