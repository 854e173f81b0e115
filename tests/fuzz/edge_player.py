"""Plays requests on the edge of a real worker, and checks the answers and the rows."""

import asyncio
import base64
import contextlib
import gzip
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, MutableMapping
from typing import Any, Final

import msgspec

from provision.keys import NewKey
from service.app import Worker
from service.config import Config
from service.edge.asgi import Edge
from tests.acceptance.running import until
from tests.fuzz.documented import (
    Headers,
    check_answer,
    check_cors,
    check_status,
    is_ingest,
    results_in,
)
from tests.fuzz.exchanges import KEY, OTHER_KEY, REVOKED_KEY, UNKNOWN_KEY, EdgeCase, Exchange, Taken

# Only a request that hangs takes so long.
_ANSWER_S: Final = 30.0
# The client of a request that stalls disconnects after this time.
_STALL_S: Final = 0.02
# More than the timeout of the worker that gives up on a body.
_TIMEOUT_S: Final = 0.1
_ONCE: Final = {
    *("authorization", "x-api-key", "x-write-key"),
    *("content-encoding", "content-length", "transfer-encoding", "x-event-schema-version"),
}
# Of the memory for bodies, when other requests have taken it.
_BYTES_LEFT: Final = 200
_CLEAN_UP_STEPS: Final = 200
_CLEAN_UP_S: Final = 10.0
# Both tables: the ledger too, so that the next case may use the same ids.
_TAKE_ROWS: Final = """
WITH rows AS (DELETE FROM events RETURNING tenant_id, event_id),
     ids AS (DELETE FROM event_deduplication RETURNING 1),
     refused AS (DELETE FROM rejected_events RETURNING 1)
SELECT tenant_id, event_id, (SELECT count(*) FROM refused) AS refused FROM rows
UNION ALL SELECT NULL, NULL, (SELECT count(*) FROM refused)
"""


class Keys(msgspec.Struct, frozen=True):
    """The keys that stand for those in a case."""

    own: NewKey
    other: NewKey
    revoked: NewKey
    unknown: str

    def put_into(self, text: str) -> str:
        """Replace the keys of a case."""
        for placeholder, key in (
            (KEY, self.own.api_key),
            (OTHER_KEY, self.other.api_key),
            (REVOKED_KEY, self.revoked.api_key),
            (UNKNOWN_KEY, self.unknown),
        ):
            text = text.replace(placeholder, key)
        return text


class Answered(msgspec.Struct, frozen=True):
    """An answer of the edge."""

    request: Exchange
    status: int
    headers: Headers
    body: bytes
    is_read: bool
    """The edge has read the whole body of the request."""


