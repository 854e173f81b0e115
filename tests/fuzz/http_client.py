"""A client that does what a talk says, and keeps every byte that it receives."""

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from typing import Any, Final

import msgspec

from tests.acceptance.running import HOST
from tests.fuzz.documented import Result, results_in
from tests.fuzz.framing import Reading, read_requests
from tests.fuzz.talks import ID, Talk
from tests.fuzz.wire_answers import MalformedAnswerError, WireAnswer, read_answers

# Only an answer that never comes takes so long.
_ANSWER_S: Final = 30.0
# How long to wait for the end of a connection whose bytes are no requests.
_INVALID_S: Final = 0.05
_NO_LINGER: Final = struct.pack("ii", 1, 0)


class Told(msgspec.Struct):
    """What one connection has brought."""

    talk: Talk
    reading: Reading
    may_lack_body: bool
    """Some of the requests may be HEAD requests."""
    answers: list[WireAnswer] = []
    received: bytes = b""
    fault: str = ""
    is_closed: bool = False
    """The service has closed the connection."""

    def sent_ids(self) -> "Counter[str]":
        """Return the ids of the events that the connection sends, by the standard."""
        requests = self.reading.requests
        return Counter(event_id for request in requests for event_id in request.event_ids())

    def all_ids(self) -> set[str]:
        """Return the ids anywhere in the bytes of the connection."""
        return set(ID.findall("".join(step.send for step in self.talk.steps)))

    def is_fully_answered(self) -> bool:
        """Whether the client has received the answer to every request that it has sent."""
        if self.talk.end != "read" or self.may_lack_body:
            return False
        return len(self.answers) >= len(self.reading.requests)

    def statuses(self) -> set[int]:
        """Return the statuses of the answers."""
        return {answer.status for answer in self.answers}

    def results(self) -> list[Result]:
        """Return the results of all events in the answers."""
        return [
            result for answer in self.answers for result in results_in(answer.status, answer.body)
        ]


async def tell(port: int, talk: Talk, key: str) -> Told:
    """Do what *talk* says, with *key*, and return what came back."""
    stream = talk.stream(key)
    told = Told(talk, read_requests(stream), b"HEAD" in stream)
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_connection(lambda: _Client(told), HOST, port)
    try:
        at = 0
        for step in talk.steps:
            if step.pause_ms:
                await asyncio.sleep(step.pause_ms / 1000)
            if client.lost.is_set():
                break
            # By length: a step may end inside the key.
            transport.write(stream[at : at + len(step.send)])
            at += len(step.send)
        await _end(transport, told, client)
    finally:
        if not client.lost.is_set():
            transport.abort()
        await client.lost.wait()
    return told


class _Client(asyncio.Protocol):
    """Unlike a StreamReader it keeps what has arrived before the service resets the connection."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._is_own_end = False
        self.lost = asyncio.Event()
        self.answered = asyncio.Event()
        """Every request has its answer, or the connection is closed."""
        self._note()

    def data_received(self, data: bytes) -> None:
        told = self._told
        told.received += data
        try:
            told.answers = read_answers(told.received, may_lack_body=told.may_lack_body)
        except MalformedAnswerError as error:
            told.fault = repr(error)
            self.answered.set()
        self._note()

    def eof_received(self) -> None:
        self._told.is_closed = True

    def connection_lost(self, error: Exception | None) -> None:
        self._told.is_closed = self._told.is_closed or error is not None
        self.answered.set()
        self.lost.set()

    def _note(self) -> None:
        if len(self._told.answers) >= len(self._told.reading.requests):
            self.answered.set()


async def _end(transport: Any, told: Told, client: _Client) -> None:
    """End the connection as the talk says."""
    match told.talk.end:
        case "half close":
            with contextlib.suppress(OSError):
                transport.write_eof()
            await _wait(client.lost, _INVALID_S)
        case "reset":
            with contextlib.suppress(OSError):
                own = transport.get_extra_info("socket")
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        case "leave":
            transport.close()
        case "read":
            await _wait(client.answered, _ANSWER_S)
            if told.reading.state in {"invalid", "closed"}:
                await _wait(client.lost, _INVALID_S)


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
