"""What waits to be stored: the rules of admission and of gathering, without any I/O."""

from collections import deque
from typing import Generic, TypeVar

import msgspec

from service.model import Payload

WaiterT = TypeVar("WaiterT")


class QueueLimits(msgspec.Struct, frozen=True):
    """
    Bounds of the queue and of one batch.

    The queue refuses above its high marks (`queue_…_max`) until half of them has gone, so that
    the gate does not flutter.
    """

    queue_rows_max: int
    queue_bytes_max: int
    batch_rows_max: int
    batch_bytes_max: int


class Waiting(msgspec.Struct, Generic[WaiterT], frozen=True):
    """A payload in the queue, who waits for it, and until when (monotonic seconds)."""

    payload: Payload
    waiter: WaiterT
    deadline: float


class Queue(Generic[WaiterT]):
    """First in, first out; bounded by rows and bytes with a high and a low water mark."""

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._waiting: deque[Waiting[WaiterT]] = deque()
        self._is_open = True
        self.rows = 0
        self.size_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def offer(self, item: Waiting[WaiterT]) -> bool:
        """Take *item* in, or return False: too much is waiting."""
        if not self._is_open:
            return False
        self._waiting.append(item)
        self.rows += item.payload.rows
        self.size_bytes += item.payload.size_bytes
        self._is_open = (
            self.rows < self._limits.queue_rows_max
            and self.size_bytes < self._limits.queue_bytes_max
        )
        return True

    def has(self, rows: int) -> bool:
        """Tell whether *rows* wait, or else a full batch, or so much that more is refused."""
        return (
            self.rows >= min(rows, self._limits.batch_rows_max)
            or self.size_bytes >= self._limits.batch_bytes_max
            or not self._is_open
        )

    def take_batch(self) -> list[Waiting[WaiterT]]:
        """Remove and return what goes down together: whole payloads, at least one."""
        batch = [self._pop()]
        rows, size_bytes = batch[0].payload.rows, batch[0].payload.size_bytes
        while self._waiting:
            following = self._waiting[0].payload
            rows += following.rows
            size_bytes += following.size_bytes
            if rows > self._limits.batch_rows_max or size_bytes > self._limits.batch_bytes_max:
                break
            batch.append(self._pop())
        self._open_again()
        return batch

    def take_expired(self, now: float) -> list[Waiting[WaiterT]]:
        """Remove and return what has waited past its deadline; who came first is due first."""
        expired = []
        while self._waiting and self._waiting[0].deadline <= now:
            expired.append(self._pop())
        self._open_again()
        return expired

    def _open_again(self) -> None:
        if (
            self.rows <= self._limits.queue_rows_max // 2
            and self.size_bytes <= self._limits.queue_bytes_max // 2
        ):
            self._is_open = True

    def _pop(self) -> Waiting[WaiterT]:
        item = self._waiting.popleft()
        self.rows -= item.payload.rows
        self.size_bytes -= item.payload.size_bytes
        return item