class EdgePlayer:
    """Plays cases on one worker, whose database contains nothing else."""

    def __init__(
        self, worker: Worker, edge: Edge, config: Config, connection: Any, keys: Keys
    ) -> None:
        """*config*: of the worker."""
        self._worker = worker
        self._edge = edge
        self._config = config
        self._connection = connection
        self._keys = keys
        self._request_ids: set[str] = set()
        self._tasks_max = 0

    async def play(self, case: EdgeCase) -> None:
        """Play one case, and check its rules."""
        self._worker.state.is_leaving = case.is_leaving
        # The largest number so far: a background task of a worker may have ended for a moment.
        self._tasks_max = max(self._tasks_max, len(asyncio.all_tasks()))
        try:
            async with asyncio.timeout(_ANSWER_S), self._taken(case.taken):
                answers = await asyncio.gather(
                    *(self._ask(request, number) for number, request in enumerate(case.exchanges))
                )
        finally:
            # After a failure too, because the next case uses the same ids.
            rows = await self._connection.fetch(_TAKE_ROWS)
        for answered in answers:
            self._check(answered, is_leaving=case.is_leaving)
        _check_rows(answers, rows)
        await self._check_at_rest()

    async def _ask(self, request: Exchange, number: int) -> Answered:
        body = _encoded(self._keys.put_into(request.body).encode("latin-1"), request)
        headers = _with_length(self._keys, request, len(body))
        sent: list[MutableMapping[str, Any]] = []

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        path, query = _path_and_query(request)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": "http",
            "method": request.method,
            "path": self._keys.put_into(path),
            "raw_path": b"",
            "query_string": self._keys.put_into(query).encode("utf-8", "surrogatepass"),
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", str(40_000 + number)),
            "server": ("127.0.0.1", 8000),
        }
        arriving = _Arriving(request, body)
        await self._edge(scope, arriving.receive, send)

        assert ["http.response.start", "http.response.body"] == [each["type"] for each in sent]
        start, end = sent
        assert not end.get("more_body", False)
        answer_headers = [(n.decode("ascii"), v.decode("latin-1")) for n, v in start["headers"]]
        return Answered(request, start["status"], answer_headers, end["body"], arriving.is_over)

    def _check(self, answered: Answered, *, is_leaving: bool) -> None:
        request, headers = answered.request, answered.headers
        is_head = request.method == "HEAD"
        check_answer(answered.status, headers, answered.body, is_head=is_head)
        path, _ = _path_and_query(request)
        check_status(request.method, path, request.headers, answered.status, headers)
        origins = [value for name, value in request.headers if name == "origin"]
        check_cors(origins[-1] if origins else None, headers)
        known = dict(headers)
        assert is_leaving == (known.get("connection") == "close")
        assert known["x-request-id"] not in self._request_ids, "the request id is not new"
        self._request_ids.add(known["x-request-id"])
        # If a connection is closed with unread bytes, the client may lose the error.
        is_excused = answered.status < 400 or answered.status == 503
        assert answered.is_read or is_excused or not _is_complete(request)
        if is_ingest(path) and request.method == "POST" and _repeats_header(request):
            is_refused = b'{"code":"invalid_request"' in answered.body
            assert is_refused or answered.status == 503, answered.body
        if request.must_store:
            assert answered.status == 200, answered.body
            results = {each.event_id: each.status for each in _results(answered)}
            assert ["accepted"] * len(request.must_store) == [
                results.get(event_id) for event_id in request.must_store
            ], answered.body

    async def _check_at_rest(self) -> None:
        """Check that nothing of the requests is left in the worker."""

        async def are_over() -> bool:
            for _ in range(_CLEAN_UP_STEPS):
                if len(asyncio.all_tasks()) <= self._tasks_max:
                    return True
                await asyncio.sleep(0)
            return False

        await until(are_over, _CLEAN_UP_S, "the tasks of the requests are over")
        assert 0 == self._worker._batcher.queued_rows
        assert {} == self._edge._body_deadlines._deadlines
        assert (0, {}) == (self._edge._bodies.held_bytes, self._edge._bodies._held)
        assert set() == self._edge._in_progress.clients
        assert 0 == self._edge._unauthorized._delayed

    @contextlib.asynccontextmanager
    async def _taken(self, what: Taken) -> AsyncIterator[None]:
        """Let other requests take something of the worker during the block."""
        bodies, clients = self._edge._bodies, self._edge._in_progress.clients
        others = {("127.0.0.2", str(port)) for port in range(self._config.requests_max)}
        half_bytes = self._config.bodies_bytes_max // 2
        if what == "requests":
            clients |= others
        if what == "memory":
            bodies.take("a", half_bytes)
            bodies.take("b", half_bytes - _BYTES_LEFT)
        yield
        if what == "requests":
            clients -= others
        if what == "memory":
            bodies.give_back("a", half_bytes)
            bodies.give_back("b", half_bytes - _BYTES_LEFT)


