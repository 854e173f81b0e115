"""
Accepted requests: every event type, encoding and header, and the stored rows.

If these tests fail: an analyst finds events with missing or wrong columns.
"""

import asyncio
import json
import re
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from provision.keys import NewKey, Profile
from tests.acceptance import wire
from tests.acceptance.site import Site, new_ids, track, tracks

ONE_EVENT: dict[str, dict[str, Any]] = {
    "track": {"event": "Signed Up", "userId": "u1"},
    "identify": {"userId": "u1", "traits": {"plan": "pro"}},
    "page": {"userId": "u1", "name": "Home", "category": "Docs"},
    "screen": {"anonymousId": "a1", "name": "Main"},
    "group": {"userId": "u1", "groupId": "g1", "traits": {"seats": 3}},
    "alias": {"userId": "u1", "previousId": "a1"},
}
REQUEST_ID = re.compile(r"^[0-9a-z]{13}$")
BASIC = httpx.BasicAuth


async def test_every_type_is_accepted_at_its_path_with_or_without_a_slash(shared: Site) -> None:
    key = await shared.make_key()
    async with shared.client(key) as client:
        for event_type, event in ONE_EVENT.items():
            for path in (f"/v1/{event_type}", f"/v1/{event_type}/"):
                answer = await client.post(path, json=event)
                body = answer.json()

                assert answer.status_code == 200, body
                assert answer.headers["content-type"] == "application/json"
                assert {"success", "request_id", "event_id", "status"} == set(body)
                assert (body["success"], body["status"]) == (True, "accepted")

    stored = [row["type"] for row in await shared.rows(key)]
    assert [name for name in ONE_EVENT for _ in range(2)] == stored


async def test_a_batch_is_answered_with_one_result_per_event_in_order(shared: Site) -> None:
    key = await shared.make_key()
    first, second, third, fourth = new_ids(4)
    async with shared.client(key) as client:
        await client.post("/v1/batch/", json=tracks([second]))
        other = track(third, event="Another")
        await client.post("/v1/batch", json={"batch": [other]})
        bad = track(fourth, timestamp="1969-12-31T23:59:59Z")
        batch = [track(first), track(second), track(third), bad]
        answer = await client.post("/v1/batch", json={"batch": batch})

    body = answer.json()
    messages = [result.pop("message", None) for result in body["results"]]
    assert answer.status_code == 200
    assert body == {
        "success": True,
        "request_id": answer.headers["x-request-id"],
        "accepted": 1,
        "duplicates": 1,
        "conflicts": 1,
        "rejected": 1,
        "results": [
            {"event_id": first, "status": "accepted"},
            {"event_id": second, "status": "duplicate"},
            {
                "event_id": third,
                "status": "conflict",
                "code": "content_differs",
                "field": "event_id",
            },
            {
                "event_id": fourth,
                "status": "rejected",
                "code": "invalid_timestamp",
                "field": "timestamp",
            },
        ],
    }
    assert [bool(message) for message in messages] == [False, False, True, True]
    stored = {row["event_id"]: row["event"] for row in await shared.rows(key)}
    expected = {first: "Order Completed", second: "Order Completed", third: "Another"}
    assert expected == stored
    quarantined = [(row["event_id"], row["code"]) for row in await shared.rejected(key)]
    assert [(fourth, "invalid_timestamp"), (third, "content_differs")] == sorted(
        quarantined, key=lambda item: item[1], reverse=True
    )


async def test_a_batch_of_rejected_events_is_answered_200(shared: Site) -> None:
    key = await shared.make_key()
    async with shared.client(key) as client:
        answer = await client.post("/v1/batch", json={"batch": [{"type": "track"}, 7]})

    body = answer.json()
    assert (answer.status_code, body["success"], body["rejected"]) == (200, True, 2)
    assert [result["code"] for result in body["results"]] == ["missing_field", "invalid_event"]
    assert await shared.rows(key) == []


async def test_a_rejected_event_at_its_own_path_is_answered_400(shared: Site) -> None:
    key = await shared.make_key()
    async with shared.client(key) as client:
        answer = await client.post("/v1/identify", json={"messageId": "m1", "traits": {}})

    body = answer.json()
    assert answer.status_code == 400
    assert body.pop("message")
    assert body == {
        "code": "missing_field",
        "request_id": answer.headers["x-request-id"],
        "event_id": "m1",
        "field": "user_id",
    }


