"""
Text that is SQL, a control sequence of a terminal or markup is stored as text and nothing else.

If these tests fail: a sender runs statements in the database of an operator, or stores something
about a client that it has not sent.
"""

import json
from typing import Any, Final

import pytest

from tests.acceptance.site import Site, new_ids, track

HOSTILE: Final = (
    "'; DROP TABLE events; --",
    "' OR '1'='1",
    '"; DELETE FROM api_keys; --',
    "$$; TRUNCATE event_deduplication; $$",
    "$1, $2) ON CONFLICT DO NOTHING; --",
    "\\'; SELECT pg_sleep(10); --",
    "E'\\x27'",
    "1); COPY events TO PROGRAM 'id'; --",
    "%s %d {0} {event_id!r} ${DATABASE_URL}",
    "\u001b]0;title\u0007\u001b[31m",
    "<script>alert(1)</script>",
    "../../etc/passwd",
)
# An event_id has no control characters.
IDS: Final = tuple(text for text in HOSTILE if text.isprintable())
_TABLES: Final = ("api_keys", "event_deduplication", "events", "rejected_events", "tenants")
TEXT_FIELDS: Final = ("event", "name", "category", "user_id", "anonymous_id", "group_id")


async def counts(site: Site) -> dict[str, int]:
    async with site.database() as connection:
        return {
            table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in _TABLES
        }


@pytest.mark.parametrize("text", HOSTILE)
async def test_sql_in_any_field_is_stored_as_it_was_sent(shared: Site, text: str) -> None:
    key = await shared.make_key()
    before = await counts(shared)
    (event_id,) = new_ids(1)
    documents = {
        "properties": {text: [text]},
        "traits": {"a": text},
        "context": {text: {text: text}},
    }
    event = track(event_id, **dict.fromkeys(TEXT_FIELDS, text), **documents, **{f"x{text}": text})

    async with shared.client(key) as client:
        answer = await client.post("/v1/batch", json={"batch": [event]})

    assert 1 == answer.json()["accepted"], answer.text
    row = await shared.row(key)
    assert [text] * len(TEXT_FIELDS) == [row[field] for field in TEXT_FIELDS]
    assert documents == {name: row[name] for name in documents}
    assert {f"x{text}": text} == row["extra"]
    after = await counts(shared)
    assert {**before, "events": 1 + before["events"]} == {
        **after,
        "event_deduplication": after["event_deduplication"] - 1,
    }


async def test_sql_in_an_event_id_is_an_id(shared: Site) -> None:
    key = await shared.make_key()
    batch = {"batch": [track(text) for text in IDS]}

    async with shared.client(key) as client:
        first = (await client.post("/v1/batch", json=batch)).json()
        second = (await client.post("/v1/batch", json=batch)).json()

    assert (len(IDS), len(IDS)) == (first["accepted"], second["duplicates"])
    assert sorted(IDS) == sorted(await shared.event_ids(key))


@pytest.mark.parametrize("text", HOSTILE)
async def test_sql_in_a_rejected_event_is_kept_as_it_was_sent(shared: Site, text: str) -> None:
    key = await shared.make_key()
    event = {"type": text, "event_id": "a", "timestamp": text, text: text}

    async with shared.client(key) as client:
        answer = await client.post("/v1/batch", json={"batch": [event]})

    assert 1 == answer.json()["rejected"], answer.text
    (row,) = await shared.rejected(key)
    assert event == json.loads(row["payload"])


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.isprintable()])
async def test_sql_in_a_header_or_a_path_is_refused_or_ignored(shared: Site, text: str) -> None:
    key = await shared.make_key()
    before = await counts(shared)
    async with shared.client() as client:
        statuses = [
            await _status(client, {"x-api-key": text}),
            await _status(client, {"x-api-key": f"{key.api_key}{text}"}),
            await _status(client, {"authorization": f"Bearer {text}"}),
            await _status(client, {"x-api-key": key.api_key, "x-event-schema-version": text}),
            (await client.get(f"/{text}", params={"q": text})).status_code,
        ]

    assert [401, 401, 401, 400, 404] == statuses
    assert before == await counts(shared)


async def _status(client: Any, headers: dict[str, str]) -> int:
    answer = await client.post("/v1/track", json=track(), headers=headers)
    return int(answer.status_code)


async def test_neither_the_address_nor_the_program_of_a_client_is_stored_or_logged(
    shared: Site,
) -> None:
    key = await shared.make_key()
    headers = {
        "x-forwarded-for": "203.0.113.77",
        "forwarded": "for=203.0.113.77",
        "x-real-ip": "203.0.113.77",
        "user-agent": "a-program-of-a-client",
    }

    async with shared.client(key, headers=headers) as client:
        await client.post("/v1/track", json=track("a"))
        await client.post("/v1/track", json={})

    async with shared.database() as connection:
        stored = [
            *await connection.fetch(
                "SELECT t::text FROM events AS t WHERE tenant_id = $1", key.tenant_id
            ),
            *await connection.fetch(
                "SELECT t::text || encode(payload, 'escape') FROM rejected_events AS t"
                " WHERE tenant_id = $1",
                key.tenant_id,
            ),
        ]
    assert 2 == len(stored)
    for text in (*(row[0] for row in stored), shared.service.log, shared.service.complaints):
        assert "203.0.113.77" not in text
        assert "a-program-of-a-client" not in text
