"""
Health reports, log lines and metrics. No key and no payload is logged.

If these tests fail: health reports, log or metrics do not show an operator a problem, or the log
contains an API key or personal data.
"""

import base64
import json
import secrets
from collections import Counter
from typing import Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from provision.keys import NewKey
from service import apikey
from service.store.ledger import SINGLE_STATEMENT_ROWS_MAX
from tests.acceptance import wire
from tests.acceptance.conftest import StartSite
from tests.acceptance.running import LogLine, until
from tests.acceptance.site import Site, new_ids, track, tracks

TRACEPARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
Samples = Counter[tuple[str, ...]]


async def test_health_reports_the_worker_and_its_database(shared: Site) -> None:
    async with shared.client_of_each_worker() as clients:
        reports = [(await c.get("/health")).json() for c in clients.values()]

    for report in reports:
        # It is public: nothing about processes, connections or addresses.
        members = {"status", "version", "uptime_s", "database", "quarantine", "background"}
        assert members == set(report)
        assert {"status", "latency_ms"} == set(report["database"])
        assert {"status": "ok"} == report["quarantine"]
        assert {"status": "running"} == report["background"]["key_changes"]
        assert report["status"] == report["database"]["status"] == "ok"
        assert report["version"]
        assert report["uptime_s"] > 0
        assert 0 < report["database"]["latency_ms"] < 1000


async def _line_of(site: Site, answer: httpx.Response) -> LogLine:
    """Return the only log line of the answered request."""
    request_id = answer.headers["x-request-id"]

    async def lines() -> list[LogLine]:
        return [
            line for line in site.service.log_lines("request") if line["request_id"] == request_id
        ]

    (line,) = await until(lines, 5, "the request is logged")
    return line


async def test_a_request_is_one_log_line_with_every_field(shared: Site) -> None:
    key = await shared.make_key()
    first, second = new_ids(2)
    batch = [
        track(first),
        {"type": "page", "userId": "u", "messageId": second},
        track(first),
        track(first, event="other"),
        {"type": "track"},
    ]
    body = json.dumps({"batch": batch}).encode()
    headers = {"traceparent": TRACEPARENT, "x-event-schema-version": "2.1"}
    async with shared.client(key, headers=headers) as client:
        line = await _line_of(shared, await client.post("/v1/batch", content=body))

    assert line.pop("duration_ms") > 0
    assert line.pop("timestamp").endswith("Z")
    assert line.pop("request_id")
    assert line == {
        "event": "request",
        "level": "info",
        "method": "POST",
        "endpoint": "batch",
        "status": 200,
        "tenant_id": key.tenant_id,
        "workspace_id": key.workspace_id,
        "key_id": key.key_id,
        "schema_version": "2.1",
        "traceparent": TRACEPARENT,
        "types": {"track": 3, "page": 1},
        "size_bytes": len(body),
        "accepted": 2,
        "duplicates": 1,
        "conflicts": 1,
        "rejected": 1,
    }


async def test_the_log_line_of_a_refused_request_has_its_code(shared: Site) -> None:
    key = await shared.make_key()
    async with shared.client(key) as client:
        answers = [
            await client.post("/v1/batch", content=b"{"),
            await client.post("/v1/track", json={}),
            await client.post("/v1/track", json=track(), headers={"x-event-schema-version": "x"}),
            await client.get("/nowhere"),
        ]
    lines = [await _line_of(shared, answer) for answer in answers]

    expected = ["malformed_json", "missing_field", "invalid_schema_version", "not_found"]
    assert expected == [line["code"] for line in lines]
    assert [400, 400, 400, 404] == [line["status"] for line in lines]


async def _say_everything_everywhere(site: Site, key: NewKey, canary: str) -> None:
    """Send the key and a marker text in every place where a client might put them by mistake."""
    text = key.api_key
    event = {"event": canary, "userId": canary, "properties": {canary: canary}, "type": "track"}
    bodies = [
        json.dumps(event | {"messageId": canary}),
        json.dumps(event | {"messageId": canary, "name": canary}),
        json.dumps(event | {"timestamp": canary}),
        json.dumps(event | {"type": canary, "writeKey": text}),
        json.dumps(event | {"messageId": f"{canary}\0"}),
        json.dumps({"batch": [event, {canary: canary}, canary], "writeKey": text}),
        json.dumps(event)[:-1],
        canary,
        text,
        f'{{"{canary}":NaN,"{text}":1}}',
    ]
    places = [
        {"authorization": f"Bearer {text}"},
        {"authorization": text},
        {"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"},
        {"x-api-key": text, "traceparent": text, "user-agent": text, "x-request-id": text},
        {"x-write-key": text, "x-event-schema-version": text, "origin": f"https://{text}"},
        {"x-api-key": text, "content-encoding": text, "cookie": text},
        {"x-api-key": text, "content-encoding": "gzip", "traceparent": canary},
        {"x-api-key": apikey.mint().text, "content-type": text},
    ]
    async with site.client() as client:
        for headers in places:
            for content in bodies:
                for path in ("/v1/track", "/v1/batch", f"/v1/{text}", f"/v1/track?writeKey={text}"):
                    await client.post(path, content=content, headers=headers)
        await client.request(text.replace("_", ""), "/v1/track")
        await client.request(canary.upper(), f"/{canary}?{canary}")
    for request in (
        wire.post(f"/{text}", f"{text.replace('_', '-')}: {canary}"),
        wire.post(f"/v1/track\x7f{canary}", "X-API-Key: a\x01b"),
        wire.post("/v1/track", f"Content-Length: {canary}", sized=False),
        f"{text} {canary}\r\n\r\n".encode(),
    ):
        connection = await wire.connect(site.service.url)
        await connection.send(request)
        await connection.answer()
        connection.close()