class _Arriving:
    """The body of a request on its way, as the HTTP server passes it on."""

    def __init__(self, request: Exchange, body: bytes) -> None:
        places = sorted({place % (len(body) + 1) for place in request.cuts})
        ends = [*places, len(body)]
        starts = [0, *places]
        self._chunks = [body[start:end] for start, end in zip(starts, ends, strict=True)]
        self._request = request

    @property
    def is_over(self) -> bool:
        return not any(self._chunks)

    async def receive(self) -> MutableMapping[str, Any]:
        for _ in range(self._request.pause):
            await asyncio.sleep(0)
        ending = self._request.ending
        if self._chunks:
            chunk = self._chunks.pop(0)
            is_last = not self._chunks and ending == "complete"
            return {"type": "http.request", "body": chunk, "more_body": not is_last}
        if ending == "complete":
            await asyncio.Event().wait()
        if ending == "timeout":
            await asyncio.sleep(_TIMEOUT_S)
        if ending == "stall":
            await asyncio.sleep(_STALL_S)
        return {"type": "http.disconnect"}


def _check_rows(answers: Iterable[Answered], rows: list[Any]) -> None:
    """Check that the stored events are the acknowledged ones, and that none is lost."""
    quarantined = rows.pop()["refused"]
    stored = Counter(row["event_id"] for row in rows)
    accepted: Counter[str | None] = Counter()
    confirmed: set[str | None] = set()
    refused = 0
    for result in [each for answered in answers for each in _results(answered)]:
        accepted[result.event_id] += result.status == "accepted"
        if result.status in {"accepted", "duplicate"}:
            confirmed.add(result.event_id)
        else:
            refused += 1
    assert stored == +accepted
    assert confirmed <= stored.keys()
    # Single events that are rejected are refused requests, and may be quarantined too.
    assert refused <= quarantined


def _path_and_query(request: Exchange) -> tuple[str, str]:
    path, _, query = request.path.partition("?")
    return path, query


def _repeats_header(request: Exchange) -> bool:
    """Whether a header is there twice that may occur once."""
    names = [name for name, _ in request.headers if name in _ONCE]
    return len(names) > len(set(names))


def _is_complete(request: Exchange) -> bool:
    """Whether the whole body arrives, with one length, and without waiting for permission."""
    names = {name for name, _ in request.headers}
    has_other = names & {"content-length", "transfer-encoding", "expect"}
    is_framed = request.framing in {"length", "padded length", "chunked"}
    return request.ending == "complete" and is_framed and not has_other


def _results(answered: Answered) -> list[Any]:
    if not is_ingest(_path_and_query(answered.request)[0]):
        return []
    return list(results_in(answered.status, answered.body))


def _encoded(body: bytes, request: Exchange) -> bytes:
    match request.coding:
        case "gzip":
            body = gzip.compress(body, 1, mtime=0)
        case "members":
            half = len(body) // 2
            body = gzip.compress(body[:half], 1, mtime=0) + gzip.compress(body[half:], 1, mtime=0)
        case "deflate":
            body = zlib.compress(body, 1)
        case "raw deflate":
            body = zlib.compress(body, 1)[2:-4]
    damaged = bytearray(body)
    for place, value in request.damage:
        if damaged:
            damaged[place % len(damaged)] = value
    return bytes(damaged[: request.length_max])


def _with_length(keys: Keys, request: Exchange, size: int) -> list[tuple[bytes, bytes]]:
    """Return the headers with the keys, and with those that frame the body."""
    headers = []
    for name, given in request.headers:
        value = keys.put_into(given).encode("latin-1")
        if value.startswith(b"Basic fb1_"):
            value = b"Basic " + base64.b64encode(value.removeprefix(b"Basic ") + b":")
        headers.append((name.encode("ascii"), value))
    length = size + 3 if request.framing == "wrong length" else size
    if request.framing in {"length", "both", "wrong length"}:
        headers.append((b"content-length", b"%d" % length))
    if request.framing == "padded length":
        headers.append((b"content-length", b"%030d" % length))
    if request.framing in {"chunked", "both"}:
        headers.append((b"transfer-encoding", b"chunked"))
    return headers
