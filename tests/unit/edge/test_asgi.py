"""
The ASGI application: the answer to each path, method and header.

If these tests fail: SDKs get a status or a body that they cannot handle, and drop events.
"""

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

import pytest

from service._native import Scan
from service.model import EVENT_TYPES
from service.pipeline.check import Arrival, Checked, Checker
from tests.unit.edge.client import EdgeBench

EVENT = {"event": "e", "user_id": "u", "group_id": "g", "previous_id": "p", "event_id": "a"}
PAGE = (b"origin", b"https://shop.example")


@pytest.fixture
async def bench() -> EdgeBench:
    return EdgeBench()


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("event_type", EVENT_TYPES)
async def test_each_type_of_event_has_its_path(
    bench: EdgeBench, event_type: str, slash: str
) -> None:
    answer = await bench.post(f"/v1/{event_type}{slash}", EVENT)

    assert (200, "accepted") == (answer.status, answer.content["status"])
    assert [event_type] == [json.loads(row.content)[0] for row in bench.store.events]


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/batch/"])
async def test_a_batch_has_its_path(bench: EdgeBench, path: str) -> None:
    answer = await bench.post(path, {"batch": [EVENT | {"type": "page"}]})

    assert (200, 1) == (answer.status, answer.content["accepted"])


@pytest.mark.parametrize("path", ["/v1/track", "/v1/nothing"])
async def test_a_worker_that_is_replaced_closes_each_connection_with_its_answer(
    bench: EdgeBench, path: str
) -> None:
    assert b"connection" not in (await bench.post(path, EVENT)).headers

    bench.state.is_leaving = True

    assert (await bench.post(path, EVENT)).headers[b"connection"] == b"close"


@pytest.mark.parametrize("path", ["/v1", "/v1/tracks", "/V1/track", "/v1//track", "/metrics", ""])
async def test_another_path_is_404(bench: EdgeBench, path: str) -> None:
    answer = await bench.post(path, EVENT)

    assert (404, "not_found") == (answer.status, answer.content["code"])


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/track", b"POST, OPTIONS"),
        ("HEAD", "/v1/batch", b"POST, OPTIONS"),
        ("POS", "/v1/batch", b"POST, OPTIONS"),
        ("POST", "/health", b"GET, HEAD"),
        ("DELETE", "/", b"GET, HEAD"),
    ],
)
async def test_another_method_is_405_with_the_allowed_methods(
    bench: EdgeBench, method: str, path: str, allow: bytes
) -> None:
    answer = await bench.ask(method, path)

    assert (405, allow) == (answer.status, answer.headers[b"allow"])


@pytest.mark.parametrize("path", ["/", "/health", "/health/live", "/health/ready"])
async def test_head_is_get_without_a_body(bench: EdgeBench, path: str) -> None:
    got, head = await bench.ask("GET", path), await bench.ask("HEAD", path)

    assert (200, 200, b"") == (got.status, head.status, head.body)
    assert set(got.headers) == set(head.headers)


async def test_every_answer_carries_its_request_id_and_length(bench: EdgeBench) -> None:
    answers = [
        await bench.post("/v1/page", {}),
        await bench.post("/v1/page", b"{"),
        await bench.post("/nowhere", {}),
        await bench.ask("GET", "/health"),
        await bench.ask("OPTIONS", "/v1/page"),
    ]

    ids = [b"%013d" % number for number in range(1, 6)]
    assert ids == [answer.headers[b"x-request-id"] for answer in answers]
    assert all(int(a.headers[b"content-length"]) == len(a.body) for a in answers)
    assert "0000000000002" == answers[1].content["request_id"]


async def test_pages_may_read_every_answer_including_errors(bench: EdgeBench) -> None:
    fine = await bench.post("/v1/page", {}, PAGE)
    refused = await bench.post("/v1/page", b"{", PAGE)
    nobody = await bench.ask("POST", "/v1/page", b"{}", [PAGE])

    assert [200, 400, 401] == [answer.status for answer in (fine, refused, nobody)]
    for answer in (fine, refused, nobody):
        assert b"https://shop.example" == answer.headers[b"access-control-allow-origin"]


