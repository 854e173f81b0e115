"""
Invalid requests and events: the status, code and field of each answer.

If these tests fail: one invalid event makes a sender lose its valid events, or the answer does not
name the error.
"""

import asyncio
import base64
import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import httpx
import pytest

from service import apikey
from tests.acceptance import wire
from tests.acceptance.conftest import StartSite
from tests.acceptance.site import Site, new_ids, track, tracks

EVENTS: Final = 50


class Bad(NamedTuple):
    """An invalid event as text, because no encoder writes some of them, and the expected error."""

    name: str
    event: str
    code: str
    field: str | None


def _with(member: str, base: str = '"type":"track","event":"e","user_id":"u"') -> str:
    return f"{{{base},{member}}}"


def _at(timestamp: str) -> str:
    return _with(f'"timestamp":"{timestamp}"')


def _ahead(hours: int) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


DEEP: Final = "[" * 64 + "]" * 64
BAD_EVENTS: Final = [
    Bad("no object", "7", "invalid_event", None),
    Bad("null", "null", "invalid_event", None),
    Bad("no type", '{"event":"e"}', "missing_field", "type"),
    Bad("unknown type", '{"type":"click","event":"e"}', "invalid_type", "type"),
    Bad("track without event", '{"type":"track","user_id":"u"}', "missing_field", "event"),
    Bad("identify without ids", '{"type":"identify"}', "missing_field", "user_id"),
    Bad("group without id", '{"type":"group","userId":"u"}', "missing_field", "group_id"),
    Bad("alias without user", '{"type":"alias","previousId":"p"}', "missing_field", "user_id"),
    Bad("event is a number", '{"type":"track","event":7}', "invalid_field", "event"),
    Bad("properties is a list", _with('"properties":[]'), "invalid_field", "properties"),
    Bad("traits is text", _with('"traits":"t"'), "invalid_field", "traits"),
    Bad("user id is an object", _with('"userId":{}'), "invalid_field", "userId"),
    Bad("user id is true", '{"type":"page","user_id":true}', "invalid_field", "user_id"),
    Bad("long id", _with(f'"messageId":"{"x" * 201}"'), "invalid_event_id", "messageId"),
    Bad("long id in bytes", _with(f'"event_id":"{"é" * 101}"'), "invalid_event_id", "event_id"),
    Bad("control in id", _with(r'"event_id":"a\u0007b"'), "invalid_event_id", "event_id"),
    Bad("NUL", _with(r'"properties":{"a":"x\u0000y"}'), "invalid_text", "properties"),
    Bad("NUL in a name", _with(r'"properties":{"a\u0000":1}'), "invalid_text", "properties"),
    Bad("NUL in the event", r'{"type":"track","event":"\u0000"}', "invalid_text", "event"),
    Bad("high surrogate", _with(r'"traits":{"a":"\ud800"}'), "invalid_text", "traits"),
    Bad("low surrogate", _with(r'"name":"\udc00x"'), "invalid_text", "name"),
    Bad("NaN", _with('"properties":{"a":NaN}'), "invalid_number", "properties"),
    Bad("Infinity", _with('"properties":{"a":[Infinity]}'), "invalid_number", "properties"),
    Bad("-Infinity", _with('"context":{"a":-Infinity}'), "invalid_number", "context"),
    Bad("1e999999", _with('"properties":{"a":1e999999}'), "invalid_number", "properties"),
    Bad("500 digits", _with(f'"properties":{{"a":{"9" * 500}}}'), "invalid_number", "properties"),
    Bad("NaN in an unknown member", _with('"x":NaN'), "invalid_number", "x"),
    Bad(
        "before 1970", _with('"timestamp":"1969-12-31T23:59:59Z"'), "invalid_timestamp", "timestamp"
    ),
    Bad(
        "year 10000", _with('"timestamp":"10000-01-01T00:00:00Z"'), "invalid_timestamp", "timestamp"
    ),
    Bad("too far ahead", _with(f'"timestamp":"{_ahead(25)}"'), "invalid_timestamp", "timestamp"),
    Bad("no time", _with('"timestamp":"yesterday"'), "invalid_timestamp", "timestamp"),
    Bad("sent no time", _with('"sentAt":"soon"'), "invalid_timestamp", "sentAt"),
    Bad("spellings differ", _with('"userId":"other"'), "ambiguous_field", "userId"),
    Bad("key twice", _with('"event":"e"'), "ambiguous_field", "event"),
    Bad("too deep", _with(f'"properties":{{"a":{DEEP}}}'), "too_deep", "properties"),
]


