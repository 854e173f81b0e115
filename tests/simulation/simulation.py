"""One run of the real batcher with clients, an unreliable store and a drain, from one seed."""

import asyncio
import functools
import itertools
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

from service._native import Rows
from service.model import Payload, Verdict
from service.pipeline.batcher import Batcher
from service.pipeline.queue import QueueLimits
from service.reasons import Reason, RefusedError
from tests.doubles import FixedClock, Sender, make_event
from tests.simulation.judge import Judge, Request, Turns, Violation
from tests.simulation.loop import SeededLoop
from tests.simulation.store import TICK_S, FickleStore

MakeBatcher = Callable[..., Batcher]

_SENDER: Final = Sender()
_SPAN_S: Final = 4.0
_NEXT_AT_ONCE: Final = 0.3


class LoopClock(FixedClock):
    """The loop's time as the service's clock."""

    def __init__(self, loop: SeededLoop) -> None:
        super().__init__()
        self._loop = loop

    def monotonic(self) -> float:
        return self._loop.time()


class Simulation:
    """One run: clients, a store and a drain for one batcher, from one seed."""

    def __init__(self, seed: int, make: MakeBatcher = Batcher) -> None:
        self._rng = rng = Random(seed)
        self._loop = SeededLoop(rng, is_in_order=rng.random() < 0.5)
        self._numbers = itertools.count()
        self._is_hostile = rng.random() < 0.3
        self._keys = self._upto(3)
        limits = QueueLimits(
            queue_rows_max=self._upto(20),
            queue_bytes_max=self._upto(200),
            batch_rows_max=self._upto(12),
            batch_bytes_max=self._upto(120),
            light_key_cost_max=self._upto(12) * 1024,
            heavy_batch_cost_max=self._upto(12) * 1024,
        )
        turns = Turns(
            flushes_max=self._upto(3),
            further_rows_min=self._upto(6),
            stalled_s=self._upto(16) * TICK_S,
        )
        timeout_s = self._upto(128) * TICK_S
        # A flush counts as stalled after a quarter of the timeout at the latest.
        promised = turns._replace(stalled_s=min(turns.stalled_s, timeout_s / 4))
        self.judge = Judge(self._loop, limits, promised, timeout_s)
        self._store = FickleStore(rng, self._loop, self.judge)
        self._batcher = make(
            write=self._store.write,
            clock=LoopClock(self._loop),
            limits=limits,
            **turns._asdict(),
            timeout_s=timeout_s,
            on_flush=self.judge.flush_told,
        )
        self.judge.watch(self._batcher, self._store)

    def run(self) -> None:
        """Run the simulation; raises a `Violation` if a rule is violated."""
        span = self._upto(int(_SPAN_S / TICK_S))
        for _ in range(self._upto(8)):
            self._at(span, self._send)
        for _ in range(int(self._rng.random() * 3)):
            self._at(span, self._start, self._drain, self._upto(256) * TICK_S)
        if self._is_hostile:
            for _ in range(self._upto(3)):
                self._at(span, self._loop.cancel_a_task)
        try:
            self._loop.run(self.judge.after_step, self.judge.at_rest)
            self.judge.at_end()
        except Violation:
            self._loop.abandon()
            raise

    def _upto(self, most: int) -> int:
        return int(self._rng.random() * most) + 1

    def _at(self, span: int, callback: Callable[..., object], *args: Any) -> None:
        self._loop.call_at(self._loop.time() + self._upto(span) * TICK_S, callback, *args)

    def _start(self, run: Callable[..., Any], *args: Any) -> asyncio.Task[None]:
        return asyncio.Task(run(*args), loop=self._loop.as_loop)

    def _send(self) -> None:
        number = next(self._numbers)
        rows = _rows(number, self._upto(6))
        key_id = f"key {self._upto(self._keys)}"
        request = Request(number, Payload(rows, [], self._upto(60), len(rows), key_id))
        task = self._start(self._request, request)
        if self._rng.random() < 0.2:
            patience_s = int(self._rng.random() * 64) * TICK_S
            self._loop.call_later(patience_s, self._give_up, request, task)

    def _give_up(self, request: Request, task: asyncio.Task[None]) -> None:
        self.judge.given_up(request)
        task.cancel()

    async def _request(self, request: Request) -> None:
        self.judge.submitted(request)
        try:
            answer: Sequence[Verdict] | Reason = await self._batcher.submit(request.payload)
        except RefusedError as refusal:
            answer = refusal.reason
        self.judge.answered(request, answer)
        if self._rng.random() < _NEXT_AT_ONCE:
            self._send()

    async def _drain(self, timeout_s: float) -> None:
        began_at = self._loop.time()
        self.judge.drain_began()
        self.judge.drained(began_at + timeout_s, is_done=await self._batcher.drain(timeout_s))


@functools.cache
def _rows(number: int, count: int) -> Rows:
    """Return *count* rows that belong only to the request of this number."""
    return _SENDER.rows(*[make_event(str(number))] * count)
