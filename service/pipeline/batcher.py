"""
Gathers the payloads of one worker's requests and stores many of them in one flush.

If no flush is in progress, a payload starts one at once: an idle service answers without delay, and
a busy service makes larger batches. A further flush starts beside the first one when enough rows
are queued, or when all flushes in progress have stalled. Only that uses a timer.

Keys that send much have flushes of their own, so that the others do not wait for them
(docs/decisions/0035-fair-shares.md).
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog

from service.clock import Clock
from service.model import Payload, Verdict, Write
from service.pipeline.lanes import Lane, QueuedPayload
from service.pipeline.queue import Queue, QueueLimits
from service.reasons import Reason, RefusedError

log = structlog.get_logger()

# Measured: two small flushes instead of one make single events 50 % more expensive, for the service
# and for PostgreSQL (docs/decisions/0014-flushes-in-flight.md).
FURTHER_ROWS_MIN: Final = 300
# A normal flush takes a few milliseconds. One that takes longer than this waits for a row lock or
# for the network, and other payloads must not wait for it.
STALLED_S: Final = 0.05

_SHARE_MESSAGE: Final = (
    "Too many events are waiting to be stored, most of them sent with this key; try again."
)


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
        on_refused: Callable[[str, int], None] | None = None,
        on_heavy_keys: Callable[[int], None] | None = None,
        further_rows_min: int = FURTHER_ROWS_MIN,
        stalled_s: float = STALLED_S,
    ) -> None:
        """
        Store with *write*, in at most *flushes_max* concurrent flushes.

        While there are heavy keys, one more may run. *timeout_s*: time to store a payload, from its
        submission, in seconds. *on_flush* is called after each flush, failed ones included, with
        its rows, the rows still queued, and the seconds that it took. *on_refused* gets the cause
        and the number of payloads refused with `overloaded`: `full` (the queue is full), `share`
        (heavy keys have filled it, and theirs has most) or `expired` (half of their time is over).
        *on_heavy_keys* gets the number of heavy keys when it has changed.
        """
        self._write = write
        self._clock = clock
        self._flushes_max = flushes_max
        self._timeout_s = timeout_s
        self._on_flush = on_flush
        self._on_refused = on_refused
        self._on_heavy_keys = on_heavy_keys
        self._heavy_keys = 0
        self._further_rows_min = further_rows_min
        # Payloads are refused after half of their timeout in the queue; a stalled flush must be
        # noticed well before that.
        self._stalled_s = min(stalled_s, timeout_s / 4)
        self._queue = Queue(limits)
        self._flushes: dict[asyncio.Task[None], Lane] = {}
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
        now = self._clock.monotonic()
        queued = QueuedPayload(payload, verdicts, now + self._timeout_s)
        if refused := self._queue.offer(queued, now):
            self._refuse_overload("share" if self._queue.heavy else "full", refused)
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
        self._start_flushes_of(self._queue.light)
        heavy_keys = self._queue.heavy_keys
        if heavy_keys or self._heavy_keys:
            self._start_flushes_of(self._queue.heavy)
            if heavy_keys != self._heavy_keys and self._on_heavy_keys is not None:
                self._on_heavy_keys(heavy_keys)
            self._heavy_keys = heavy_keys

    def _start_flushes_of(self, lane: Lane) -> None:
        while self._may_start(lane):
            # The oldest payload sets the deadline of a flush. A payload that has spent half of its
            # timeout in the queue would leave too little time for the others, and the overload
            # would grow.
            now = self._clock.monotonic()
            if expired := self._queue.take_expired(now + self._timeout_s / 2):
                self._refuse_overload("expired", expired)
            if self._may_start(lane):  # without the expired ones
                self._start(lane, self._queue.take_batch(lane, now))

    def _may_start(self, lane: Lane) -> bool:
        """Whether another flush of *lane* may start beside those in progress."""
        if not lane.rows:
            return False
        # One flush of each lane may always run: heavy keys do not take every connection. There is
        # one connection more than FOREBAY_FLUSHES_MAX.
        light, heavy = self._queue.light, self._queue.heavy
        flushes_max = self._flushes_max + (lane is light and heavy.flushes > 0)
        if lane.flushes and len(self._flushes) >= flushes_max:
            return False
        if not lane.flushes_on_time:
            return True
        # Measured: with two flushes of heavy keys at a time, light keys wait twice as long.
        return self._queue.is_worth_a_flush(
            lane, self._further_rows_min
        ) and not self._queue.is_shared(lane, self._clock.monotonic())

    def _start(self, lane: Lane, batch: list[QueuedPayload]) -> None:
        flush = asyncio.create_task(self._flush(batch))
        self._flushes[flush] = lane
        lane.flushes += 1
        lane.flushes_on_time += 1
        loop = asyncio.get_running_loop()
        self._on_time[flush] = loop.call_later(self._stalled_s, self._mark_stalled, flush)
        flush.add_done_callback(partial(self._ended, batch))

    def _mark_stalled(self, flush: asyncio.Task[None]) -> None:
        del self._on_time[flush]
        self._flushes[flush].flushes_on_time -= 1
        self._start_flushes()

    def _ended(self, batch: list[QueuedPayload], flush: asyncio.Task[None]) -> None:
        lane = self._flushes.pop(flush)
        lane.flushes -= 1
        if timer := self._on_time.pop(flush, None):
            timer.cancel()
            lane.flushes_on_time -= 1
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

    def _refuse_overload(self, cause: str, payloads: list[QueuedPayload]) -> None:
        message = _SHARE_MESSAGE if cause == "share" else None
        self._refuse(payloads, RefusedError(Reason.OVERLOADED, message))
        if self._on_refused is not None:
            self._on_refused(cause, len(payloads))

    @staticmethod
    def _refuse(batch: list[QueuedPayload], refusal: RefusedError) -> None:
        for queued in batch:
            if not queued.verdicts.done():
                queued.verdicts.set_exception(RefusedError(refusal.reason, refusal.message))