async def test_a_request_without_an_origin_gets_no_cors_headers(bench: EdgeBench) -> None:
    answer = await bench.post("/v1/page", {})

    assert not [name for name in answer.headers if name.startswith(b"access-control")]


async def test_a_preflight_needs_no_key(bench: EdgeBench) -> None:
    answer = await bench.ask("OPTIONS", "/v1/batch", headers=[PAGE])

    assert 204 == answer.status
    assert b"https://shop.example" == answer.headers[b"access-control-allow-origin"]


async def test_a_duplicate_header_is_refused(bench: EdgeBench) -> None:
    answer = await bench.post("/v1/page", {}, (b"authorization", b"Bearer other"))

    assert (400, "authorization") == (answer.status, answer.content["field"])


@pytest.mark.parametrize("path", ["/v1/page", "/nowhere", "/health"])
async def test_an_invalid_content_length_gets_an_answer_with_a_request_id(
    bench: EdgeBench, path: str
) -> None:
    length = (b"content-length", b"0" * 4_301)

    answer = await bench.post(path, {}, length)

    assert answer.status in {400, 404, 405}
    assert b"0000000000001" == answer.headers[b"x-request-id"]
    assert "0000000000001" == answer.content["request_id"]


async def test_a_request_whose_sender_disconnected_stores_nothing(
    bench: EdgeBench,
) -> None:
    headers = [(b"x-api-key", bench.minted.text.encode()), (b"content-length", b"9")]

    answer = await bench.ask(
        "POST", "/v1/page", headers=headers, messages=[{"type": "http.disconnect"}]
    )

    assert 400 == answer.status
    assert [] == bench.store.flushes


@pytest.mark.parametrize("path", ["/v1/page", "/nowhere"])
@pytest.mark.parametrize("length", [b"9", b"%020d" % 9, b"9" * 20])
async def test_the_body_of_a_refused_request_is_read_whatever_its_length_looks_like(
    bench: EdgeBench, path: str, length: bytes
) -> None:
    """If the connection was closed with unread bytes, the client could lose the answer."""
    coming: list[MutableMapping[str, Any]] = [
        {"type": "http.request", "body": b'{"a":', "more_body": True},
        {"type": "http.request", "body": b"1}  ", "more_body": False},
    ]

    answer = await bench.ask(
        "POST", path, headers=[(b"content-length", length), (b"x-api-key", b"a")], messages=coming
    )

    assert answer.status >= 400
    assert [] == coming


class FaultyChecker(Checker):
    """Raises an exception, as a bug of the service would."""

    def check(self, scanned: Scan, arrival: Arrival) -> Checked:
        raise ValueError(scanned, arrival)


async def test_an_internal_error_is_500_without_details() -> None:
    bench = EdgeBench(FaultyChecker)

    answer = await bench.post("/v1/page", {})

    assert (500, "internal_error") == (answer.status, answer.content["code"])
    assert b"ValueError" not in answer.body


class Panic(BaseException):
    """Like a panic of the core: not an instance of Exception."""


class PanickingChecker(Checker):
    """Panics at a page event, and checks all others."""

    def check(self, scanned: Scan, arrival: Arrival) -> Checked:
        checked = super().check(scanned, arrival)
        if "page" in checked.payload.events.types:
            raise Panic
        return checked


async def test_a_panic_of_the_core_affects_only_its_request() -> None:
    bench = EdgeBench(PanickingChecker)

    answer = await bench.post("/v1/page", {}, PAGE)

    assert (500, "internal_error") == (answer.status, answer.content["code"])
    assert b"https://shop.example" == answer.headers[b"access-control-allow-origin"]
    assert 200 == (await bench.post("/v1/track", EVENT)).status


async def test_a_request_that_is_dropped_while_it_waits_is_not_answered(bench: EdgeBench) -> None:
    """The interpreter closes such coroutines when it exits."""
    await bench.post("/v1/page", EVENT)
    sent: list[object] = []

    async def never() -> MutableMapping[str, Any]:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def send(message: object) -> None:
        sent.append(message)

    headers = [(b"authorization", b"Bearer " + bench.minted.text.encode())]
    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/v1/page"}
    scope |= {"headers": headers, "client": ("127.0.0.1", "1024")}
    answering = bench.edge(scope, never, send)
    answering.send(None)
    answering.close()

    assert [] == sent
