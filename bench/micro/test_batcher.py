"""What it costs a request to wait for a flush with others, beside a bare future."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

import pytest
import uvloop

from bench.micro.conftest import Gate
from service.model import Outcome, Payload, Verdict
from service.pipeline.batcher import Batcher, QueueLimits
from tests.doubles import FixedClock, Sender, make_event

REQUESTS: Final = 256
# Seen: 0.53 to 0.67 on two shared cores.
AT_LEAST: Final = 0.3

Wait = Callable[[], Coroutine[Any, Any, object]]


class AcceptingStore:
    """Accepts all, at once: what is left is the batcher."""

    def __init__(self, verdicts: list[Verdict]) -> None:
        self._verdicts = verdicts

    async def write(self, payloads: list[Payload], deadline: float) -> list[list[Verdict]]:
        """Return the same verdicts for each payload."""
        del deadline
        return [self._verdicts for _ in payloads]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Lend a loop of the kind that the service runs on."""
    own = uvloop.new_event_loop()
    yield own
    own.close()


def test_waiting_with_others_costs_a_small_multiple_of_a_bare_future(
    gate: Gate, loop: asyncio.AbstractEventLoop
) -> None:
    payload = Sender().payload(make_event("e1"))
    batcher = Batcher(
        write=AcceptingStore([Verdict("e1", Outcome.ACCEPTED)]).write,
        clock=FixedClock(),
        limits=QueueLimits(
            queue_rows_max=10_000,
            queue_bytes_max=1 << 30,
            batch_rows_max=100,
            batch_bytes_max=1 << 20,
        ),
        flushes_max=2,
        timeout_s=10.0,
    )

    gate(
        lambda: loop.run_until_complete(_wait_many(lambda: batcher.submit(payload))),
        lambda: loop.run_until_complete(_wait_many(_round_trip)),
        AT_LEAST,
    )


async def _wait_many(wait: Wait) -> None:
    """
    Let many wait at once, without a task for each.

    A task costs ten times what is compared here, so the waiters are stepped by hand: to the future
    that each of them waits for, and over it when all are done.
    """
    waiting = [wait() for _ in range(REQUESTS)]
    futures = [waiter.send(None) for waiter in waiting]
    # To be told would cost a callback for each.
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
