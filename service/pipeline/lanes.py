"""The two lanes of the queue: payloads of light keys, and payloads of heavy keys."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from service.model import Payload, Verdict
from service.pipeline.fair_queue import FairQueue

# Measured: PostgreSQL stores a row in about the time that it needs for this many further bytes.
_ROW_COST_BYTES: Final = 1024


class QueuedPayload(msgspec.Struct, frozen=True):
    """A payload in the queue, the future of its verdicts, and its deadline (monotonic seconds)."""

    payload: Payload
    verdicts: asyncio.Future[Sequence[Verdict]]
    deadline: float


class BatchLimits(msgspec.Struct, frozen=True):
    """Limits of one batch: rows, their bytes, and their cost (`cost_of`)."""

    rows: int
    size_bytes: int
    cost: int


class Batch(NamedTuple):
    """The payloads of one flush, and the sums of their rows and bytes."""

    payloads: list[QueuedPayload]
    rows: int
    size_bytes: int


class Lane:
    """
    The payloads of light keys, first in, first out.

    `flushes`: how many flushes of this lane are in progress; `flushes_on_time`: those of them that
    have not stalled.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.size_bytes = 0
        self.flushes = 0
        self.flushes_on_time = 0
        self._queued: deque[QueuedPayload] = deque()

    def __bool__(self) -> bool:
        return bool(self._queued)

    def __iter__(self) -> Iterator[QueuedPayload]:
        return iter(self._queued)

    def append(self, queued: QueuedPayload) -> None:
        """Append a payload."""
        self._queued.append(queued)
        self.rows += queued.payload.rows
        self.size_bytes += queued.payload.size_bytes

    def take(self, limits: BatchLimits) -> Batch:
        """Remove and return the next batch: whole payloads, at least one."""
        payloads: list[QueuedPayload] = []
        rows = size_bytes = 0
        while rows < self.rows:
            following = self._next().payload
            more_rows, more_bytes = rows + following.rows, size_bytes + following.size_bytes
            if payloads and (
                more_rows > limits.rows
                or more_bytes > limits.size_bytes
                or more_bytes + more_rows * _ROW_COST_BYTES > limits.cost
            ):
                break
            rows, size_bytes = more_rows, more_bytes
            payloads.append(self._pop())
        self.rows -= rows
        self.size_bytes -= size_bytes
        return Batch(payloads, rows, size_bytes)

    def take_expired(self, now: float) -> list[QueuedPayload]:
        """Remove and return the payloads whose deadline is at or before *now*."""
        expired = []
        while self._queued and self._queued[0].deadline <= now:
            expired.append(self._subtract(self._queued.popleft()))
        return expired

    def take_keys(self, key_ids: set[str]) -> list[QueuedPayload]:
        """Remove and return the payloads of these keys."""
        rest: deque[QueuedPayload] = deque()
        taken: list[QueuedPayload] = []
        for queued in self._queued:
            (taken if queued.payload.key_id in key_ids else rest).append(queued)
        self._queued = rest
        return [self._subtract(queued) for queued in taken]

    def _next(self) -> QueuedPayload:
        return self._queued[0]

    def _pop(self) -> QueuedPayload:
        return self._queued.popleft()

    def _subtract(self, removed: QueuedPayload) -> QueuedPayload:
        self.rows -= removed.payload.rows
        self.size_bytes -= removed.payload.size_bytes
        return removed


class HeavyLane(Lane):
    """The payloads of heavy keys, which take turns; first in, first out for each key."""

    def __init__(self, turn_cost: int) -> None:
        """*turn_cost*: what the payloads of one turn cost (`cost_of`)."""
        super().__init__()
        self._shares: FairQueue[QueuedPayload] = FairQueue(turn_cost)

    def __bool__(self) -> bool:
        return bool(self._shares)

    def __iter__(self) -> Iterator[QueuedPayload]:
        return iter(self._shares)

    def append(self, queued: QueuedPayload) -> None:
        payload = queued.payload
        self._shares.put(payload.key_id, queued, cost_of(payload.rows, payload.size_bytes))
        self.rows += payload.rows
        self.size_bytes += payload.size_bytes

    def take_expired(self, now: float) -> list[QueuedPayload]:
        expired = self._shares.pop_oldest_while(lambda queued: queued.deadline <= now)
        return [self._subtract(queued) for queued in expired]

    def has(self, key_id: str) -> bool:
        """Whether a payload of this key is queued."""
        return key_id in self._shares

    def is_below_largest(self, payload: Payload) -> bool:
        """Whether the key of *payload* would, with it, have less here than another key has."""
        if not self._shares:
            return False
        cost = self._shares.cost_of(payload.key_id) + cost_of(payload.rows, payload.size_bytes)
        return cost < self._shares.cost_of(self._shares.largest())

    def pop_newest_of_largest(self) -> QueuedPayload:
        """Remove and return the newest payload of the key that has most here."""
        return self._subtract(self._shares.pop_newest(self._shares.largest()))

    def _next(self) -> QueuedPayload:
        return self._shares.next()

    def _pop(self) -> QueuedPayload:
        return self._shares.pop()


def cost_of(rows: int, size_bytes: int) -> int:
    """Return what it costs to store these rows, in bytes."""
    return size_bytes + rows * _ROW_COST_BYTES