@pytest.mark.parametrize("bad", BAD_EVENTS, ids=[bad.name for bad in BAD_EVENTS])
async def test_a_bad_event_at_any_index_affects_no_other_event(shared: Site, bad: Bad) -> None:
    key = await shared.make_key()
    good_ids = []
    async with shared.client(key) as client:
        for place in (0, EVENTS // 2, EVENTS - 1):
            ids = new_ids(EVENTS - 1)
            good_ids += ids
            events = [json.dumps(track(event_id)) for event_id in ids]
            events.insert(place, bad.event)
            body = f'{{"batch":[{",".join(events)}]}}'.encode()
            answer = await client.post("/v1/batch", content=body)

            assert answer.status_code == 200, answer.text
            results = answer.json()["results"]
            result = results.pop(place)
            assert result["status"] == "rejected"
            assert (bad.code, bad.field) == (result["code"], result.get("field"))
            assert result["message"]
            accepted = [{"event_id": event_id, "status": "accepted"} for event_id in ids]
            assert accepted == results

    assert good_ids == await shared.event_ids(key)
    assert [bad.code] * 3 == [row["code"] for row in await shared.rejected(key)]


async def test_events_at_the_limits_are_stored(shared: Site) -> None:
    """The limits of the test above, from the valid side."""
    key = await shared.make_key()
    fine = [
        _with(f'"event_id":"{"x" * 200}"'),
        _with(f'"event_id":"{"é" * 100}"'),
        _with('"properties":{"a":1.50e10,"b":-0,"c":"\\ud83d\\ude00"}'),
        _with('"timestamp":"1970-01-01T00:00:00Z"'),
        _with(f'"timestamp":"{_ahead(23)}"'),
        _with('"userId":"u"'),
        _with(f'"properties":{{"a":{"[" * 60 + "]" * 60}}}'),
    ]
    async with shared.client(key) as client:
        body = f'{{"batch":[{",".join(fine)}]}}'.encode()
        answer = await client.post("/v1/batch", content=body)

    assert answer.json()["accepted"] == len(fine), answer.text


MALFORMED: Final = [
    (b"", 0),
    (b"{", 1),
    (b'{"batch":[{"type":"track","event":"e"}', 38),
    (b'{"batch":[]} x', 13),
    (b'{"batch":[{"a":tru}]}', 15),
    (b"\xff\xfe{}", 0),
    (b'{"batch":[{"event":"\xc3"}]}', 20),
    (b"[]", 0),
    (b"batch=1", 0),
]


@pytest.mark.parametrize(("body", "offset"), MALFORMED)
async def test_a_body_that_is_not_json_is_refused_with_the_offset_of_the_error(
    shared: Site, body: bytes, offset: int
) -> None:
    key = await shared.make_key()
    async with shared.client(key) as client:
        answer = await client.post("/v1/batch", content=body)
        following = await client.post("/v1/batch", json=tracks(new_ids(1)))

    error = answer.json()
    assert (answer.status_code, error["code"]) == (400, "malformed_json")
    assert offset == error["offset"], error
    assert following.status_code == 200


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/track"])
async def test_deep_nesting_does_not_end_a_worker(shared: Site, path: str) -> None:
    key = await shared.make_key()
    pids = shared.service.worker_pids
    async with shared.client(key) as client:
        for body in (b"[" * 200_000, b'{"batch":' + b"[" * 200_000, b'{"a":' * 50_000):
            answer = await client.post(path, content=body)
            assert answer.status_code == 400, answer.text
    assert pids == shared.service.worker_pids


async def test_a_body_over_the_limit_is_refused_whether_sized_or_chunked(
    shared: Site,
) -> None:
    key = await shared.make_key()
    authorization = f"Authorization: Bearer {key.api_key}"
    body = json.dumps(tracks(["a"])).encode().ljust(262_145)
    sized = wire.post("/v1/batch", authorization, body=body)
    head = wire.post("/v1/batch", authorization, "Transfer-Encoding: chunked", sized=False)
    for request in (sized, head + wire.chunked(body)):
        answer = await wire.exchange(shared.service.url, request)
        error = answer.json()

        assert (answer.status, error["code"]) == (413, "payload_too_large")
        assert error["limit"] == 262_144
        assert str(error["actual"]) in {"262145", "more than 262144"}
    assert await shared.rows(key) == []


async def test_a_gzip_bomb_is_refused_without_being_inflated(shared: Site) -> None:
    key = await shared.make_key()
    bomb = gzip.compress(bytes(100_000_000), 6)
    async with shared.client(key, headers={"content-encoding": "gzip"}) as client:
        answer = await client.post("/v1/batch", content=bomb)

    error = answer.json()
    assert (answer.status_code, error["code"]) == (413, "payload_too_large")
    assert error["limit"] == 262_144


@pytest.mark.parametrize("coding", ["zip", "gzip, gzip", "compress", "aws-chunked"])
async def test_an_unknown_content_encoding_is_refused(shared: Site, coding: str) -> None:
    key = await shared.make_key()
    async with shared.client(key, headers={"content-encoding": coding}) as client:
        answer = await client.post("/v1/track", json=track())

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_encoding")


@pytest.mark.parametrize("content", [b"{}", b"\x1f\x8b\x08", gzip.compress(b"{}", mtime=0)[:-4]])
async def test_a_body_that_does_not_match_its_content_encoding_is_refused(
    shared: Site, content: bytes
) -> None:
    key = await shared.make_key()
    async with shared.client(key, headers={"content-encoding": "gzip"}) as client:
        answer = await client.post("/v1/track", content=content)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_encoding")


async def test_a_duplicate_of_a_header_that_must_be_unique_is_refused(shared: Site) -> None:
    key = await shared.make_key()
    authorization = f"Authorization: Bearer {key.api_key}"
    body = json.dumps(track()).encode()
    duplicates = {
        "authorization": [authorization] * 2,
        "x-api-key": ["X-API-Key: a", "X-API-Key: b"],
        "x-write-key": ["X-Write-Key: a", "X-Write-Key: b"],
        "content-encoding": [authorization, "Content-Encoding: gzip", "Content-Encoding: identity"],
        "x-event-schema-version": [
            authorization,
            "X-Event-Schema-Version: 2.0",
            "X-Event-Schema-Version: 1.0",
        ],
    }
    for field, headers in duplicates.items():
        request = wire.post("/v1/track", *headers, body=body)
        _check_invalid(await wire.exchange(shared.service.url, request), field)
    assert await shared.rows(key) == []


def _check_invalid(answer: wire.Answer, field: str) -> None:
    error = answer.json()
    assert (answer.status, error["code"], error["field"]) == (400, "invalid_request", field)
    assert answer.headers["x-request-id"] == error["request_id"]


@pytest.mark.parametrize(
    "codings", [["chunked, chunked"], ["chunked", "chunked"], ["gzip, chunked"]]
)
async def test_a_transfer_coding_other_than_chunked_is_refused(
    shared: Site, codings: list[str]
) -> None:
    key = await shared.make_key()
    headers = [f"X-API-Key: {key.api_key}", *(f"Transfer-Encoding: {c}" for c in codings)]
    request = wire.post("/v1/track", *headers, sized=False)

    answer = await wire.exchange(
        shared.service.url, request + wire.chunked(json.dumps(track()).encode())
    )

    _check_invalid(answer, "transfer-encoding")
    assert await shared.rows(key) == []


@pytest.mark.parametrize("path", ["/v1/track", "/nowhere", "/health/live"])
async def test_a_content_length_of_thousands_of_digits_gets_an_answer_with_a_request_id(
    shared: Site, path: str
) -> None:
    """The HTTP server accepts this number, because most of its digits are zeros."""
    key = await shared.make_key()
    body = json.dumps(track()).encode()
    length = f"Content-Length: {len(body):04301d}"
    request = wire.post(path, f"X-API-Key: {key.api_key}", length, sized=False) + body

    answer = await wire.exchange(shared.service.url, request)

    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    if path == "/v1/track":
        _check_invalid(answer, "content-length")
    else:
        assert answer.status in {404, 405}


async def test_a_sender_that_half_closes_gets_no_answer_and_can_send_again(shared: Site) -> None:
    """
    As documented, the HTTP server closes such a connection.

    Whether it has read the request by then depends on timing.
    """
    key = await shared.make_key()
    request = wire.post(
        "/v1/track", f"X-API-Key: {key.api_key}", body=json.dumps(track("half")).encode()
    )
    connection = await wire.connect(shared.service.url)
    try:
        await connection.send(request)
        connection.close_half()
        assert await connection.answer() is None
    finally:
        connection.close()

    again = await wire.exchange(shared.service.url, request)

    assert again.json()["status"] in {"accepted", "duplicate"}
    assert await shared.event_ids(key) == ["half"]


async def test_a_gzip_body_of_several_members_is_one_body(shared: Site) -> None:
    key = await shared.make_key()
    whole = json.dumps(track("members")).encode()
    members = gzip.compress(whole[:20]) + gzip.compress(whole[20:])
    async with shared.client(key, headers={"content-encoding": "gzip"}) as client:
        taken = await client.post("/v1/track", content=members)
        padded = await client.post("/v1/track", content=members + bytes(4))
        large = await client.post("/v1/batch", content=gzip.compress(bytes(200_000)) * 2)

    assert taken.json()["status"] == "accepted"
    assert (padded.status_code, padded.json()["code"]) == (400, "invalid_encoding")
    assert (large.status_code, large.json()["code"]) == (413, "payload_too_large")
    assert await shared.event_ids(key) == ["members"]


@pytest.mark.parametrize(
    "authorization", ["Negotiate abc", "Digest username=x", "", "Bearer", "Basic Og=="]
)
async def test_a_key_beside_an_authorization_without_one_is_read(
    shared: Site, authorization: str
) -> None:
    key, stranger = await shared.make_key(), apikey.mint().text
    async with shared.client() as client:
        answers = [
            await client.post(
                "/v1/track",
                json=track(),
                headers={"authorization": authorization, "x-api-key": text},
            )
            for text in (key.api_key, key.api_key, stranger)
        ]

    assert [answer.status_code for answer in answers] == [200, 200, 401]


async def test_a_body_with_two_lengths_cannot_smuggle_a_request(shared: Site) -> None:
    """
    Beside Transfer-Encoding the HTTP server drops Content-Length and reads the chunks.

    A proxy that uses the length would take the rest as a request of another client, so
    the connection has to end there.
    """
    key = await shared.make_key()
    body = json.dumps(track("first")).encode()
    coding = ("Transfer-Encoding: chunked", "Content-Length: 4")
    head = wire.post("/v1/track", f"X-API-Key: {key.api_key}", *coding, sized=False)
    smuggled = wire.post("/v1/track", f"X-API-Key: {key.api_key}", body=body)
    connection = await wire.connect(shared.service.url)
    try:
        await connection.send(head + wire.chunked(body) + smuggled)
        answer, following = await connection.answer(), await connection.answer()
    finally:
        connection.close()

    assert answer is not None
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert following is None


async def test_a_slow_body_times_out_while_other_requests_are_served(start_site: StartSite) -> None:
    site = await start_site(body_timeout_s="0.5", workers="1")
    key = await site.make_key()
    head = wire.post(
        "/v1/track", f"Authorization: Bearer {key.api_key}", "Content-Length: 100", sized=False
    )
    slow = [await wire.connect(site.service.url) for _ in range(20)]
    try:
        for connection in slow:
            await connection.send(head + b"{")
        async with site.client(key) as client:
            answers = [await client.post("/v1/track", json=track()) for _ in range(5)]
        given_up = await asyncio.gather(*(connection.answer() for connection in slow))
    finally:
        for connection in slow:
            connection.close()

    assert [answer.status_code for answer in answers] == [200] * 5
    for answer in given_up:
        if answer is not None:
            assert (answer.status, answer.json()["code"]) == (503, "body_timeout")
            assert int(answer.headers["retry-after"]) >= 1
    assert len(await site.rows(key)) == 5


async def test_a_client_that_disconnects_during_its_body_affects_no_other_request(
    shared: Site,
) -> None:
    key = await shared.make_key()
    head = wire.post(
        "/v1/track", f"Authorization: Bearer {key.api_key}", "Content-Length: 100", sized=False
    )
    for _ in range(10):
        connection = await wire.connect(shared.service.url)
        await connection.send(head + b'{"event":')
        connection.close()
    async with shared.client(key) as client:
        answer = await client.post("/v1/track", json=track("after"))

    assert answer.status_code == 200
    assert await shared.event_ids(key) == ["after"]


async def test_a_request_without_a_valid_key_is_unauthorized(shared: Site) -> None:
    key = await shared.make_key()
    text, stranger = key.api_key, apikey.mint().text
    typo = text[:-1] + ("a" if text[-1] != "a" else "b")
    wrong_secret = f"{text[:17]}{stranger[17:]}"
    attempts: list[dict[str, str]] = [
        {},
        {"authorization": "Bearer"},
        {"authorization": f"Bearer {stranger}"},
        {"authorization": f"Bearer {typo}"},
        {"authorization": f"Bearer {wrong_secret}"},
        {"authorization": f"Digest {text}"},
        {"authorization": "Negotiate abc", "x-api-key": stranger},
        {"authorization": "Basic !!!"},
        {"authorization": f"Basic {base64.b64encode(b':' + text.encode()).decode()}"},
        {"x-api-key": stranger},
        {"x-write-key": ""},
        # The first place with a key is used; a valid key in a later place is ignored.
        {"authorization": f"Bearer {stranger}", "x-api-key": text},
    ]
    async with shared.client() as client:
        answers = [
            await client.post(f"/v1/track?writeKey={text}", json=track(), headers=headers)
            for headers in attempts
        ]
        answers.append(await client.post("/v1/batch", json=tracks(["a"]) | {"writeKey": stranger}))

    assert len({_said(answer) for answer in answers}) == 1
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"]
    assert await shared.rows(key) == []


def _said(answer: httpx.Response) -> str:
    body = answer.json()
    del body["request_id"]
    return json.dumps(body)


@pytest.mark.parametrize("size", [600_000, 3_000_000])
async def test_an_error_answer_reaches_a_client_that_is_still_sending(
    shared: Site, size: int
) -> None:
    """After a connection reset the client would not read the answer, and would retry."""
    key, stranger = await shared.make_key(), apikey.mint().text
    asked = [
        (413, "/v1/batch", {"x-api-key": key.api_key}),
        (401, "/v1/batch", {"x-api-key": stranger}),
        (404, "/v1/nothing", {}),
        (415, "/v1/batch", {"content-encoding": "zip"}),
    ]
    for status, path, headers in asked * 5:
        async with shared.client() as client:
            answer = await client.post(path, content=bytes(size), headers=headers)
            assert status == answer.status_code
