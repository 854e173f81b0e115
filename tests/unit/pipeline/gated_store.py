"""A batcher with a store whose writes wait until the test continues them."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from service.model import Outcome, Payload, Verdict
from service.pipeline.batcher import FURTHER_ROWS_MIN, STALLED_S, Batcher
from service.pipeline.queue import QueueLimits
from service.reasons import Reason, RefusedError
from tests.doubles import FixedClock, MemoryStore, Sender

Task = asyncio.Task[Sequence[Verdict]]


class Write:
    """One call of the store, which the test completes or fails."""

    def __init__(self, payloads: list[Payload], deadline: float) -> None:
        self.payloads = payloads
        self.deadline = deadline
        self.task = asyncio.current_task()
        self.gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def event_ids(self) -> list[list[str]]:
        return [payload.events.event_ids for payload in self.payloads]

    def succeed(self) -> None:
        self.gate.set_result(None)

    def fail(self, error: BaseException) -> None:
        self.gate.set_exception(error)


class GatedStore(MemoryStore):
    """A store whose writes wait until the test continues them."""

    def __init__(self) -> None:
        super().__init__()
        self._begun: asyncio.Queue[Write] = asyncio.Queue()
        self._is_open = False

    async def write(self, payloads: list[Payload], deadline: float) -> list[list[Verdict]]:
        if not self._is_open:
            write = Write(payloads, deadline)
            self._begun.put_nowait(write)
            await write.gate
        return await super().write(payloads, deadline)

    def open(self) -> None:
        """Let all further writes complete immediately."""
        self._is_open = True

    async def next_write(self) -> Write:
        return await self._begun.get()

    @property
    def is_idle(self) -> bool:
        return self._begun.empty()


class Bench:
    """A batcher over a gated store, with helpers that send requests."""

    def __init__(self) -> None:
        self.clock = FixedClock()
        self.store = GatedStore()
        self.sender = Sender(clock=self.clock)
        self.flushed: list[tuple[int, int, float]] = []
        self.batcher = self.make()

    def make(  # noqa: PLR0913 - all by name
        self,
        *,
        flushes_max: int = 1,
        batch_rows_max: int = 4,
        queue_rows_max: int = 100,
        further_rows_min: int = FURTHER_ROWS_MIN,
        stalled_s: float = STALLED_S,
        timeout_s: float | None = None,
        on_flush: Callable[[int, int, float], None] | None = None,
    ) -> Batcher:
        limits = QueueLimits(
            queue_rows_max=queue_rows_max,
            queue_bytes_max=1_000_000,
            batch_rows_max=batch_rows_max,
            batch_bytes_max=1_000_000,
        )
        self.batcher = Batcher(
            write=self.store.write,
            clock=self.clock,
            limits=limits,
            flushes_max=flushes_max,
            # A flush counts as stalled after a quarter of this timeout at the latest.
            timeout_s=max(5.0, 4 * stalled_s) if timeout_s is None else timeout_s,
            further_rows_min=further_rows_min,
            stalled_s=stalled_s,
            on_flush=on_flush or self._flushed,
        )
        return self.batcher

    def _flushed(self, *measures: Any) -> None:
        self.flushed.append(measures)

    def send(self, *event_ids: str) -> Task:
        payload = self.sender.payload(*({"type": "page", "event_id": i} for i in event_ids))
        return asyncio.create_task(self.batcher.submit(payload))


async def reason_of(request: Task) -> Reason:
    with pytest.raises(RefusedError) as caught:
        await request
    return caught.value.reason


def accepted(*event_ids: str) -> list[Verdict]:
    return [Verdict(event_id, Outcome.ACCEPTED) for event_id in event_ids]
