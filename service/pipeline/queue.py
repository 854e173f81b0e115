"""The queue of one worker: payloads that wait for a flush, limited, and fair to their keys."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import msgspec

from service.model import Payload
from service.pipeline.lanes import BatchLimits, HeavyLane, Lane, QueuedPayload, cost_of

# How long a key stays heavy after the batch that made it heavy, in seconds.
_HEAVY_S: Final = 1.0
# How long batches of heavy keys stay small after a payload of a light key, in seconds. With 1 s,
# one light payload every 0.8 s cost the heavy keys two thirds of their rate; with this, a tenth.
_SHARED_S: Final = 0.1


class QueueLimits(msgspec.Struct, frozen=True):
    """
    Limits of the queue and of one batch.

    Hysteresis: when the queue has reached a limit (`queue_…_max`), it refuses payloads until half
    of that limit or less is queued.

    A key whose payloads in one batch cost more than `light_key_cost_max` is heavy. A batch of heavy
    keys costs at most `heavy_batch_cost_max` while light keys send. A cost is a number of bytes,
    with 1 KiB for each row (`cost_of`).
    """

    queue_rows_max: int
    queue_bytes_max: int
    batch_rows_max: int
    batch_bytes_max: int
    light_key_cost_max: int = 128 * 1024
    heavy_batch_cost_max: int = 1024 * 1024


class Queue:
    """
    Two lanes, for light and for heavy keys, with common limits.

    While no key is heavy, this is one queue, first in, first out.
    """

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        rows, size_bytes = limits.batch_rows_max, limits.batch_bytes_max
        self._batch = BatchLimits(rows, size_bytes, cost_of(rows, size_bytes))
        self._shared_batch = BatchLimits(rows, size_bytes, limits.heavy_batch_cost_max)
        self.light = Lane()
        self.heavy = HeavyLane(limits.light_key_cost_max)
        # Until when each key is heavy (monotonic seconds).
        self._heavy_until: dict[str, float] = {}
        self._is_shared_until = 0.0
        self._is_open = True

    def __bool__(self) -> bool:
        return bool(self.light) or bool(self.heavy)

    @property
    def rows(self) -> int:
        """Rows in the queue."""
        return self.light.rows + self.heavy.rows

    @property
    def size_bytes(self) -> int:
        """Bytes in the queue."""
        return self.light.size_bytes + self.heavy.size_bytes

    @property
    def heavy_keys(self) -> int:
        """How many keys are heavy."""
        return len(self._heavy_until)

    def offer(self, queued: QueuedPayload, now: float) -> list[QueuedPayload]:
        """
        Append *queued*; return the payloads that have no room, at *now* (monotonic seconds).

        In a full queue, a payload of a light key takes the room of the newest payloads of the heavy
        key that has most. So does one of a heavy key that has less. Otherwise, or if no heavy key
        has anything in the queue, *queued* itself has no room.
        """
        if not self._is_open:
            return self._offer_to_full(queued, now)
        if self._heavy_until:
            self._append(queued, now)
        else:
            self.light.append(queued)
        if self._is_at_limit():
            self._is_open = False
            self._find_heavy(self.light, now)
        return []

    def is_shared(self, lane: Lane, now: float) -> bool:
        """Whether flushes of *lane* have to leave room for those of light keys."""
        return lane is self.heavy and now < self._is_shared_until

    def is_worth_a_flush(self, lane: Lane, rows: int) -> bool:
        """Whether *rows* rows or a full batch are in *lane*, or the queue refuses payloads."""
        limits = self._limits
        return (
            lane.rows >= min(rows, limits.batch_rows_max)
            or lane.size_bytes >= limits.batch_bytes_max
            or not self._is_open
        )

    def take_batch(self, lane: Lane, now: float) -> list[QueuedPayload]:
        """
        Remove and return the next batch of *lane*: whole payloads, at least one.

        *now*: monotonic seconds.
        """
        batch = lane.take(self._shared_batch if self.is_shared(lane, now) else self._batch)
        if not self._is_open:
            self._reopen()
        if self._heavy_until:
            self._forget_heavy(now)
        if cost_of(batch.rows, batch.size_bytes) > self._limits.light_key_cost_max:
            # What a heavy key has queued is in its lane already.
            self._find_heavy(batch.payloads, now, is_moved=lane is self.light)
        return batch.payloads

    def take_expired(self, deadline: float) -> list[QueuedPayload]:
        """Remove and return the payloads whose deadline is at or before *deadline*."""
        expired = self.light.take_expired(deadline)
        if self.heavy:
            expired += self.heavy.take_expired(deadline)
        if expired:
            self._reopen()
        return expired

    def _append(self, queued: QueuedPayload, now: float) -> None:
        if self._is_heavy(queued.payload.key_id, now):
            self.heavy.append(queued)
        else:
            self.light.append(queued)
            if self._heavy_until:
                self._is_shared_until = now + _SHARED_S

    def _offer_to_full(self, queued: QueuedPayload, now: float) -> list[QueuedPayload]:
        if not self._has_room(queued.payload, now):
            return [queued]
        self._append(queued, now)
        excess = self._take_excess()
        if not self.heavy and self._is_at_limit():
            # No heavy key has a payload in the queue any more, so another key has filled it.
            self._find_heavy(self.light, now)
        return excess

    def _is_heavy(self, key_id: str, now: float) -> bool:
        until = self._heavy_until.get(key_id)
        return until is not None and (until > now or self.heavy.has(key_id))

    def _find_heavy(
        self, payloads: Iterable[QueuedPayload], now: float, *, is_moved: bool = True
    ) -> None:
        """Make the keys heavy that have too much in *payloads*; move what the light lane has."""
        costs: defaultdict[str, int] = defaultdict(int)
        for queued in payloads:
            costs[queued.payload.key_id] += cost_of(queued.payload.rows, queued.payload.size_bytes)
        heavy = {key for key, cost in costs.items() if cost > self._limits.light_key_cost_max}
        self._heavy_until |= dict.fromkeys(heavy, now + _HEAVY_S)
        if heavy and is_moved:
            for queued in self.light.take_keys(heavy):
                self.heavy.append(queued)

    def _forget_heavy(self, now: float) -> None:
        """Forget the keys that are heavy no longer."""
        for key_id in [key_id for key_id in self._heavy_until if not self._is_heavy(key_id, now)]:
            del self._heavy_until[key_id]

    def _has_room(self, payload: Payload, now: float) -> bool:
        """Whether *payload* may enter a full queue, where it can displace other payloads."""
        if self._is_heavy(payload.key_id, now):
            return self.heavy.is_below_largest(payload)
        return bool(self.heavy) or (bool(self._heavy_until) and not self._is_at_limit())

    def _take_excess(self) -> list[QueuedPayload]:
        limits, excess = self._limits, []
        while self.heavy and (
            self.rows > limits.queue_rows_max or self.size_bytes > limits.queue_bytes_max
        ):
            excess.append(self.heavy.pop_newest_of_largest())
        self._reopen()
        return excess

    def _is_at_limit(self) -> bool:
        limits, light, heavy = self._limits, self.light, self.heavy
        return (
            light.rows + heavy.rows >= limits.queue_rows_max
            or light.size_bytes + heavy.size_bytes >= limits.queue_bytes_max
        )

    def _reopen(self) -> None:
        limits = self._limits
        if (
            self.rows <= limits.queue_rows_max // 2
            and self.size_bytes <= limits.queue_bytes_max // 2
        ):
            self._is_open = True