def _spellings(now: datetime) -> list[dict[str, Any]]:
    times = {"timestamp": (now + timedelta(minutes=30)).isoformat()}
    sent_at = (now + timedelta(minutes=60)).isoformat()
    shared = {
        "type": "track",
        "event": "Order Completed",
        "name": "n",
        "category": "c",
        "properties": {"total": 12.50, "nested": {"list": [1, None, "ä"]}},
        "traits": {"plan": "pro"},
        "context": {"library": {"name": "test"}},
        "integrations": {"All": True},
    } | times
    camel = {"userId": "u1", "anonymousId": "a1", "groupId": "g1", "previousId": "p1"}
    snake = {"user_id": "u1", "anonymous_id": "a1", "group_id": "g1", "previous_id": "p1"}
    return [
        shared | camel | {"sentAt": sent_at, "messageId": "id-camel"},
        shared | snake | {"sent_at": sent_at, "event_id": "id-snake"},
    ]


async def test_both_spellings_are_stored_in_the_same_columns(shared: Site) -> None:
    key = await shared.make_key()
    now = datetime.now(UTC)
    async with shared.client(key) as client:
        answers = [await client.post("/v1/track", json=event) for event in _spellings(now)]

    rows = await shared.rows(key)
    for row, answer, event_id in zip(rows, answers, ["id-camel", "id-snake"], strict=True):
        # Sent an hour after the arrival: the service corrects each time by an hour.
        happened = row["received_at"] - timedelta(minutes=30)
        assert (event_id, event_id) == (row["event_id"], answer.json()["event_id"])
        assert abs(row["received_at"] - now) < timedelta(seconds=30)
        assert happened == row["timestamp"]
        assert now + timedelta(minutes=30) == row["original_timestamp"]
        assert now + timedelta(minutes=60) == row["sent_at"]
        assert answer.headers["x-request-id"] == row["request_id36"] == answer.json()["request_id"]
        columns = {
            "tenant_id": key.tenant_id,
            "workspace_id": key.workspace_id,
            "type": "track",
            "event": "Order Completed",
            "name": "n",
            "category": "c",
            "user_id": "u1",
            "anonymous_id": "a1",
            "group_id": "g1",
            "previous_id": "p1",
            "properties": {"total": 12.50, "nested": {"list": [1, None, "ä"]}},
            "traits": {"plan": "pro"},
            "context": {"library": {"name": "test"}},
            "extra": {"integrations": {"All": True}},
            "schema_version": "1.0",
        }
        assert columns == {name: row[name] for name in columns}
        assert REQUEST_ID.match(row["id36"])


async def test_sent_at_and_context_of_a_batch_apply_to_its_events(shared: Site) -> None:
    key = await shared.make_key()
    now = datetime.now(UTC)
    in_an_hour = (now + timedelta(hours=1)).isoformat()
    event = track("b1", timestamp=in_an_hour, context={"ip": "10.0.0.1"})
    envelope = {"batch": [event], "sentAt": in_an_hour, "context": {"app": "shop", "ip": "?"}}
    async with shared.client(key) as client:
        await client.post("/v1/batch", json=envelope)

    row = await shared.row(key)
    assert row["received_at"] == row["timestamp"]
    assert row["context"] == {"app": "shop", "ip": "10.0.0.1"}


async def test_an_event_without_an_id_gets_one_in_the_answer_and_in_its_row(shared: Site) -> None:
    key = await shared.make_key()
    async with shared.client(key) as client:
        answer = await client.post("/v1/track", json=track(userId="u1", messageId=""))

    row = await shared.row(key)
    assert re.fullmatch("[0-9a-z]{20}", row["event_id"])
    assert row["event_id"] == answer.json()["event_id"]
    assert row["received_at"] == row["timestamp"]


async def test_numeric_user_ids_are_stored_as_text_and_empty_ids_as_null(shared: Site) -> None:
    key = await shared.make_key()
    event = {"event": "e", "userId": 12345678901234567890, "anonymousId": None, "groupId": ""}
    async with shared.client(key) as client:
        answer = await client.post("/v1/track", json=event)

    row = await shared.row(key)
    assert answer.status_code == 200
    stored = (row["user_id"], row["anonymous_id"], row["group_id"])
    assert stored == ("12345678901234567890", None, None)


