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


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("start", ["/v1/{0[0]}", "/api/s/{0}", "/api/s/s2s/{0}"])
@pytest.mark.parametrize("event_type", EVENT_TYPES)
async def test_each_type_of_event_has_the_paths_of_browser_sdks(
    bench: EdgeBench, event_type: str, start: str, slash: str
) -> None:
    answer = await bench.post(start.format(event_type) + slash, EVENT | {"type": event_type})

    assert (200, "accepted") == (answer.status, answer.content["status"])
    assert [event_type] == [json.loads(row.content)[0] for row in bench.store.events]


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("path", ["/v1/batch", "/v1/import", "/v1/b", "/beacon/v1/batch"])
async def test_a_batch_has_its_paths(bench: EdgeBench, path: str, slash: str) -> None:
    answer = await bench.post(path + slash, {"batch": [EVENT | {"type": "page"}]})

    assert (200, 1) == (answer.status, answer.content["accepted"])


async def test_a_beacon_has_its_key_in_the_query(bench: EdgeBench) -> None:
    path, body = "/beacon/v1/batch?writeKey=", json.dumps({"batch": [EVENT | {"type": "page"}]})
    key, other = bench.minted.text, (b"x-api-key", b"fb1_wrong")

    async def status(query: str, *headers: tuple[bytes, bytes]) -> int:
        return (await bench.ask("POST", path + query, body.encode(), [*headers])).status

    assert [200, 200] == [await status(key), await status(f"{key}%3Ax&a=b")]
    # A key in a header counts first, and there is no other key in the first two.
    assert [401, 401, 401] == [await status(""), await status("a"), await status(key, other)]
    assert 400 == await status(f"{key}&writeKey=other")


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
        ("POST", "/health", b"GET, HEAD, OPTIONS"),
        ("DELETE", "/", b"GET, HEAD, OPTIONS"),
        ("POST", "/v1/projects/a/settings", b"GET, HEAD, OPTIONS"),
        ("PUT", "/sourceConfig/", b"GET, HEAD, OPTIONS"),
        ("GET", "/v1/m", b"POST, OPTIONS"),
        ("GET", "/v1/t", b"POST, OPTIONS"),
        ("GET", "/beacon/v1/batch", b"POST, OPTIONS"),
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
    others = [
        await bench.ask("GET", "/nowhere", headers=[PAGE]),
        await bench.ask("GET", "/v1/page", headers=[PAGE]),
        await bench.ask("GET", "/health", headers=[PAGE]),
        await bench.ask("GET", "/sourceConfig/", headers=[PAGE]),
        await bench.ask("POST", "/v1/m", headers=[PAGE]),
    ]
    answers = [fine, refused, nobody, *others]

    assert [200, 400, 401, 404, 405, 200, 401, 200] == [answer.status for answer in answers]
    for answer in answers:
        assert b"Retry-After, X-Request-Id" == answer.headers[b"access-control-expose-headers"]
        assert b"https://shop.example" == answer.headers[b"access-control-allow-origin"]


async def test_a_request_without_an_origin_gets_no_cors_headers(bench: EdgeBench) -> None:
    answer = await bench.post("/v1/page", {})

    assert not [name for name in answer.headers if name.startswith(b"access-control")]


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/batch", b"POST, OPTIONS"),
        ("/v1/t", b"POST, OPTIONS"),
        ("/v1/m", b"POST, OPTIONS"),
        ("/v1/projects/a/settings", b"GET, HEAD, OPTIONS"),
        ("/sourceConfig/?writeKey=a", b"GET, HEAD, OPTIONS"),
        ("/health", b"GET, HEAD, OPTIONS"),
        ("/", b"GET, HEAD, OPTIONS"),
        ("/nowhere", b"GET, HEAD, POST, OPTIONS"),
    ],
)
async def test_a_preflight_needs_no_key_and_no_path(
    bench: EdgeBench, path: str, methods: bytes
) -> None:
    """If the preflight of an unknown path was refused, the page would not see the 404 either."""
    asked = (b"access-control-request-method", b"POST")

    answer = await bench.ask("OPTIONS", path, headers=[PAGE, asked])

    assert (204, methods) == (answer.status, answer.headers[b"access-control-allow-methods"])
    assert b"https://shop.example" == answer.headers[b"access-control-allow-origin"]


async def test_options_that_is_no_preflight_says_whether_there_is_a_path(bench: EdgeBench) -> None:
    assert 204 == (await bench.ask("OPTIONS", "/v1/batch")).status
    assert 404 == (await bench.ask("OPTIONS", "/nowhere")).status


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
