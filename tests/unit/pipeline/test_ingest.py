"""
The path of a request from its headers to its verdicts.

If these tests fail: requests are stored for the wrong key, with the wrong limits, or not at all.
"""

import gzip
import tracemalloc
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from service.apikey import mint
from service.model import Payload, Verdict
from tests.doubles import NOON, MemoryStore
from tests.pgcopy import read_copy
from tests.unit.edge.client import Answer, EdgeBench

PAGE = {"type": "page"}


@pytest.fixture
async def bench() -> EdgeBench:
    return EdgeBench()


def stored(bench: EdgeBench) -> list[dict[str, Any]]:
    """Return the columns of all stored rows."""
    payloads = [payload for flush in bench.store.flushes for payload in flush]
    return [row for payload in payloads for row in read_copy(payload.events.copy_data())]


async def test_verdicts_are_in_the_order_of_the_events(bench: EdgeBench) -> None:
    await bench.post("/v1/page", {"event_id": "old"})

    answer = await bench.post(
        "/v1/batch",
        {"batch": [PAGE | {"event_id": "new"}, {"type": "?"}, PAGE | {"event_id": "old"}]},
    )

    assert 200 == answer.status
    assert ["accepted", "rejected", "duplicate"] == [
        result["status"] for result in answer.content["results"]
    ]
    counts = ("accepted", "duplicates", "conflicts", "rejected")
    assert [1, 1, 0, 1] == [answer.content[name] for name in counts]


async def test_a_batch_of_rejected_events_is_200(bench: EdgeBench) -> None:
    answer = await bench.post("/v1/batch", {"batch": [{}, {}]})

    assert (200, True, 2) == (answer.status, answer.content["success"], answer.content["rejected"])
    assert 2 == len(bench.store.rejected)


async def test_one_rejected_event_is_400(bench: EdgeBench) -> None:
    answer = await bench.post("/v1/track", {})

    assert (400, "missing_field", "event") == (
        answer.status,
        answer.content["code"],
        answer.content["field"],
    )


async def test_a_row_carries_the_request_the_version_and_the_arrival(bench: EdgeBench) -> None:
    await bench.post("/v1/page", {}, (b"x-event-schema-version", b"2.0"))
    await bench.post("/v1/page", {})

    assert [(1, "2.0", NOON), (2, "1.0", NOON)] == [
        (row["request_id"], row["schema_version"], row["received_at"]) for row in stored(bench)
    ]


async def test_a_version_that_is_not_supported_is_400(bench: EdgeBench) -> None:
    answer = await bench.post("/v1/page", {}, (b"x-event-schema-version", b"3.0"))

    assert (400, "invalid_schema_version") == (answer.status, answer.content["code"])


async def test_a_gzip_body_is_decoded(bench: EdgeBench) -> None:
    answer = await bench.post("/v1/page", gzip.compress(b"{}"), (b"content-encoding", b"gzip"))

    assert 200 == answer.status


@pytest.mark.parametrize(
    ("path", "envelope"),
    [("/v1/page", {}), ("/v1/batch", {"batch": [PAGE]})],
)
async def test_a_key_may_be_in_the_body_alone(
    bench: EdgeBench, path: str, envelope: dict[str, Any]
) -> None:
    body = msgspec.json.encode(envelope | {"writeKey": bench.minted.text})

    assert 200 == (await bench.ask("POST", path, body)).status
    assert bench.minted.text not in str(stored(bench))
    assert bench.minted.text.encode() not in bench.store.events[0].content


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"x-api-key", b"nonsense")],
        [(b"authorization", b"Digest x")],
        [(b"x-api-key", b"")],
        [(b"authorization", b"Basic Og==")],
        [(b"authorization", b"Negotiate x"), (b"x-api-key", b"nonsense")],
    ],
)
async def test_a_request_without_a_valid_key_is_401(
    bench: EdgeBench, headers: list[tuple[bytes, bytes]]
) -> None:
    answer = await bench.ask("POST", "/v1/page", b"{}", headers)

    assert (401, "unauthorized") == (answer.status, answer.content["code"])
    assert [] == bench.store.flushes


async def test_an_invalid_key_in_a_header_is_refused_even_if_the_body_has_a_valid_one(
    bench: EdgeBench,
) -> None:
    body = msgspec.json.encode({"writeKey": bench.minted.text})

    assert 401 == (await bench.ask("POST", "/v1/page", body, [(b"x-api-key", b"bad")])).status


@pytest.mark.parametrize(
    "authorization", [b"Negotiate abc", b"Digest x", b"", b"Basic Og==", b"Bearer"]
)
async def test_a_key_beside_an_authorization_of_another_scheme_is_read(
    bench: EdgeBench, authorization: bytes
) -> None:
    text = bench.minted.text
    other = (b"authorization", authorization)
    body = msgspec.json.encode({"writeKey": text})

    in_header = await bench.ask("POST", "/v1/page", b"{}", [other, (b"x-api-key", text.encode())])
    in_body = await bench.ask("POST", "/v1/page", body, [other])

    assert [200, 200] == [in_header.status, in_body.status]