@pytest.mark.parametrize("way", ["basic", "bearer", "x-api-key", "x-write-key", "body"])
async def test_a_key_is_accepted_wherever_sdks_send_it(shared: Site, way: str) -> None:
    key = await shared.make_key()
    text = key.api_key
    headers = {
        "bearer": {"authorization": f"Bearer {text}"},
        "x-api-key": {"x-api-key": text},
        "x-write-key": {"x-write-key": text},
    }.get(way, {})
    auth = BASIC(text, "") if way == "basic" else httpx.USE_CLIENT_DEFAULT
    in_body = {"writeKey": text} if way == "body" else {}
    async with shared.client() as client:
        for path, body in (("/v1/track", track()), ("/v1/batch", tracks(new_ids(2)))):
            answer = await client.post(path, json=body | in_body, headers=headers, auth=auth)
            assert answer.status_code == 200, answer.text

    rows = await shared.rows(key)
    assert len(rows) == 3
    assert [row["extra"] for row in rows] == [None] * 3


async def test_a_chunked_gzip_body_of_type_text_with_its_key_inside_is_accepted(
    shared: Site,
) -> None:
    key = await shared.make_key(Profile.SEGMENT)
    ids = new_ids(120)
    squeeze = zlib.compressobj(wbits=31)
    body = json.dumps(tracks(ids) | {"writeKey": key.api_key}).encode()
    request = wire.post(
        "/v1/batch",
        "Content-Type: text/plain",
        "Content-Encoding: gzip",
        "Transfer-Encoding: chunked",
        sized=False,
    )
    coded = wire.chunked(squeeze.compress(body) + squeeze.flush(), size=100)
    answer = await wire.exchange(shared.service.url, request + coded)

    assert (answer.status, answer.json()["accepted"]) == (200, 120)
    assert ids == await shared.event_ids(key)


@pytest.mark.parametrize("wbits", [31, 15, -15], ids=["gzip", "deflate", "bare deflate"])
async def test_compressed_bodies_are_read(shared: Site, wbits: int) -> None:
    key = await shared.make_key()
    squeeze = zlib.compressobj(wbits=wbits)
    content = squeeze.compress(json.dumps(track("z1")).encode()) + squeeze.flush()
    headers = {"content-encoding": "gzip" if wbits == 31 else "deflate"}
    async with shared.client(key) as client:
        answer = await client.post("/v1/track", content=content, headers=headers)

    assert answer.status_code == 200, answer.text
    assert await shared.event_ids(key) == ["z1"]


async def test_every_answer_carries_its_request_id(shared: Site) -> None:
    key = await shared.make_key()
    asked: list[tuple[int, str, str, dict[str, Any]]] = [
        (200, "GET", "/", {}),
        (200, "GET", "/health", {}),
        (200, "HEAD", "/health/live", {}),
        (200, "GET", "/health/ready", {}),
        (200, "POST", "/v1/track", {"json": track(), "auth": BASIC(key.api_key, "")}),
        (204, "OPTIONS", "/v1/track", {"headers": {"origin": "https://shop.test"}}),
        (400, "POST", "/v1/track", {"content": b"{", "auth": BASIC(key.api_key, "")}),
        (400, "POST", "/v1/batch", {"json": {"batch": []}, "auth": BASIC(key.api_key, "")}),
        (401, "POST", "/v1/batch", {"json": tracks(["a"])}),
        (404, "GET", "/nothing", {}),
        (405, "GET", "/v1/batch", {}),
        (405, "POST", "/health", {}),
        (413, "POST", "/v1/batch", {"content": b" " * 600_000}),
        (415, "POST", "/v1/batch", {"content": b"{}", "headers": {"content-encoding": "zip"}}),
    ]
    seen = set()
    async with shared.client() as client:
        for status, method, path, options in asked:
            answer = await client.request(method, path, **options)
            request_id = answer.headers["x-request-id"]

            assert status == answer.status_code, (method, path, answer.text)
            assert REQUEST_ID.match(request_id), request_id
            seen.add(request_id)
            if status >= 400:
                body = answer.json()
                assert request_id == body["request_id"]
                assert all(isinstance(body[name], str) for name in ("code", "message"))
    assert len(asked) == len(seen)


async def test_a_method_that_is_not_allowed_is_answered_with_the_allowed_ones(shared: Site) -> None:
    async with shared.client() as client:
        answers = [await client.get("/v1/track"), await client.delete("/health")]

    assert [answer.json()["code"] for answer in answers] == ["method_not_allowed"] * 2
    assert [answer.headers["allow"] for answer in answers] == [
        "POST, OPTIONS",
        "GET, HEAD, OPTIONS",
    ]


