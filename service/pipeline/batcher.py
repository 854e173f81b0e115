"""
Gathers the payloads of one worker's requests and stores many of them in one flush.

If no flush is in progress, a payload starts one at once: an idle service answers without delay, and
a busy service makes larger batches. A further flush starts beside the first one when enough rows
are queued, or when all flushes in progress have stalled. Only that uses a timer.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec
import structlog

from service.clock import Clock
from service.model import Payload, Verdict, Write
from service.reasons import Reason, RefusedError

log = structlog.get_logger()

# Measured: two small flushes instead of one make single events 50 % more expensive, for the service
# and for PostgreSQL (docs/decisions/0014-flushes-in-flight.md).
FURTHER_ROWS_MIN: Final = 300
# A normal flush takes a few milliseconds. One that takes longer than this waits for a row lock or
# for the network, and other payloads must not wait for it.
STALLED_S: Final = 0.05


class QueueLimits(msgspec.Struct, frozen=True):
    """
    Limits of the queue and of one batch.

    Hysteresis: when the queue has reached a limit (`queue_…_max`), it refuses payloads until half
    of that limit or less is queued.
    """

    queue_rows_max: int
    queue_bytes_max: int
    batch_rows_max: int
    batch_bytes_max: int


class QueuedPayload(msgspec.Struct, frozen=True):
    """A payload in the queue, the future of its verdicts, and its deadline (monotonic seconds)."""

    payload: Payload
    verdicts: asyncio.Future[Sequence[Verdict]]
    deadline: float


class Batcher:
    """Stores payloads in flushes, from a bounded queue. One per worker."""

    def __init__(  # noqa: PLR0913 - keywords
        self,
        *,
        write: Write,
        clock: Clock,
        limits: QueueLimits,
        flushes_max: int,
        timeout_s: float,
        on_flush: Callable[[int, int, float], None] | None = None,
        further_rows_min: int = FURTHER_ROWS_MIN,
        stalled_s: float = STALLED_S,
    ) -> None:
        """
        Store with *write*, in at most *flushes_max* concurrent flushes.

        *timeout_s*: time to store a payload, from its submission, in seconds. *on_flush* is called
        after each flush, failed ones included, with its rows, the rows still queued, and the
        seconds that it took.
        """
        self._write = write
        self._clock = clock
        self._flushes_max = flushes_max
        self._timeout_s = timeout_s
        self._on_flush = on_flush
        self._further_rows_min = further_rows_min
        # Payloads are refused after half of their timeout in the queue; a stalled flush must be
        # noticed well before that.
        self._stalled_s = min(stalled_s, timeout_s / 4)
        self._queue = Queue(limits)
        self._flushes: set[asyncio.Task[None]] = set()
        # Flushes that have not stalled yet, each with the timer that will mark it as stalled.
        self._on_time: dict[asyncio.Task[None], asyncio.TimerHandle] = {}
        self._is_start_scheduled = False

    @property
    def queued_rows(self) -> int:
        """Rows in the queue."""
        return self._queue.rows

    async def submit(self, payload: Payload) -> Sequence[Verdict]:
        """
        Store *payload* and return one verdict per event row, after the commit.

        Raises
        ------
        RefusedError
            `overloaded`, or the reason why the store did not confirm.
        """
        loop = asyncio.get_running_loop()
        verdicts: asyncio.Future[Sequence[Verdict]] = loop.create_future()
        deadline = self._clock.monotonic() + self._timeout_s
        if not self._queue.offer(QueuedPayload(payload, verdicts, deadline)):
            raise RefusedError(Reason.OVERLOADED)
        # Once per iteration of the event loop: its requests are stored in one flush.
        if not self._is_start_scheduled:
            self._is_start_scheduled = True
            loop.call_soon(self._start_flushes)
        return await verdicts

    async def drain(self, timeout_s: float) -> bool:
        """
        Wait until all submitted payloads are answered; False if *timeout_s* was not enough.

        From now on a flush starts for any number of queued rows, because few further rows follow.
        """
        self._further_rows_min = 1
        deadline = self._clock.monotonic() + timeout_s
        self._start_flushes()
        while self._flushes:
            left_s = deadline - self._clock.monotonic()
            done, _ = await asyncio.wait(self._flushes, timeout=max(left_s, 0))
            if not done:
                return False
            # Payloads submitted meanwhile have no flush yet.
            self._start_flushes()
        return True

    def _start_flushes(self) -> None:
        self._is_start_scheduled = False
        while len(self._flushes) < self._flushes_max and self._may_start():
            # The oldest payload sets the deadline of a flush. A payload that has spent half of its
            # timeout in the queue would leave too little time for the others, and the overload
            # would grow.
            expired = self._queue.take_expired(self._clock.monotonic() + self._timeout_s / 2)
            self._refuse(expired, RefusedError(Reason.OVERLOADED))
            if self._may_start():  # without the expired ones
                self._start(self._queue.take_batch())

    def _may_start(self) -> bool:
        """Whether another flush may start beside those in progress."""
        return bool(self._queue) and (
            not self._on_time or self._queue.is_worth_a_flush(self._further_rows_min)
        )

    def _start(self, batch: list[QueuedPayload]) -> None:
        flush = asyncio.create_task(self._flush(batch))
        self._flushes.add(flush)
        loop = asyncio.get_running_loop()
        self._on_time[flush] = loop.call_later(self._stalled_s, self._mark_stalled, flush)
        flush.add_done_callback(partial(self._ended, batch))

    def _mark_stalled(self, flush: asyncio.Task[None]) -> None:
        del self._on_time[flush]
        self._start_flushes()

    def _ended(self, batch: list[QueuedPayload], flush: asyncio.Task[None]) -> None:
        self._flushes.discard(flush)
        if timer := self._on_time.pop(flush, None):
            timer.cancel()
        # Requests that have no answer yet get one, however the flush ended.
        self._refuse(batch, RefusedError(Reason.OUTCOME_UNKNOWN))
        self._start_flushes()
        if flush.cancelled():  # before its first step, so that `_flush` did not log it
            log.error("flush_cancelled", rows=sum(queued.payload.rows for queued in batch))

    async def _flush(self, batch: list[QueuedPayload]) -> None:
        deadline = min(queued.deadline for queued in batch)
        rows = sum(queued.payload.rows for queued in batch)
        started = self._clock.monotonic()
        try:
            written = await self._write([queued.payload for queued in batch], deadline)
            for queued, result in zip(batch, written, strict=True):
                if isinstance(result, RefusedError):
                    self._refuse([queued], result)
                elif not queued.verdicts.done():
                    queued.verdicts.set_result(result)
        except RefusedError as refusal:
            self._refuse(batch, refusal)
        # Cancellations and panics of the core are not instances of Exception.
        except BaseException:
            self._refuse(batch, RefusedError(Reason.OUTCOME_UNKNOWN))
            log.exception("flush_failed", rows=rows)
        finally:
            if self._on_flush is not None:
                self._on_flush(rows, self._queue.rows, self._clock.monotonic() - started)

    @staticmethod
    def _refuse(batch: list[QueuedPayload], refusal: RefusedError) -> None:
        for queued in batch:
            if not queued.verdicts.done():
                queued.verdicts.set_exception(RefusedError(refusal.reason, refusal.message))


class Queue:
    """First in, first out; limited in rows and bytes, with hysteresis (see QueueLimits)."""

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._queued: deque[QueuedPayload] = deque()
        self._is_open = True
        self.rows = 0
        self.size_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._queued)

    def offer(self, queued: QueuedPayload) -> bool:
        """Append *queued* and return True, or return False if the queue is over its limits."""
        if not self._is_open:
            return False
        self._queued.append(queued)
        self.rows += queued.payload.rows
        self.size_bytes += queued.payload.size_bytes
        limits = self._limits
        self._is_open = (
            self.rows < limits.queue_rows_max and self.size_bytes < limits.queue_bytes_max
        )
        return True

    def is_worth_a_flush(self, rows: int) -> bool:
        """Whether *rows* rows or a full batch are queued, or the queue refuses payloads."""
        limits = self._limits
        return (
            self.rows >= min(rows, limits.batch_rows_max)
            or self.size_bytes >= limits.batch_bytes_max
            or not self._is_open
        )

    def take_batch(self) -> list[QueuedPayload]:
        """Remove and return the payloads of the next batch: whole payloads, at least one."""
        batch = [self._pop()]
        rows, size_bytes = batch[0].payload.rows, batch[0].payload.size_bytes
        while self._queued:
            following = self._queued[0].payload
            rows += following.rows
            size_bytes += following.size_bytes
            if rows > self._limits.batch_rows_max or size_bytes > self._limits.batch_bytes_max:
                break
            batch.append(self._pop())
        self._reopen()
        return batch

    def take_expired(self, now: float) -> list[QueuedPayload]:
        """Remove and return the payloads whose deadline is at or before *now*, oldest first."""
        expired = []
        while self._queued and self._queued[0].deadline <= now:
            expired.append(self._pop())
        self._reopen()
        return expired

    def _reopen(self) -> None:
        limits = self._limits
        if (
            self.rows <= limits.queue_rows_max // 2
            and self.size_bytes <= limits.queue_bytes_max // 2
        ):
            self._is_open = True

    def _pop(self) -> QueuedPayload:
        queued = self._queued.popleft()
        self.rows -= queued.payload.rows
        self.size_bytes -= queued.payload.size_bytes
        return queued
