"""The rules for a batcher, checked from outside after every step."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from service.model import Payload, Verdict
from service.pipeline.batcher import Batcher, QueueLimits
from service.reasons import Reason
from tests.simulation.loop import SeededLoop
from tests.simulation.store import BOUND_S, FickleStore, verdicts_of

_STEPS_MAX: Final = 20_000


class Violation(AssertionError):  # noqa: N818 - the finding itself, not a fault of the judge
    """Something that must be true was not."""


class Turns(NamedTuple):
    """When a flush may begin beside another."""

    flushes_max: int
    further_rows_min: int
    stalled_s: float


class Beside(StrEnum):
    """What is away when a flush begins."""

    NONE = "beside none"
    STALLED = "beside stalled ones"
    ON_TIME = "beside one on time"


class Begun:
    """The flushes that have begun since time has passed."""

    def __init__(self) -> None:
        self.rows = 0
        self.size_bytes = 0
        self.is_beside_on_time = False


class Request:
    """A payload on its way, and all that is known of it."""

    def __init__(self, number: int, payload: Payload) -> None:
        self.number = number
        self.payload = payload
        self.submitted_at: float | None = None
        self.place = 0  # in the order of submission
        self.met_closed_gate = False
        self.is_given_up = False
        self.is_flushed = False
        self.is_committed = False
        self.answer: Sequence[Verdict] | Reason | None = None
        # The answer it has to get, once that is decided.
        self.due: Sequence[Verdict] | Reason | None = None

    @property
    def is_open(self) -> bool:
        """Whether somebody waits for its answer."""
        return self.submitted_at is not None and self.answer is None and not self.is_given_up


class Judge:
    """Keeps the books of one run, and raises a `Violation` where they do not balance."""

    def __init__(
        self, loop: SeededLoop, limits: QueueLimits, turns: Turns, timeout_s: float
    ) -> None:
        self.trace: list[tuple[Any, ...]] = []
        self._loop = loop
        self._limits = limits
        self._turns = turns
        self._timeout_s = timeout_s
        self._requests: dict[int, Request] = {}  # by the identity of the payload
        self._flushes: list[list[int]] = []  # places
        self._away: dict[int, float] = {}  # since when, by the identity of what it holds
        self._begun = Begun()
        self._owed: list[Request] = []  # an answer, before any more time passes
        self._steps = 0
        self._step_of_submit = 0
        self._rows_told = 0
        self._is_closed = False
        self._is_draining = False
        self._counted = (0, 0, 0)
        self._violation: Violation | None = None

    def watch(self, batcher: Batcher, store: FickleStore) -> None:
        """Say whose books these are."""
        self._queue = batcher._queue
        self._store = store
        self._note("batcher", type(batcher).__name__, self._turns, self._timeout_s)
        self._note("limits", self._limits)

    # What the clients tell

    def submitted(self, request: Request) -> None:
        request.submitted_at = self._loop.time()
        request.place = len(self._requests)
        request.met_closed_gate = self._is_closed
        self._requests[id(request.payload)] = request
        self._step_of_submit = self._steps
        payload = request.payload
        self._note("submitted", request.number, payload.rows, payload.size_bytes)

    def given_up(self, request: Request) -> None:
        if request.answer is None:
            request.is_given_up = True
            self._note("given up", request.number)

    def answered(self, request: Request, answer: Sequence[Verdict] | Reason) -> None:
        text = answer if isinstance(answer, Reason) else "stored"
        self._note("answered", request.number, text)
        self._require(request.is_open, "answered though nobody waits", request)
        request.answer = answer
        if request.met_closed_gate:
            is_shed = answer is Reason.OVERLOADED
            self._require(is_shed, "the gate was not as it must be", request)
            self._require(self._steps == self._step_of_submit, "overloaded, but late", request)
            return
        assert request.submitted_at is not None
        latest = request.submitted_at + self._timeout_s + BOUND_S
        self._require(self._loop.time() <= latest, "answered too late", request)
        if not isinstance(answer, Reason):
            self._require(request.is_committed, "acked before the commit", request)
        elif answer is Reason.STORE_UNAVAILABLE:
            self._require(not request.is_committed, "said not to be stored, but is", request)
        self._require(answer == self._due(request), "answered wrongly", request)

    def drain_began(self) -> None:
        self._is_draining = True
        self._note("drain began")

    def drained(self, deadline: float, *, is_done: bool) -> None:
        now = self._loop.time()
        self._note("drained", is_done)
        self._require(now <= deadline, "the drain took too long")
        self._require(is_done or now == deadline, "the drain ended too soon")
        if is_done:
            self._require(self._queue.rows == 0, "drained, but rows wait")
            self._require(self._store.under_way == 0, "drained, but a flush is under way")
            self._owed += [request for request in self._requests.values() if request.is_open]

    # What the store tells, and the batcher of its flushes

    def write_began(self, payloads: list[Payload], deadline: float, under_way: int) -> None:
        requests = [self._requests[id(payload)] for payload in payloads]
        numbers = [request.number for request in requests]
        self._note("write began", numbers, deadline, self._beside())
        self._flushes.append([request.place for request in requests])
        self._require(under_way <= self._turns.flushes_max, "too many flushes are under way")
        has_half = deadline > self._loop.time() + self._timeout_s / 2
        self._require(has_half, "a flush began with less than half of its time")
        first = min(request.submitted_at or 0 for request in requests)
        self._require(deadline == first + self._timeout_s, "not the deadline of the oldest")
        rows = sum(payload.rows for payload in payloads)
        size_bytes = sum(payload.size_bytes for payload in payloads)
        self._begun.rows += rows
        self._begun.size_bytes += size_bytes
        self._begun.is_beside_on_time |= self._beside() is Beside.ON_TIME
        self._away[id(payloads)] = self._loop.time()
        is_within = (
            rows <= self._limits.batch_rows_max and size_bytes <= self._limits.batch_bytes_max
        )
        self._require(is_within or len(payloads) == 1, "the batch is too large")
        for request in requests:
            self._require(not request.is_flushed, "went down twice", request)
            self._require(request.answer is None, "went down after its answer", request)
            request.is_flushed = True

    def committed(self, payloads: list[Payload]) -> None:
        for payload in payloads:
            self._requests[id(payload)].is_committed = True
        self._note("committed", [self._requests[id(payload)].number for payload in payloads])

    def write_cancelled(self, *, is_planned: bool) -> None:
        is_meant = is_planned or self._loop.cancels > 0
        self._require(is_meant, "a flush was cancelled, and nobody meant it")

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

    # What is looked at after each step, before time passes, and at the end

    def after_step(self) -> None:
        self._steps += 1
        self._require(self._steps < _STEPS_MAX, "it never comes to rest")
        queue = self._queue
        counted = (len(queue._queued), queue.rows, queue.size_bytes)
        if counted != self._counted:
            self._counted = counted
            self._audit()
        if self._violation is not None:
            self._rule()

    def _audit(self) -> None:
        queue, limits = self._queue, self._limits
        rows = sum(item.payload.rows for item in queue._queued)
        size_bytes = sum(item.payload.size_bytes for item in queue._queued)
        is_right = (queue.rows, queue.size_bytes) == (rows, size_bytes)
        self._require(is_right, "the queue has counted wrongly")
        if rows >= limits.queue_rows_max or size_bytes >= limits.queue_bytes_max:
            self._is_closed = True
        elif rows <= limits.queue_rows_max // 2 and size_bytes <= limits.queue_bytes_max // 2:
            self._is_closed = False

    def at_rest(self) -> None:
        self._look_for_who_waits()
        self._look_for_who_was_early()
        self._begun = Begun()
        for request in self._owed:
            self._require(not request.is_open, "its answer is due, and does not come", request)
        self._owed.clear()
        self._rule()

    def at_end(self) -> None:
        for request in self._requests.values():
            self._require(not request.is_open, "never answered", request)
        self._require(not self._loop.faults, f"the loop was told of faults: {self._loop.faults}")
        # Flushes of one moment may begin in any order, where the loop runs them so.
        flushes = self._flushes if self._loop.is_in_order else sorted(self._flushes)
        places = [place for flush in flushes for place in flush]
        self._require(places == sorted(places), "first in was not first out")
        rows = sum(each.payload.rows for each in self._requests.values() if each.is_flushed)
        self._require(self._rows_told == rows, "not every flush was told")
        self._rule()

    def _look_for_who_waits(self) -> None:
        queue = self._queue
        is_free = len(self._away) < self._turns.flushes_max
        has_turn = (
            self._beside() is not Beside.ON_TIME
            or self._is_enough(queue.rows, queue.size_bytes)
            or self._is_closed
            or self._is_draining
        )
        self._require(not (queue.rows and is_free and has_turn), "a slot is free, and rows wait")

    def _look_for_who_was_early(self) -> None:
        begun, limits = self._begun, self._limits
        # What was cancelled before its first step is not among those that have begun.
        if not begun.is_beside_on_time or self._is_draining or self._loop.cancels:
            return
        # No more than these can have waited at any time since the others were away.
        rows, size_bytes = begun.rows + self._queue.rows, begun.size_bytes + self._queue.size_bytes
        may_have_been_closed = (
            rows > limits.queue_rows_max // 2 or size_bytes > limits.queue_bytes_max // 2
        )
        has_turn = self._is_enough(rows, size_bytes) or may_have_been_closed
        self._require(has_turn, "beside another one a flush began for few rows")

    def _beside(self) -> Beside:
        """Return what a flush that begins now is beside."""
        if not self._away:
            return Beside.NONE
        is_on_time = self._loop.time() < max(self._away.values()) + self._turns.stalled_s
        return Beside.ON_TIME if is_on_time else Beside.STALLED

    def _is_enough(self, rows: int, size_bytes: int) -> bool:
        """Tell whether as much as this may go beside a flush that has not stalled."""
        rows_min = min(self._turns.further_rows_min, self._limits.batch_rows_max)
        return rows >= rows_min or size_bytes >= self._limits.batch_bytes_max

    def _due(self, request: Request) -> Sequence[Verdict] | Reason | None:
        """Return what *request* has to be answered by now."""
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
        # Not where it is found: there the batcher could catch it, as it catches everything.
        if self._violation is not None:
            raise self._violation