@pytest.mark.parametrize("version", ["2.1", "2.1.33", "0.0"])
async def test_a_schema_version_is_kept_with_the_event(shared: Site, version: str) -> None:
    key = await shared.make_key()
    async with shared.client(key, headers={"X-Event-Schema-Version": version}) as client:
        await client.post("/v1/track", json=track())

    assert version == (await shared.row(key))["schema_version"]


@pytest.mark.parametrize("version", ["1", "v1.0", "1.0.0.0", "1.x", "-1.0", "1.0-beta", ""])
async def test_a_malformed_schema_version_is_refused(shared: Site, version: str) -> None:
    key = await shared.make_key()
    async with shared.client(key, headers={"X-Event-Schema-Version": version}) as client:
        answer = await client.post("/v1/track", json=track())

    body = answer.json()
    assert (answer.status_code, body["code"]) == (400, "invalid_schema_version")
    assert body["field"] == "X-Event-Schema-Version"
    assert await shared.rows(key) == []


PROFILES = [
    (Profile.DEFAULT, 50, 262_144),
    (Profile.SEGMENT, 2_500, 524_288),
    (Profile.RUDDERSTACK, 2_500, 4_194_304),
]
WITHOUT_KEY_BYTES_MAX = 524_288


@pytest.mark.parametrize(("profile", "events", "_size"), PROFILES)
async def test_a_batch_may_have_as_many_events_as_its_key_allows(
    shared: Site, profile: Profile, events: int, _size: int
) -> None:
    key = await shared.make_key(profile)
    ids = new_ids(events + 1)
    async with shared.client(key) as client:
        refused = await client.post("/v1/batch", json=tracks(ids))
        stored = await client.post("/v1/batch", json=tracks(ids[:-1]))

    body = refused.json()
    assert (refused.status_code, body["code"]) == (400, "batch_too_large")
    assert (events, events + 1) == (body["limit"], body["actual"])
    assert (200, events) == (stored.status_code, stored.json()["accepted"])
    assert ids[:-1] == await shared.event_ids(key)


@pytest.mark.parametrize("is_key_in_body", [False, True])
@pytest.mark.parametrize(("profile", "_events", "size"), PROFILES)
async def test_a_body_may_be_as_large_as_its_key_allows(
    shared: Site, profile: Profile, _events: int, size: int, *, is_key_in_body: bool
) -> None:
    key = await shared.make_key(profile)
    if is_key_in_body:
        size = min(size, WITHOUT_KEY_BYTES_MAX)
    envelope = tracks(["large"]) | ({"writeKey": key.api_key} if is_key_in_body else {})
    fitting = json.dumps(envelope).encode().ljust(size)
    async with shared.client(None if is_key_in_body else key) as client:
        refused = await client.post("/v1/batch", content=fitting + b" ")
        stored = await client.post("/v1/batch", content=fitting)

    body = refused.json()
    assert (refused.status_code, body["code"]) == (413, "payload_too_large")
    assert (size, size + 1) == (body["limit"], body["actual"])
    assert stored.status_code == 200, stored.text
    assert await shared.event_ids(key) == ["large"]


async def test_an_empty_batch_is_refused(shared: Site) -> None:
    key = await shared.make_key()
    async with shared.client(key) as client:
        answer = await client.post("/v1/batch", json={"batch": []})

    assert (answer.status_code, answer.json()["code"]) == (400, "batch_empty")


async def test_the_row_is_visible_to_other_sessions_when_the_answer_arrives(shared: Site) -> None:
    """Another session queries the row right after each answer, under concurrent load."""
    key = await shared.make_key()
    query = "SELECT count(*) FROM events WHERE tenant_id = $1 AND event_id = $2"

    async def send_and_look(client: httpx.AsyncClient) -> None:
        async with shared.database() as other:
            for event_id in new_ids(15):
                answer = await client.post("/v1/track", json=track(event_id))
                assert answer.json()["status"] == "accepted"
                assert await other.fetchval(query, key.tenant_id, event_id) == 1

    async with shared.client(key) as client:
        await asyncio.gather(*(send_and_look(client) for _ in range(8)))


async def test_two_tenants_can_use_the_same_event_id(shared: Site) -> None:
    keys: list[NewKey] = [await shared.make_key() for _ in range(2)]
    for key in keys:
        async with shared.client(key) as client:
            answer = await client.post("/v1/track", json=track("same"))
            assert answer.json()["status"] == "accepted"

    assert [await shared.event_ids(key) for key in keys] == [["same"], ["same"]]