@pytest.mark.parametrize("rest", ["", ":secret"])
async def test_a_key_may_be_in_the_events_of_a_batch_alone(bench: EdgeBench, rest: str) -> None:
    with_key = PAGE | {"writeKey": bench.minted.text + rest}
    for events in ([with_key], [with_key, with_key], [PAGE, with_key, {"writeKey": ""}]):
        body = msgspec.json.encode({"batch": events, "writeKey": ""})

        assert 200 == (await bench.ask("POST", "/v1/batch", body)).status
    assert bench.minted.text not in str(stored(bench))


async def test_different_keys_in_the_events_of_a_batch_are_refused(bench: EdgeBench) -> None:
    events = [PAGE | {"writeKey": bench.minted.text}, PAGE | {"writeKey": mint().text}]
    body = msgspec.json.encode({"batch": events})

    answer = await bench.ask("POST", "/v1/batch", body)

    assert (400, "ambiguous_field", "writeKey") == (
        answer.status,
        answer.content["code"],
        answer.content["field"],
    )
    assert b"fb1_" not in answer.body
    # A key in another place decides.
    assert 200 == (await bench.post("/v1/batch", body)).status
    both = msgspec.json.encode({"batch": events, "writeKey": bench.minted.text})
    assert 200 == (await bench.ask("POST", "/v1/batch", both)).status


async def test_a_body_that_is_compressed_without_saying_so_gets_a_hint(bench: EdgeBench) -> None:
    body = gzip.compress(b"{}")

    plain = await bench.post("/v1/page", body)
    twice = await bench.post("/v1/page", gzip.compress(body), (b"content-encoding", b"gzip"))

    for answer in (plain, twice):
        assert (400, "invalid_encoding") == (answer.status, answer.content["code"])
        assert "Content-Encoding: gzip" in answer.content["message"]


@pytest.mark.parametrize("ending", ["revoked", "expired", "lapsed and revoked", "missed"])
async def test_a_key_that_becomes_invalid_while_the_body_arrives_stores_nothing(
    bench: EdgeBench, ending: str
) -> None:
    def end() -> None:
        ended = msgspec.structs.replace(bench.key, is_disabled=True)
        if ending == "expired":
            bench.clock.advance(10)
            return
        bench.table.keys[bench.key.key_id] = ended
        if ending == "revoked":
            bench.keys.forget(bench.key.key_id)
        elif ending == "missed":
            bench.keys.forget_all()
        else:
            bench.clock.advance(30)

    if ending == "expired":
        expires_at = NOON + timedelta(seconds=10)
        bench.table.keys[bench.key.key_id] = msgspec.structs.replace(
            bench.key, expires_at=expires_at
        )

    answer = await bench.post_slowly("/v1/page", b"{}", end)

    assert (401, "unauthorized") == (answer.status, answer.content["code"])
    assert [] == bench.store.flushes


async def test_the_key_is_used_as_it_is_when_the_body_has_arrived(
    bench: EdgeBench,
) -> None:
    def move() -> None:
        bench.table.keys[bench.key.key_id] = msgspec.structs.replace(bench.key, workspace_id=9)
        bench.keys.forget(bench.key.key_id)

    answer = await bench.post_slowly("/v1/page", b"{}", move)

    assert 200 == answer.status
    assert [9] == [row["workspace_id"] for row in stored(bench)]


async def test_the_key_is_authenticated_before_the_body_is_read(bench: EdgeBench) -> None:
    answer = await bench.ask("POST", "/v1/page", b"{" * 5_000, [(b"x-api-key", b"bad")])

    assert 401 == answer.status


async def test_a_batch_of_too_many_or_no_events_is_400(bench: EdgeBench) -> None:
    full = await bench.post("/v1/batch", {"batch": [PAGE] * 3})
    more = await bench.post("/v1/batch", {"batch": [PAGE] * 4})
    none = await bench.post("/v1/batch", {"batch": []})

    assert 200 == full.status
    assert (400, "batch_too_large", 3, 4) == (
        more.status,
        *(more.content[name] for name in ("code", "limit", "actual")),
    )
    assert (400, "batch_empty") == (none.status, none.content["code"])
    assert 3 == len(bench.store.events)


async def test_a_context_that_makes_the_rows_of_a_batch_too_large_is_413(
    bench: EdgeBench,
) -> None:
    """The bench allows four times the limit of a body, 2,000 bytes."""
    # PostgreSQL returns 309 digits for each number.
    context = {"x": [1e308] * 30}
    body = msgspec.json.encode({"context": context, "batch": [PAGE] * 3})
    copies_bytes = 2 * (len(msgspec.json.encode(context)) + 30 * 308)

    fits = await bench.post("/v1/batch", {"context": {"x": "x" * 1_800}, "batch": [PAGE] * 3})
    refused = await bench.post("/v1/batch", body)

    assert 200 == fits.status
    answer = refused.content
    assert (413, "payload_too_large", "context", 8_000, len(body) + copies_bytes) == (
        refused.status,
        *(answer[name] for name in ("code", "field", "limit", "actual")),
    )
    assert f"The body has {len(body)} bytes, and {answer['actual']} with" in answer["message"]


