"""
Gathers the requests of one worker and sends them down together.

While no flush is away, the first payload starts one: an idle service answers at once, and a busy
one makes larger batches. A further flush beside it begins when enough rows wait to be worth it, or
when those that are away are held up: that is the only timer.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog

from service.clock import Clock
from service.model import Payload, Verdict, Write
from service.pipeline.queue import Queue, QueueLimits, Waiting
from service.reasons import Reason, Refusal

log = structlog.get_logger()

# Two small flushes in place of one cost single events half as much again, on both sides; batches
# lose time from some 600 rows on (docs/decisions/0014-flushes-in-flight.md).
FURTHER_ROWS_MIN: Final = 300
# A flush that is away for longer waits for a row that another session holds, or for a silent line:
# nobody is to wait behind it for its seconds. A usual one takes a few milliseconds.
HELD_UP_S: Final = 0.05

_Waiter = asyncio.Future[Sequence[Verdict]]


class Batcher:
    """Natural batching with a bounded queue. One per worker."""

    def __init__(  # noqa: PLR0913 - all by name
        self,
        *,
        write: Write,
        clock: Clock,
        limits: QueueLimits,
        flushes_max: int,
        timeout_s: float,
        further_rows_min: int = FURTHER_ROWS_MIN,
        held_up_s: float = HELD_UP_S,
        on_flush: Callable[[int], None] | None = None,
    ) -> None:
        """
        Gather by *limits*, and send down by *write*.

        *on_flush* is told the rows of each flush when it has ended, however it ended.
        """
        self._write = write
        self._clock = clock
        self._flushes_max = flushes_max
        self._timeout_s = timeout_s
        self._further_rows_min = further_rows_min
        # Who has used up half of its time by waiting is refused: this must not bring it there.
        self._held_up_s = min(held_up_s, timeout_s / 4)
        self._on_flush = on_flush
        self._queue: Queue[_Waiter] = Queue(limits)
        self._flushes: set[asyncio.Task[None]] = set()
        # Those of them that are not held up yet, and what will say that they are.
        self._brisk: dict[asyncio.Task[None], asyncio.TimerHandle] = {}
        self._is_pump_due = False

    @property
    def queued_rows(self) -> int:
        """Rows that wait for a flush."""
        return self._queue.rows

    async def submit(self, payload: Payload) -> Sequence[Verdict]:
        """
        Store *payload* and return one verdict per event row, after the commit.

        Raises
        ------
        Refusal
            `overloaded`, or what the store could not do.
        """
        loop = asyncio.get_running_loop()
        waiter: _Waiter = loop.create_future()
        deadline = self._clock.monotonic() + self._timeout_s
        if not self._queue.offer(Waiting(payload, waiter, deadline)):
            raise Refusal(Reason.OVERLOADED)
        # Once per turn of the loop: requests read in the same turn go down together.
        if not self._is_pump_due:
            self._is_pump_due = True
            loop.call_soon(self._pump)
        return await waiter

    async def drain(self, timeout_s: float) -> bool:
        """
        Wait until all that was submitted is answered; False when *timeout_s* did not do.

        From here on no flush waits for company: what is left is little, and few come after it.
        """
        self._further_rows_min = 1
        deadline = self._clock.monotonic() + timeout_s
        self._pump()
        while self._flushes:
            left = deadline - self._clock.monotonic()
            done, _ = await asyncio.wait(self._flushes, timeout=max(left, 0))
            if not done:
                return False
            # What came since has no flush yet, but has to be waited for as well.
            self._pump()
        return True

    def _pump(self) -> None:
        self._is_pump_due = False
        while len(self._flushes) < self._flushes_max and self._has_turn():
            # A flush has the time of its oldest payload. One that has used up half of it waiting
            # would make it too short for its mates as well, and overload would feed itself.
            self._refuse(
                self._queue.take_expired(self._clock.monotonic() + self._timeout_s / 2),
                Refusal(Reason.OVERLOADED),
            )
            if self._has_turn():  # without those
                self._begin(self._queue.take_batch())

    def _has_turn(self) -> bool:
        """Tell whether what waits may go beside what is away."""
        return bool(self._queue) and (not self._brisk or self._queue.has(self._further_rows_min))

    def _begin(self, batch: list[Waiting[_Waiter]]) -> None:
        flush = asyncio.create_task(self._flush(batch))
        self._flushes.add(flush)
        loop = asyncio.get_running_loop()
        self._brisk[flush] = loop.call_later(self._held_up_s, self._held_up, flush)
        flush.add_done_callback(partial(self._ended, batch))

    def _held_up(self, flush: asyncio.Task[None]) -> None:
        del self._brisk[flush]
        self._pump()

    def _ended(self, batch: list[Waiting[_Waiter]], flush: asyncio.Task[None]) -> None:
        self._flushes.discard(flush)
        if timer := self._brisk.pop(flush, None):
            timer.cancel()
        # However it ended, nobody may wait on.
        self._refuse(batch, Refusal(Reason.OUTCOME_UNKNOWN))
        self._pump()
        rows = sum(item.payload.rows for item in batch)
        if flush.cancelled():  # before its first step: it has never been inside _flush
            log.error("flush_cancelled", rows=rows)
        if self._on_flush is not None:
            self._on_flush(rows)

    async def _flush(self, batch: list[Waiting[_Waiter]]) -> None:
        deadline = min(item.deadline for item in batch)
        try:
            verdicts = await self._write([item.payload for item in batch], deadline)
            for item, own in zip(batch, verdicts, strict=True):
                if isinstance(own, Refusal):
                    self._refuse([item], own)
                elif not item.waiter.done():
                    item.waiter.set_result(own)
        except Refusal as refusal:
            self._refuse(batch, refusal)
        # A panic of the core and a cancel are no Exception, and must not hang.
        except BaseException:
            self._refuse(batch, Refusal(Reason.OUTCOME_UNKNOWN))
            log.exception("flush_failed", rows=sum(item.payload.rows for item in batch))

    @staticmethod
    def _refuse(batch: list[Waiting[_Waiter]], refusal: Refusal) -> None:
        for item in batch:
            if not item.waiter.done():
                item.waiter.set_exception(Refusal(refusal.reason, refusal.message))
