"""The rules for a batcher, checked after every step without use of its own logic."""

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from service.model import Payload, Verdict
from service.pipeline.batcher import Batcher
from service.pipeline.lanes import Lane, QueuedPayload
from service.pipeline.queue import Queue, QueueLimits
from service.reasons import Reason
from tests.simulation.loop import SeededLoop
from tests.simulation.store import BOUND_S, FickleStore, verdicts_of

_STEPS_MAX: Final = 20_000


class Violation(AssertionError):  # noqa: N818 - the finding itself, not a fault of the judge
    """A rule was violated."""


class Turns(NamedTuple):
    """When a further flush may begin."""

    flushes_max: int
    further_rows_min: int
    stalled_s: float


class Beside(StrEnum):
    """The flushes that run when another one begins."""

    NONE = "beside none"
    STALLED = "beside stalled ones"
    ON_TIME = "beside one on time"


class Begun:
    """Sum of the flushes that have begun at the current time."""

    def __init__(self) -> None:
        self.rows = 0
        self.size_bytes = 0
        self.is_beside_on_time = False


class Request:
    """A submitted payload and its state."""

    def __init__(self, number: int, payload: Payload) -> None:
        self.number = number
        self.payload = payload
        self.submitted_at: float | None = None
        self.place = 0  # in the order of submission
        self.met_closed_gate = False
        self.may_be_displaced = False
        self.is_given_up = False
        self.is_flushed = False
        self.is_committed = False
        self.answer: Sequence[Verdict] | Reason | None = None
        # The expected answer, once it is decided.
        self.due: Sequence[Verdict] | Reason | None = None

    @property
    def is_open(self) -> bool:
        """Whether a client waits for its answer."""
        return self.submitted_at is not None and self.answer is None and not self.is_given_up


