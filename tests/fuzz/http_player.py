"""Plays connections on a running service, and checks the answers, the rows and the service."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

import httpx
import msgspec

from bench.processes import rss_bytes
from provision.keys import NewKey
from tests.acceptance import wire
from tests.acceptance.running import Service, is_alive, until
from tests.fuzz.http_client import Told, tell
from tests.fuzz.talks import ID, HttpCase, Talk
from tests.fuzz.wire_answers import check_wire_answer

_TAKE_ROWS: Final = """
WITH rows AS (DELETE FROM events RETURNING event_id),
     ids AS (DELETE FROM event_deduplication RETURNING 1),
     refused AS (DELETE FROM rejected_events RETURNING 1)
SELECT event_id FROM rows
"""
_OVERLOADED: Final = 503
# With low limits, a retry has room when the connections of the round have ended.
_TRIES: Final = 1_000
_PAUSE_S: Final = 0.02
_CLOSED_S: Final = 30.0
# Of both workers: caches, buffers of the allocator, and the memory of the first requests.
_GROWTH_BYTES_MAX: Final = 100_000_000
# The service is to log no more than its requests, and the first reject of a key and a code.
_EXPECTED: Final = (
    '"level":"info"',
    '"event":"events_rejected","level":"warning"',
    '"event":"request_refused","level":"warning"',
)
_QUOTED: Final = 4_000
# Rows of connections that the client has left may appear later.
_LATE_ROUNDS: Final = 50


class BrokenRuleError(AssertionError):
    """A rule does not hold; `talk` is the connection, if it is known."""

    def __init__(self, message: str, talk: Talk | None = None) -> None:
        super().__init__(message)
        self.talk = talk


class HttpPlayer:
    """Plays cases on one service, whose database contains nothing else."""

    def __init__(
        self,
        service: Service,
        connection: Any,
        key: NewKey,
        honest: wire.Wire,
        *,
        may_be_overloaded: bool,
    ) -> None:
        """
        *honest* is an open connection of a sender who does nothing wrong.

        *may_be_overloaded*: the service has low limits, and refuses requests above them.
        """
        self._service = service
        self._connection = connection
        self._key = key.api_key
        self._honest = honest
        self._may_be_overloaded = may_be_overloaded
        self._number = 0
        self._pids = service.worker_pids
        self._lines = 0
        self._memory_at_start_bytes = self._memory_bytes()
        self._late: deque[set[str]] = deque(maxlen=_LATE_ROUNDS)

    async def play(self, cases: Sequence[HttpCase]) -> None:
        """Play *cases* at the same time, with an honest sender beside them."""
        talks = [talk for case in cases for talk in case.talks]
        told, honest_id = await asyncio.gather(
            asyncio.gather(*(tell(self._service.port, talk, self._key) for talk in talks)),
            self._send_honestly(),
        )
        rows = await self._connection.fetch(_TAKE_ROWS)
        for each in told:
            self._check_answers(each)
        stored = Counter(row["event_id"] for row in rows)
        if stored.pop(honest_id, 0) != 1:
            raise BrokenRuleError("an honest event was acknowledged and is not stored")
        self._check_rows(told, stored)
        self._check_service()

    async def _send_honestly(self) -> str:
        """Ask for the health and send one event; return the event's id."""
        self._number += 1
        event_id = f"honest-{self._number}"
        body = msgspec.json.encode({"type": "page", "event_id": event_id})
        await self._honest.send(b"GET /health/ready HTTP/1.1\r\nHost: a\r\n\r\n")
        health = await self._honest.answer()
        if health is None or health.status != 200:
            raise BrokenRuleError(f"the service is not healthy: {health}")
        answer = None
        for _ in range(_TRIES if self._may_be_overloaded else 1):
            await self._honest.send(wire.post("/v1/page", f"X-API-Key: {self._key}", body=body))
            answer = await self._honest.answer()
            if answer is None or answer.status != _OVERLOADED:
                break
            await asyncio.sleep(_PAUSE_S)
        if answer is None or answer.status != 200 or answer.json()["status"] != "accepted":
            raise BrokenRuleError(f"an honest event was not accepted: {answer}")
        return event_id

    async def check_at_rest(self) -> None:
        """Check that the workers keep no connection and little memory of the clients."""
        await until(self._has_no_client, _CLOSED_S, "the connections of all clients are closed")
        growth_bytes = self._memory_bytes() - self._memory_at_start_bytes
        print(f"http: the workers have {growth_bytes // 1_000_000} MB more memory than before")
        if growth_bytes > _GROWTH_BYTES_MAX:
            raise BrokenRuleError(f"the workers have {growth_bytes} bytes more than before")

    async def check_stop(self) -> None:
        """Stop the service, and check that it ends as usual."""
        assert 0 == await self._service.stop()
        assert "" == self._service.complaints

    async def _has_no_client(self) -> bool:
        """Whether the only connection is that of the honest sender."""
        async with httpx.AsyncClient() as client:
            text = (await client.get(self._service.metrics_url)).text
        return "forebay_client_connections 1.0" in text

    def _memory_bytes(self) -> int:
        return sum(rss_bytes(pid) for pid in self._pids)

    def _check_answers(self, told: Told) -> None:
        talk, reading = told.talk, told.reading
        try:
            assert told.fault == ""
            for answer in told.answers:
                check_wire_answer(answer, may_lack_body=told.may_lack_body)
            accepted = {each.event_id for each in told.results() if each.status == "accepted"}
            is_excused = self._may_be_overloaded and _is_refused(told)
            assert is_excused or accepted >= set(talk.must_store), (accepted, told.received)
            expected = len(reading.requests)
            extra = sum(answer.is_of_server for answer in told.answers)
            assert extra <= 1
            if reading.state != "invalid":
                assert len(told.answers) <= expected + 1, "more answers than requests"
            if talk.end == "read" and len(told.answers) < expected:
                assert told.is_closed, f"{expected - len(told.answers)} answers did not come"
                assert told.answers or reading.state == "invalid" or told.received == b""
        except (AssertionError, msgspec.MsgspecError, KeyError, ValueError) as error:
            raise BrokenRuleError(f"{error!r}: {told.received!r}", talk) from error

    def _check_rows(self, told: Iterable[Told], stored: "Counter[str]") -> None:
        """Check that only acknowledged events are stored, and no event was smuggled."""
        confirmed: set[str] = set()
        unknown: set[str] = set()
        for each in told:
            sent = each.sent_ids()
            own = Counter(
                result.event_id or ""
                for result in each.results()
                if result.status in {"accepted", "duplicate"}
            )
            twice = {event_id for event_id in sent if own[event_id] > sent[event_id]}
            if twice:
                raise BrokenRuleError(f"events were processed twice: {twice}", each.talk)
            smuggled = (each.all_ids() - sent.keys()) & (stored.keys() | own.keys())
            if smuggled:
                raise BrokenRuleError(f"smuggled: {smuggled}; {each.received!r}", each.talk)
            confirmed |= own.keys()
            if not each.is_fully_answered():
                unknown |= sent.keys()
        if confirmed - stored.keys():
            raise BrokenRuleError(f"acknowledged, not stored: {confirmed - stored.keys()}")
        self._late.append(unknown)
        unexpected = stored.keys() - confirmed - set().union(*self._late)
        # Other ids are of events whose own id was damaged.
        unexpected = {event_id for event_id in unexpected if ID.fullmatch(event_id)}
        if unexpected:
            owners = [each.talk for each in told if each.all_ids() & unexpected]
            raise BrokenRuleError(f"stored, not acknowledged: {unexpected}", *owners[:1])

    def _check_service(self) -> None:
        """Check that every worker still runs and has logged no error."""
        gone = [pid for pid in self._pids if not is_alive(pid)]
        if gone or self._pids != self._service.worker_pids:
            raise BrokenRuleError(f"workers have ended: {gone}")
        if self._service.complaints:
            raise BrokenRuleError(f"stderr: {self._service.complaints[:_QUOTED]}")
        lines = self._service.log.splitlines()
        if len(lines) > self._lines:
            errors = [line for line in lines if not any(part in line for part in _EXPECTED)]
            self._lines = len(lines)
            if errors:
                raise BrokenRuleError(f"logged: {errors[0][:_QUOTED]}")


def _is_refused(told: Told) -> bool:
    """
    Whether a correct request was refused because the service is overloaded.

    The body of a refused request with `Expect` is not read, because its client should not have sent
    the body yet. If the client has sent it, the connection is reset, and the answer may be lost.
    """
    is_reset = told.is_closed and any("Expect" in step.send for step in told.talk.steps)
    return is_reset or _OVERLOADED in told.statuses()
