"""Batchers with a planted bug each. The simulation has to find every one."""

import asyncio
from collections.abc import Sequence
from typing import Any

from service.model import Payload, Verdict
from service.pipeline.batcher import Batcher
from service.pipeline.lanes import Lane, QueuedPayload
from service.pipeline.queue import Queue
from service.reasons import RefusedError
from tests.simulation.judge import queued_in
from tests.simulation.store import verdicts_of

Batch = list[QueuedPayload]


class AcksBeforeCommit(Batcher):
    """Answers when a flush begins."""

    async def _flush(self, batch: Batch) -> None:
        for queued in batch:
            if not queued.verdicts.done():
                queued.verdicts.set_result(verdicts_of(queued.payload))
        await super()._flush(batch)


class ForgetsOnFailure(Batcher):
    """Never answers the requests of a failed flush."""

    @staticmethod
    def _refuse(batch: Batch, refusal: RefusedError) -> None:
        pass


class ForgetsTheUnbegun(Batcher):
    """Does not answer the requests of a flush that is cancelled before its first step."""

    def _ended(self, batch: Batch, flush: "asyncio.Task[None]") -> None:
        super()._ended([] if flush.cancelled() else batch, flush)


class GivesUpForAll(Batcher):
    """Cancels the flush when one of its clients gives up."""

    async def submit(self, payload: Payload) -> Sequence[Verdict]:
        try:
            return await super().submit(payload)
        except asyncio.CancelledError:
            for flush in self._flushes:
                flush.cancel()
            raise


class DrainsTooSoon(Batcher):
    """Ends the drain although payloads arrived while the last flush ended."""

    async def drain(self, timeout_s: float) -> bool:
        self._further_rows_min = 1
        deadline = self._clock.monotonic() + timeout_s
        self._start_flushes()
        while self._flushes:
            left = deadline - self._clock.monotonic()
            done, _ = await asyncio.wait(self._flushes, timeout=max(left, 0))
            if not done:
                return False
        return True


class BeginsOneTooMany(Batcher):
    """Runs one flush more than allowed."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._flushes_max += 1


class DrainsPatiently(Batcher):
    """At a drain, lets the last payloads wait for more rows."""

    async def drain(self, timeout_s: float) -> bool:
        few = self._further_rows_min
        asyncio.get_running_loop().call_soon(setattr, self, "_further_rows_min", few)
        return await super().drain(timeout_s)


class StartsTooSoon(Batcher):
    """Begins a further flush for a single row."""

    def _may_start(self, lane: Lane) -> bool:
        return bool(lane)


class WaitsBehindTheStalled(Batcher):
    """Never marks a flush as stalled."""

    def _mark_stalled(self, flush: "asyncio.Task[None]") -> None:
        pass


class WaitsForTheNext(Batcher):
    """Marks a flush as stalled, but starts no further flush."""

    def _mark_stalled(self, flush: "asyncio.Task[None]") -> None:
        del self._on_time[flush]
        self._flushes[flush].flushes_on_time -= 1


class WaitsForCompany(Batcher):
    """Begins no flush for a single payload while another flush runs."""

    def _start_flushes(self) -> None:
        if not self._flushes or len(queued_in(self._queue)) > 1:
            super()._start_flushes()


class _OtherQueue(Batcher):
    """A batcher whose queue has the bug."""

    kind: type[Queue]

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._queue = self.kind(parts["limits"])


class SendsTheExpired(_OtherQueue):
    """Lets expired payloads fail the rest of their batch."""

    class kind(Queue):  # noqa: N801 - an attribute
        def take_expired(self, deadline: float) -> Batch:
            del deadline
            return []


class ServesTheLastFirst(_OtherQueue):
    """Takes the newest payloads first."""

    class kind(Queue):  # noqa: N801
        def take_batch(self, lane: Lane, now: float) -> Batch:
            self.light._queued.reverse()
            batch = super().take_batch(lane, now)
            self.light._queued.reverse()
            return batch


class OverfillsBatches(_OtherQueue):
    """Joins two batches to one."""

    class kind(Queue):  # noqa: N801
        def take_batch(self, lane: Lane, now: float) -> Batch:
            batch = super().take_batch(lane, now)
            return batch + (super().take_batch(lane, now) if lane else [])


class OpensTheGateLate(_OtherQueue):
    """Refuses payloads until the queue is empty."""

    class kind(Queue):  # noqa: N801
        def _reopen(self) -> None:
            if not self:
                super()._reopen()


class LosesCount(_OtherQueue):
    """Does not subtract the bytes of expired payloads."""

    class kind(Queue):  # noqa: N801
        def take_expired(self, deadline: float) -> Batch:
            size_bytes = self.light.size_bytes
            expired = super().take_expired(deadline)
            self.light.size_bytes = size_bytes
            return expired


class LetsHeavyKeysWait(Batcher):
    """Starts no flush of heavy keys beside the flushes of light ones."""

    def _may_start(self, lane: Lane) -> bool:
        is_free = len(self._flushes) < self._flushes_max
        return is_free and super()._may_start(lane)


class ForgetsTheDisplaced(_OtherQueue):
    """Does not answer the payloads that lose their room in a full queue."""

    class kind(Queue):  # noqa: N801
        def _take_excess(self) -> Batch:
            super()._take_excess()
            return []


BUGS = (
    AcksBeforeCommit,
    ForgetsOnFailure,
    ForgetsTheUnbegun,
    GivesUpForAll,
    DrainsTooSoon,
    DrainsPatiently,
    BeginsOneTooMany,
    StartsTooSoon,
    WaitsBehindTheStalled,
    WaitsForTheNext,
    WaitsForCompany,
    SendsTheExpired,
    ServesTheLastFirst,
    OverfillsBatches,
    OpensTheGateLate,
    LosesCount,
    LetsHeavyKeysWait,
    ForgetsTheDisplaced,
)