async def test_no_key_and_no_payload_is_ever_logged(start_site: StartSite) -> None:
    site = await start_site(
        workers="1", log_level="debug", payload_events_max=str(SINGLE_STATEMENT_ROWS_MAX + 5)
    )
    key = await site.make_key()
    canary = f"canary{secrets.token_hex(8)}"
    await _say_everything_everywhere(site, key, canary)
    # PostgreSQL quotes a refused row in its error.
    async with site.database() as connection:
        await connection.execute("ALTER TABLE events ADD CHECK (event NOT LIKE 'poison%')")
    async with site.client(key) as client:
        for size in (1, SINGLE_STATEMENT_ROWS_MAX + 5):
            batch = [track(one, event=f"poison {canary}") for one in new_ids(size)]
            answer = await client.post("/v1/batch", json={"batch": batch})
            assert answer.json()["rejected"] == size
        async with site.database() as connection:
            await connection.execute("ALTER TABLE events RENAME TO elsewhere")
        answer = await client.post("/v1/track", json=track(event=canary))
        assert answer.status_code == 503
    assert await site.service.stop() == 0

    said = site.service.log + site.service.complaints
    secret = key.api_key.rpartition("_")[2]
    assert len(site.service.log_lines("request")) > 300
    for hidden in (key.api_key, secret, secret.upper(), canary, canary.upper(), "postgresql://"):
        assert hidden not in said
    assert key.key_id in said


async def _samples(site: Site) -> Samples:
    """Return the counters by name and labels."""
    async with httpx.AsyncClient(verify=False) as client:
        text = (await client.get(site.service.metrics_url)).text
    found: Samples = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sorted(f"{name}={value}" for name, value in sample.labels.items())
            found[sample.name, *labels] += int(sample.value) if sample.value < 1e15 else 0
    return found


async def test_metrics_count_events_by_outcome_over_every_worker(site: Site) -> None:
    key = await site.make_key()
    (same,) = new_ids(1)
    async with site.client_of_each_worker(key) as clients:
        for client in clients.values():
            await client.post("/v1/batch", json=tracks(new_ids(3)))
            await client.post("/v1/track", json=track(same))
            await client.post("/v1/track", json=track(same, event="other"))
            await client.post("/v1/track", json={})
            await client.get("/nowhere")
    found = await _samples(site)

    outcomes = ("accepted", "duplicate", "conflict", "rejected")
    counts = [found["forebay_events_total", f"outcome={outcome}"] for outcome in outcomes]
    # The second worker receives the events that the first one stored.
    assert counts == [3 + 1 + 3, 1, 2, 2]
    requests = "forebay_request_duration_seconds_count"
    assert found[requests, "endpoint=batch", "status=200"] == 2
    assert found[requests, "endpoint=track", "status=200"] == 4
    assert found[requests, "endpoint=track", "status=400"] == 2
    assert found[requests, "endpoint=unknown", "status=404"] == 2
    assert (f"{requests[:-5]}bucket", "endpoint=batch", "le=+Inf", "status=200") in found
    assert found["forebay_flush_duration_seconds_count",] >= 6
    assert found["forebay_flush_rows_count",] >= 6


@pytest.mark.parametrize("path", ["/metrics", "/metrics/"])
async def test_the_public_port_has_no_metrics(shared: Site, path: str) -> None:
    async with shared.client() as client:
        assert (await client.get(path)).status_code == 404


async def test_the_index_lists_the_paths(shared: Site) -> None:
    async with shared.client() as client:
        answer = await client.get("/")

    assert answer.status_code == 200
    assert {"/v1/track", "/v1/identify", "/v1/batch"} <= set(answer.json()["send"])