async def test_a_body_over_the_limit_is_413(bench: EdgeBench) -> None:
    answer = await bench.post("/v1/page", {"name": "x" * 2_000})

    assert (413, "payload_too_large", 2_000) == (
        answer.status,
        *(answer.content[name] for name in ("code", "limit")),
    )


@pytest.mark.parametrize("is_in_body", [False, True])
async def test_the_limits_of_a_key_apply(is_in_body: bool) -> None:
    bench = EdgeBench(bytes_max=100, events_max=2)

    async def status(content: dict[str, Any]) -> int:
        if not is_in_body:
            return (await bench.post("/v1/batch", content)).status
        body = msgspec.json.encode(content | {"writeKey": bench.minted.text})
        return (await bench.ask("POST", "/v1/batch", body)).status

    assert 413 == await status({"batch": [PAGE], "x": "x" * 100})
    bench = EdgeBench(bytes_max=10_000, events_max=4)
    assert 200 == await status({"batch": [PAGE] * 4, "x": "x" * 3_000})
    assert 400 == await status({"batch": [PAGE] * 5})


async def test_a_body_over_the_limits_for_an_unknown_key_is_refused_and_not_truncated() -> None:
    """The limits of its key are larger than those that apply before the key is known."""
    bench = EdgeBench(events_max=5_000, bytes_max=1_000_000)
    batch = [{"type": "page"}] * 2_600
    await bench.post("/v1/page", {})  # the key is cached from now on
    bench.store.flushes.clear()

    answer = await bench.ask(
        "POST",
        "/v1/batch",
        msgspec.json.encode({"batch": batch, "writeKey": bench.minted.text}),
    )

    assert (400, "batch_too_large") == (answer.status, answer.content["code"])
    assert (2_500, 2_600) == (answer.content["limit"], answer.content["actual"])
    assert "at most 2500 are allowed with this key in the body." in answer.content["message"]
    assert [] == bench.store.flushes
    assert 2_600 == (await bench.post("/v1/batch", {"batch": batch})).content["accepted"]


class Weighing(MemoryStore):
    """Measures the memory in use while events wait to be stored."""

    held_bytes = 0

    async def write(self, payloads: list[Payload], deadline: float) -> list[list[Verdict]]:
        self.held_bytes, _ = tracemalloc.get_traced_memory()
        return await super().write(payloads, deadline)


async def test_a_body_is_released_while_its_events_are_queued() -> None:
    store = Weighing()
    bench = EdgeBench(store=store, bytes_max=1_000_000)
    authorization = [(b"authorization", b"Bearer " + bench.minted.text.encode())]
    # Most of the body is not stored, so the byte limit of the queue does not include it.
    head, junk, end = b'{"batch":[{"type":"page"}],"junk":"', b"x" * 500_000, b'"}'
    tracemalloc.start()
    try:
        answer = await bench.ask(
            "POST",
            "/v1/batch",
            headers=authorization,
            messages=[{"type": "http.request", "body": head + junk + end, "more_body": False}],
        )
    finally:
        tracemalloc.stop()

    assert 200 == answer.status
    assert store.held_bytes < len(junk) // 5


@pytest.mark.parametrize("is_in_body", [False, True])
async def test_a_key_that_sends_more_events_per_second_than_its_limit_is_refused(
    is_in_body: bool,
) -> None:
    bench = EdgeBench(rate_setting=2)

    async def send(events: int) -> Answer:
        content = {"batch": [PAGE] * events}
        if not is_in_body:
            return await bench.post("/v1/batch", content)
        body = msgspec.json.encode(content | {"writeKey": bench.minted.text})
        return await bench.ask("POST", "/v1/batch", body)

    assert [200, 200] == [(await send(1)).status, (await send(3)).status]
    refused = await send(1)
    assert (429, "rate_limited", 2, 4) == (
        refused.status,
        *(refused.content[name] for name in ("code", "limit", "actual")),
    )
    assert b"2" == refused.headers[b"retry-after"]
    assert 2 == len(bench.store.flushes)

    bench.clock.advance(2)
    assert 200 == (await send(1)).status


async def test_a_body_over_the_rate_is_refused_before_it_is_read() -> None:
    bench = EdgeBench(rate_setting=1)
    await bench.post("/v1/page", {})

    assert 429 == (await bench.post("/v1/page", b"not JSON")).status


async def test_a_request_that_brings_no_events_takes_no_tokens() -> None:
    bench = EdgeBench(rate_setting=1)

    for body in (b"not JSON", b'{"batch": []}', msgspec.json.encode({"batch": [PAGE] * 4})):
        assert 400 == (await bench.post("/v1/batch", body)).status
    assert 200 == (await bench.post("/v1/page", {})).status


@pytest.mark.parametrize(("of_key", "statuses"), [(None, {200, 429}), (0, {200}), (1_000, {200})])
async def test_the_rate_of_a_key_overrides_the_setting(
    of_key: int | None, statuses: set[int]
) -> None:
    bench = EdgeBench(rate_setting=1, events_per_second=of_key)

    assert statuses == {(await bench.post("/v1/page", {})).status for _ in range(5)}
