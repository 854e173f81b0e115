"""
What every deployment must do, judged by its answers alone.

`make e2e URL=… KEY=…` runs these tests against a deployment; otherwise they start a service.
They do not read the database: an event that is sent again is a duplicate if it was stored, and a
conflict if it was changed.

If these tests fail: a deployment answers senders differently from what the documentation says.
"""

import asyncio
import gzip
import json
import os
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import httpx
import pytest
from segment.analytics import Client

from service import apikey
from tests.acceptance.node.application import Call, application
from tests.acceptance.site import TIMEOUT_S, Site, new_ids, track, tracks
from tests.acceptance.test_bad_input import BAD_EVENTS, MALFORMED, Bad
from tests.acceptance.test_ingestion import ONE_EVENT, REQUEST_ID

# More than a key may be allowed to send at once, by any setting.
TOO_MANY: Final = 10_001
TOO_LARGE_BYTES: Final = 600_000
AT_ONCE: Final = 60
SDK_EVENTS: Final = 130


class Deployment(NamedTuple):
    """What a sender knows of a service."""

    url: str
    key: str

    def __repr__(self) -> str:
        # A failure must not print the key.
        return f"Deployment({self.url})"

    def client(self, **options: Any) -> httpx.AsyncClient:
        """Return a client that sends the key, unless *options* say otherwise."""
        usual: dict[str, Any] = {
            "auth": (self.key, ""),
            "timeout": TIMEOUT_S,
            "verify": self.url.startswith("https:"),
        }
        return httpx.AsyncClient(base_url=self.url, **(usual | options))


@pytest.fixture
def deployment(request: pytest.FixtureRequest) -> Deployment:
    """Return the one that is given, or our own with a new key."""
    url = os.environ.get("E2E_URL")
    if url is not None:
        return Deployment(url.rstrip("/"), os.environ["E2E_KEY"])
    site: Site = request.getfixturevalue("shared")
    return Deployment(site.service.url, asyncio.run(site.make_key()).api_key)


@pytest.fixture
async def client(deployment: Deployment) -> AsyncIterator[httpx.AsyncClient]:
    async with deployment.client() as client:
        yield client


async def test_the_service_is_ready_and_reports_its_version(client: httpx.AsyncClient) -> None:
    answers = [await client.get(path) for path in ("/", "/health", "/health/live", "/health/ready")]

    assert [200] * 4 == [answer.status_code for answer in answers]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 4


@pytest.mark.parametrize("event_type", ONE_EVENT)
async def test_an_event_is_stored_once_and_its_first_content_kept(
    client: httpx.AsyncClient, event_type: str
) -> None:
    (event_id,) = new_ids(1)
    event = ONE_EVENT[event_type] | {"messageId": event_id}
    changed = event | {"context": {"changed": True}}
    answers = [
        await client.post(path, json=body)
        for path, body in (
            (f"/v1/{event_type}", event),
            (f"/v1/{event_type}/", event),
            (f"/v1/{event_type}", changed),
            ("/v1/batch", {"batch": [event | {"type": event_type}]}),
        )
    ]

    assert [200] * 4 == [answer.status_code for answer in answers]
    single = [answer.json() for answer in answers[:-1]]
    assert ["accepted", "duplicate", "conflict"] == [body["status"] for body in single]
    assert [event_id] * 3 == [body["event_id"] for body in single]
    assert answers[-1].json()["duplicates"] == 1
    for answer in answers:
        assert answer.headers["x-request-id"] == answer.json()["request_id"]
        assert REQUEST_ID.match(answer.json()["request_id"])


async def test_a_batch_gets_one_result_per_event_in_order(client: httpx.AsyncClient) -> None:
    first, second, third, fourth = new_ids(4)
    await client.post("/v1/batch", json=tracks([second, third]))
    events = [
        track(first),
        track(second),
        track(third, event="Another"),
        track(fourth, timestamp="yesterday"),
        track(first),
    ]
    answer = await client.post("/v1/batch", json={"batch": events})

    body = answer.json()
    assert (answer.status_code, body["success"]) == (200, True)
    expected = ["accepted", "duplicate", "conflict", "rejected", "duplicate"]
    assert expected == [result["status"] for result in body["results"]]
    assert [first, second, third, fourth, first] == [r["event_id"] for r in body["results"]]
    counts = {name: body[name] for name in ("accepted", "duplicates", "conflicts", "rejected")}
    assert counts == {"accepted": 1, "duplicates": 2, "conflicts": 1, "rejected": 1}


