"""
The documents that browser SDKs load, and the metrics that Segment's SDK sends.

If these tests fail: a page with an SDK sends no event, or anybody can use memory of the service.
"""

from typing import Any

import pytest

from service.apikey import mint
from service.edge.sdk_documents import CLIENT_METRICS_BYTES_MAX
from service.edge.unauthorized import UnauthorizedLimits
from tests.unit.edge.client import Answer, EdgeBench

HOST = (b"host", b"events.example:8000")


@pytest.fixture
async def bench() -> EdgeBench:
    return EdgeBench()


async def load_both(bench: EdgeBench, text: str) -> list[Answer]:
    return [
        await bench.ask("GET", f"/v1/projects/{text}/settings", headers=[HOST]),
        await bench.ask("GET", f"/sourceConfig/?p=npm&writeKey={text}", headers=[HOST]),
    ]


@pytest.mark.parametrize("end", ["", "/"])
@pytest.mark.parametrize("rest", ["", ":secret"])
async def test_settings_name_the_place_to_send_to(bench: EdgeBench, rest: str, end: str) -> None:
    text = bench.minted.text

    answer = await bench.ask("GET", f"/v1/projects/{text}{rest}/settings{end}", headers=[HOST])

    segment = {"apiKey": text, "apiHost": "events.example:8000/v1", "protocol": "http"}
    assert 200 == answer.status
    assert {"Segment.io": segment} == answer.content["integrations"]
    assert {"sampleRate": 0} == answer.content["metrics"]
    assert b"no-store" == answer.headers[b"cache-control"]


@pytest.mark.parametrize("path", ["/sourceConfig", "/sourceConfig/"])
async def test_a_source_config_has_what_the_sdk_requires(bench: EdgeBench, path: str) -> None:
    key = (b"authorization", b"Bearer " + bench.minted.text.encode())

    answers = [
        await bench.ask("GET", path, headers=[key]),
        await bench.ask("GET", f"{path}?a=b&writeKey={bench.minted.text}"),
        # Of two keys, the one in the header counts.
        await bench.ask("GET", f"{path}?writeKey=other", headers=[key]),
    ]

    for answer in answers:
        assert 200 == answer.status
        source: dict[str, Any] = answer.content["source"]
        assert bench.minted.text == source["writeKey"]
        assert (True, [], [], {}) == tuple(
            source[name] for name in ("enabled", "connections", "destinations", "dataplanes")
        )
        off = {"enabled": False}
        assert {"statsCollection": {"errors": off, "metrics": off}} == source["config"]
        assert all(isinstance(source[name], str) for name in ("id", "name", "workspaceId"))
        assert isinstance(answer.content["updatedAt"], str)


async def test_a_wrong_key_gets_no_document(bench: EdgeBench) -> None:
    """The SDK then shows the message in the console of the browser."""
    for text in (mint().text, "fb1_wrong", bench.minted.text[:-1], "%00", "é"):
        for answer in await load_both(bench, text):
            assert (401, "unauthorized") == (answer.status, answer.content["code"])
    assert 401 == (await bench.ask("GET", "/sourceConfig/", headers=[HOST])).status


async def test_answers_to_wrong_keys_are_delayed_as_those_to_events() -> None:
    limits = UnauthorizedLimits(per_second=1, delay_max_s=0.01, delayed_max=9)
    bench = EdgeBench(unauthorized=limits)

    for _ in range(2):
        await load_both(bench, "fb1_wrong")

    assert 2 == bench.delayed


async def test_a_key_that_cannot_be_looked_up_gets_its_document(bench: EdgeBench) -> None:
    """Without it a page would lose its events, and with it the SDK sends them again later."""
    bench.table.error = OSError("away")

    for answer in await load_both(bench, bench.minted.text):
        assert (200, True) == (answer.status, bench.minted.text in answer.body.decode())
    for answer in await load_both(bench, "fb1_wrong"):
        assert 401 == answer.status


async def test_settings_for_a_request_without_a_host_are_refused(bench: EdgeBench) -> None:
    answer = await bench.ask("GET", f"/v1/projects/{bench.minted.text}/settings")

    assert (400, "host") == (answer.status, answer.content["field"])
    assert bench.minted.text not in answer.body.decode()


async def test_metrics_of_the_sdk_are_dropped_without_a_key(bench: EdgeBench) -> None:
    body = b'{"series":[{"type":"Counter","metric":"analytics_js.invoke","value":1}]}'

    for content in (body, b"", b"anything", body.ljust(CLIENT_METRICS_BYTES_MAX)):
        answer = await bench.ask("POST", "/v1/m", content)
        assert (200, {"success": True}) == (answer.status, answer.content)
    assert [] == bench.store.flushes


async def test_large_metrics_of_the_sdk_are_refused(bench: EdgeBench) -> None:
    size = CLIENT_METRICS_BYTES_MAX + 1

    chunked = await bench.ask("POST", "/v1/m", b"x" * size)
    sized = await bench.ask("POST", "/v1/m", headers=[(b"content-length", b"%d" % size)])

    for answer in (chunked, sized):
        assert (413, CLIENT_METRICS_BYTES_MAX) == (answer.status, answer.content["limit"])
    assert 0 == bench.bodies.held_bytes