class Judge:
    """Records one run, and raises a `Violation` if a rule is violated."""

    def __init__(
        self, loop: SeededLoop, limits: QueueLimits, turns: Turns, timeout_s: float
    ) -> None:
        self.trace: list[tuple[Any, ...]] = []
        self._loop = loop
        self._limits = limits
        self._turns = turns
        self._timeout_s = timeout_s
        self._requests: dict[int, Request] = {}  # by the identity of the payload
        self._flushes: list[list[tuple[str, int]]] = []  # keys and places
        # Lane and start of each running flush, by the identity of its list of payloads.
        self._away: dict[int, tuple[Lane, float]] = {}
        self._begun: dict[Lane, Begun] = {}
        self._owed: list[Request] = []  # requests whose answer is due before time advances
        self._steps = 0
        self._step_of_submit = 0
        self._rows_told = 0
        self._is_closed = False
        self._is_draining = False
        self._counted = (0, 0, 0)
        self._violation: Violation | None = None

    def watch(self, batcher: Batcher, store: FickleStore) -> None:
        """Set the batcher and the store of this run."""
        self._batcher = batcher
        self._queue = queue = batcher._queue
        self._begun = {queue.light: Begun(), queue.heavy: Begun()}
        self._store = store
        self._note("batcher", type(batcher).__name__, self._turns, self._timeout_s)
        self._note("limits", self._limits)

    # Calls of the clients

    def submitted(self, request: Request) -> None:
        request.submitted_at = self._loop.time()
        request.place = len(self._requests)
        request.met_closed_gate = self._is_closed
        if self._is_closed:
            # In a full queue it may take the room of any of these.
            for other in self._requests.values():
                other.may_be_displaced |= other.is_open and not other.is_flushed
        self._requests[id(request.payload)] = request
        self._step_of_submit = self._steps
        payload = request.payload
        size = (payload.rows, payload.size_bytes)
        self._note("submitted", request.number, *size, payload.key_id)

    def given_up(self, request: Request) -> None:
        if request.answer is None:
            request.is_given_up = True
            self._note("given up", request.number)

    def answered(self, request: Request, answer: Sequence[Verdict] | Reason) -> None:
        text = answer if isinstance(answer, Reason) else "stored"
        self._note("answered", request.number, text)
        self._require(request.is_open, "answered although no client waits", request)
        request.answer = answer
        if request.met_closed_gate and answer is Reason.OVERLOADED and not request.is_flushed:
            return
        if request.met_closed_gate:
            has_other_keys = len({r.payload.key_id for r in self._requests.values()}) > 1
            self._require(has_other_keys, "not refused although the queue is full", request)
        if answer is Reason.OVERLOADED and request.may_be_displaced and not request.is_flushed:
            return
        assert request.submitted_at is not None
        latest = request.submitted_at + self._timeout_s + BOUND_S
        self._require(self._loop.time() <= latest, "answered too late", request)
        if not isinstance(answer, Reason):
            self._require(request.is_committed, "acked before the commit", request)
        elif answer is Reason.STORE_UNAVAILABLE:
            self._require(
                not request.is_committed, "answered store_unavailable, but stored", request
            )
        self._require(answer == self._due(request), "wrong answer", request)

    def drain_began(self) -> None:
        self._is_draining = True
        self._note("drain began")

    def drained(self, deadline: float, *, is_done: bool) -> None:
        now = self._loop.time()
        self._note("drained", is_done)
        self._require(now <= deadline, "the drain took too long")
        self._require(is_done or now == deadline, "the drain ended too soon")
        if is_done:
            self._require(self._queue.rows == 0, "drained, but rows are queued")
            self._require(self._store.under_way == 0, "drained, but a flush runs")
            self._owed += [request for request in self._requests.values() if request.is_open]

    # Calls of the store, and of the batcher about its flushes

    def write_began(self, payloads: list[Payload], deadline: float, under_way: int) -> None:
        requests = [self._requests[id(payload)] for payload in payloads]
        numbers = [request.number for request in requests]
        lane = self._lane_of_flush()
        beside = self._beside(lane)
        self._note("write began", numbers, deadline, beside)
        self._flushes.append([(request.payload.key_id, request.place) for request in requests])
        others = sum(other is not lane for other, _ in self._away.values())
        flushes_max = self._turns.flushes_max + bool(others)
        self._require(under_way <= flushes_max, "too many flushes run")
        has_half = deadline > self._loop.time() + self._timeout_s / 2
        self._require(has_half, "a flush began with less than half of its time")
        first = min(request.submitted_at or 0 for request in requests)
        self._require(deadline == first + self._timeout_s, "not the deadline of the oldest")
        rows = sum(payload.rows for payload in payloads)
        size_bytes = sum(payload.size_bytes for payload in payloads)
        begun = self._begun[lane]
        begun.rows += rows
        begun.size_bytes += size_bytes
        begun.is_beside_on_time |= beside is Beside.ON_TIME
        self._away[id(payloads)] = (lane, self._loop.time())
        is_within = (
            rows <= self._limits.batch_rows_max and size_bytes <= self._limits.batch_bytes_max
        )
        self._require(is_within or len(payloads) == 1, "the batch is too large")
        for request in requests:
            self._require(not request.is_flushed, "flushed twice", request)
            self._require(request.answer is None, "flushed after its answer", request)
            request.is_flushed = True

    def committed(self, payloads: list[Payload]) -> None:
        for payload in payloads:
            self._requests[id(payload)].is_committed = True
        self._note("committed", [self._requests[id(payload)].number for payload in payloads])

    def write_cancelled(self, *, is_planned: bool) -> None:
        is_meant = is_planned or self._loop.cancels > 0
        self._require(is_meant, "a flush was cancelled without a request to do so")

    def write_ended(self, payloads: list[Payload], reason: Reason | None) -> None:
        del self._away[id(payloads)]
        for payload in payloads:
            request = self._requests[id(payload)]
            request.due = verdicts_of(payload) if reason is None else reason
            self._owed.append(request)
        numbers = [self._requests[id(payload)].number for payload in payloads]
        self._note("write ended", numbers, reason or "verdicts")

    def flush_told(self, rows: int, _queued_rows: int, _duration_s: float) -> None:
        self._rows_told += rows

    # Checks after each step, before time advances, and at the end

    def after_step(self) -> None:
        self._steps += 1
        self._require(self._steps < _STEPS_MAX, "too many steps")
        queue = self._queue
        counted = (len(queued_in(queue)), queue.rows, queue.size_bytes)
        if counted != self._counted:
            self._counted = counted
            self._audit()
        if self._violation is not None:
            self._rule()

    def _audit(self) -> None:
        queue, limits = self._queue, self._limits
        queued = queued_in(queue)
        rows = sum(item.payload.rows for item in queued)
        size_bytes = sum(item.payload.size_bytes for item in queued)
        is_right = (queue.rows, queue.size_bytes) == (rows, size_bytes)
        self._require(is_right, "the queue counts wrong")
        if rows >= limits.queue_rows_max or size_bytes >= limits.queue_bytes_max:
            self._is_closed = True
        elif rows <= limits.queue_rows_max // 2 and size_bytes <= limits.queue_bytes_max // 2:
            self._is_closed = False

    def at_rest(self) -> None:
        self._require_no_late_flush()
        self._require_no_early_flush()
        self._begun = {lane: Begun() for lane in self._begun}
        for request in self._owed:
            self._require(not request.is_open, "its answer is overdue", request)
        self._owed.clear()
        self._rule()

    def at_end(self) -> None:
        for request in self._requests.values():
            self._require(not request.is_open, "never answered", request)
        self._require(not self._loop.faults, f"exceptions reached the loop: {self._loop.faults}")
        for key_id in {request.payload.key_id for request in self._requests.values()}:
            self._require_order(key_id)
        rows = sum(each.payload.rows for each in self._requests.values() if each.is_flushed)
        self._require(self._rows_told == rows, "on_flush was not called for every flush")
        self._rule()

    def _require_order(self, key_id: str) -> None:
        flushes = [[place for key, place in flush if key == key_id] for flush in self._flushes]
        # If the loop runs callbacks in random order, flushes of one moment begin in any order.
        in_order = flushes if self._loop.is_in_order else sorted(flushes)
        places = [place for flush in in_order for place in flush]
        self._require(places == sorted(places), "requests of a key were not flushed in order")

    def _require_no_late_flush(self) -> None:
        for lane in self._begun:
            running = sum(other is lane for other, _ in self._away.values())
            is_free = not running or len(self._away) < self._turns.flushes_max
            # Heavy keys may have one flush at a time until it stalls.
            has_turn = self._beside(lane) is not Beside.ON_TIME or (
                lane is self._queue.light
                and (
                    self._is_enough(lane.rows, lane.size_bytes)
                    or self._is_closed
                    or self._is_draining
                )
            )
            is_late = lane.rows and is_free and has_turn
            self._require(not is_late, "queued rows wait although a flush may begin")

    def _require_no_early_flush(self) -> None:
        limits = self._limits
        # A flush that was cancelled before its first step is not counted as begun.
        if self._is_draining or self._loop.cancels:
            return
        # Upper limit of the rows that were queued at any time since the other flushes began.
        rows = sum(begun.rows for begun in self._begun.values()) + self._queue.rows
        size_bytes = sum(begun.size_bytes for begun in self._begun.values())
        size_bytes += self._queue.size_bytes
        may_have_been_closed = (
            rows > limits.queue_rows_max // 2 or size_bytes > limits.queue_bytes_max // 2
        )
        has_turn = self._is_enough(rows, size_bytes) or may_have_been_closed
        is_beside_on_time = any(begun.is_beside_on_time for begun in self._begun.values())
        is_early = is_beside_on_time and not has_turn
        self._require(not is_early, "a further flush began for too few rows")

    def _lane_of_flush(self) -> Lane:
        """Return the lane of the flush whose write begins."""
        flush: Any = asyncio.current_task(self._loop.as_loop)
        return self._batcher._flushes[flush]

    def _beside(self, lane: Lane) -> Beside:
        """Return the flushes of *lane* that run beside a flush that begins now."""
        starts = [start for other, start in self._away.values() if other is lane]
        if not starts:
            return Beside.NONE
        is_on_time = self._loop.time() < max(starts) + self._turns.stalled_s
        return Beside.ON_TIME if is_on_time else Beside.STALLED

    def _is_enough(self, rows: int, size_bytes: int) -> bool:
        """Whether this many rows or bytes may start a flush beside one that has not stalled."""
        rows_min = min(self._turns.further_rows_min, self._limits.batch_rows_max)
        return rows >= rows_min or size_bytes >= self._limits.batch_bytes_max

    def _due(self, request: Request) -> Sequence[Verdict] | Reason | None:
        """Return the expected answer to *request* at this time."""
        if request.is_flushed:
            return request.due
        assert request.submitted_at is not None
        if self._loop.time() >= request.submitted_at + self._timeout_s / 2:
            return Reason.OVERLOADED
        return Reason.OUTCOME_UNKNOWN if self._loop.cancels else None

    def _note(self, *what: Any) -> None:
        if self._violation is None:
            self.trace.append((self._loop.time(), self._steps, *what))

    def _require(self, is_true: bool, claim: str, request: Request | None = None) -> None:
        if not is_true and self._violation is None:
            of = "" if request is None else f" (request {request.number})"
            self._note("VIOLATION", claim + of)
            self._violation = Violation(claim + of)

    def _rule(self) -> None:
        # Not at the place of the violation, where the batcher would catch the exception.
        if self._violation is not None:
            raise self._violation


def queued_in(queue: Queue) -> list[QueuedPayload]:
    """Return all payloads in *queue*."""
    return [*queue.light, *queue.heavy]