@pytest.mark.parametrize("bad", BAD_EVENTS, ids=[bad.name for bad in BAD_EVENTS])
async def test_a_bad_event_affects_no_other_event(client: httpx.AsyncClient, bad: Bad) -> None:
    ids = new_ids(9)
    events = [json.dumps(track(event_id)) for event_id in ids]
    events.insert(4, bad.event)
    answer = await client.post("/v1/batch", content=f'{{"batch":[{",".join(events)}]}}')
    again = await client.post("/v1/batch", json=tracks(ids))

    result = answer.json()["results"].pop(4)
    assert (bad.code, bad.field) == (result["code"], result.get("field"))
    assert (9, 1) == (answer.json()["accepted"], answer.json()["rejected"])
    assert again.json()["duplicates"] == 9


async def test_the_same_event_many_times_at_once_is_accepted_once(
    deployment: Deployment,
) -> None:
    batch = tracks(new_ids(5))
    async with deployment.client(limits=httpx.Limits(max_connections=20)) as client:
        sending = [client.post("/v1/batch", json=batch) for _ in range(AT_ONCE)]
        answers = await asyncio.gather(*sending)

    assert {200} == {answer.status_code for answer in answers}
    outcomes = Counter(r["status"] for answer in answers for r in answer.json()["results"])
    assert {"accepted": 5, "duplicate": 5 * (AT_ONCE - 1)} == outcomes


async def test_a_batch_holds_as_many_events_as_the_refusal_of_a_larger_one_says(
    client: httpx.AsyncClient,
) -> None:
    refused = await client.post("/v1/batch", json={"batch": [0] * TOO_MANY})
    error = refused.json()
    assert (400, "batch_too_large") == (refused.status_code, error["code"])
    ids = new_ids(error["limit"])
    answer = await client.post("/v1/batch", json=tracks(ids))
    again = await client.post("/v1/batch", json=tracks(ids))

    assert answer.json()["accepted"] == error["limit"]
    assert again.json()["duplicates"] == error["limit"]


@pytest.mark.parametrize("way", ["authorization", "x-api-key", "x-write-key", "body"])
async def test_a_key_is_accepted_wherever_sdks_send_it(deployment: Deployment, way: str) -> None:
    value = f"Bearer {deployment.key}" if way == "authorization" else deployment.key
    headers = {} if way == "body" else {way: value}
    body = tracks(new_ids(2)) | ({"writeKey": deployment.key} if way == "body" else {})
    async with deployment.client(auth=None) as client:
        answer = await client.post("/v1/batch", json=body, headers=headers)

    assert (200, 2) == (answer.status_code, answer.json()["accepted"])


async def test_a_request_without_a_good_key_is_unauthorized(deployment: Deployment) -> None:
    stranger = apikey.mint().text
    wrong_secret = f"{deployment.key[:17]}{stranger[17:]}"
    for text in ("", "nobody", stranger, wrong_secret, deployment.key[:-1]):
        async with deployment.client(auth=(text, "")) as client:
            answer = await client.post("/v1/batch", json=tracks(new_ids(1)))
        assert (401, "unauthorized") == (answer.status_code, answer.json()["code"])


@pytest.mark.parametrize(
    ("encoding", "content"),
    [("gzip", gzip.compress), ("deflate", zlib.compress)],
)
async def test_compressed_bodies_are_read(
    client: httpx.AsyncClient, encoding: str, content: Any
) -> None:
    batch = tracks(new_ids(10))
    packed = content(json.dumps(batch).encode())
    headers = {"content-encoding": encoding, "content-type": "text/plain"}
    answer = await client.post("/v1/batch", content=packed, headers=headers)
    again = await client.post("/v1/batch", json=batch)

    assert (10, 10) == (answer.json()["accepted"], again.json()["duplicates"])


@pytest.mark.parametrize(("body", "offset"), MALFORMED)
async def test_a_body_that_is_not_json_is_refused_with_the_place(
    client: httpx.AsyncClient, body: bytes, offset: int
) -> None:
    answer = await client.post("/v1/batch", content=body)

    error = answer.json()
    assert (400, "malformed_json") == (answer.status_code, error["code"])
    assert offset == error["offset"]


async def test_a_request_that_cannot_be_taken_is_refused_with_its_reason(
    client: httpx.AsyncClient,
) -> None:
    asked: list[tuple[int, str, str, str, dict[str, Any]]] = [
        (400, "batch_empty", "POST", "/v1/batch", {"json": {"batch": []}}),
        (400, "missing_field", "POST", "/v1/identify", {"json": {"traits": {}}}),
        (404, "not_found", "POST", "/v1/nothing", {"json": track()}),
        (405, "method_not_allowed", "GET", "/v1/batch", {}),
        (413, "payload_too_large", "POST", "/v1/batch", {"content": bytes(TOO_LARGE_BYTES)}),
        (
            *(415, "unsupported_encoding", "POST", "/v1/track"),
            {"json": track(), "headers": {"content-encoding": "zip"}},
        ),
        (
            *(400, "invalid_schema_version", "POST", "/v1/track"),
            {"json": track(), "headers": {"x-event-schema-version": "one"}},
        ),
    ]
    for status, code, method, path, options in asked:
        answer = await client.request(method, path, **options)
        error = answer.json()
        assert (status, code) == (answer.status_code, error["code"]), path
        assert error["message"]
        assert answer.headers["x-request-id"] == error["request_id"]


async def test_a_browser_may_send_from_another_origin(client: httpx.AsyncClient) -> None:
    headers = {"origin": "https://shop.test", "access-control-request-method": "POST"}
    answer = await client.options("/v1/batch", headers=headers)

    assert answer.status_code < 300
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()


async def test_a_tenant_or_workspace_named_in_a_body_is_ignored(client: httpx.AsyncClient) -> None:
    said = {"tenant_id": 1, "workspace_id": 1, "received_at": "2001-01-01T00:00:00Z", "id": 1}
    (event_id,) = new_ids(1)
    event = track(event_id, **said)
    answers = [await client.post("/v1/track", json=event | {"type": "track"}) for _ in range(2)]

    assert ["accepted", "duplicate"] == [answer.json()["status"] for answer in answers]


async def _check_stored(client: httpx.AsyncClient, event_ids: list[str]) -> None:
    """An id that can be used anew was never stored: these cannot."""
    assert len(event_ids) == len(set(event_ids)) > 0
    for start in range(0, len(event_ids), 25):
        ids = event_ids[start : start + 25]
        answer = await client.post("/v1/batch", json=tracks(ids))
        codes = [result.get("code") for result in answer.json()["results"]]
        assert ["content_differs"] * len(ids) == codes


async def test_every_event_of_segments_sdk_for_python_is_stored(
    deployment: Deployment, client: httpx.AsyncClient
) -> None:
    ids, faults = new_ids(SDK_EVENTS), list[Exception]()

    def send() -> None:
        sdk = Client(
            deployment.key,
            host=deployment.url,
            upload_size=25,
            on_error=lambda error, _batch: faults.append(error),
        )
        sdk.identify("u1", {"plan": "pro"}, message_id=ids[0])
        sdk.page("u1", "Docs", "Home", message_id=ids[1])
        sdk.group("u1", "g1", {"seats": 3}, message_id=ids[2])
        sdk.alias("a1", "u1", message_id=ids[3])
        sdk.screen("u1", "Docs", "Main", message_id=ids[4])
        for number, event_id in enumerate(ids[5:]):
            happened = datetime.now(UTC)
            properties = {"number": number, "nested": {"list": [1, "ä"]}}
            sdk.track("u1", "Counted", properties, timestamp=happened, message_id=event_id)
        sdk.shutdown()

    await asyncio.to_thread(send)
    assert faults == []
    await _check_stored(client, ids)


async def test_every_event_of_segments_sdk_for_node_is_stored(
    deployment: Deployment, client: httpx.AsyncClient
) -> None:
    calls: list[Call] = [
        {"method": "identify", "userId": "u1", "traits": {"plan": "pro"}},
        {"method": "page", "userId": "u1", "name": "Home", "category": "Docs"},
        {"method": "screen", "anonymousId": "a1", "name": "Main"},
        {"method": "group", "userId": "u1", "groupId": "g1", "traits": {"seats": 3}},
        {"method": "alias", "userId": "u1", "previousId": "a1"},
    ]
    while len(calls) < SDK_EVENTS:
        properties = {"number": len(calls), "nested": {"list": [1, "ä"]}}
        calls.append({"method": "track", "userId": "u1", "event": "e", "properties": properties})
    async with application(deployment.url, deployment.key, calls) as app:
        events = await app.delivered()

    assert {200} == set(app.statuses)
    assert len(calls) == len(events)
    await _check_stored(client, [event["messageId"] for event in events])
