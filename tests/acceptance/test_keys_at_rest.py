"""
The text of a key in a request: where it authenticates, and that no table contains it.

If these tests fail: somebody who reads the database finds keys with which to send events.
"""

import hashlib
from typing import Any, Final

from tests.acceptance.site import Site, track

# Members that look as if they had a key. Only `writeKey` has one.
OTHER_NAMES: Final = ("write_key", "apiKey", "api_key", "WRITEKEY", "key", "token")


async def test_the_database_has_no_text_of_a_key_wherever_a_request_had_it(shared: Site) -> None:
    key = await shared.make_key()
    text = key.api_key
    bad: dict[str, Any] = {"type": "nope", "writeKey": text, "api_key": text}
    with_rest = f"{text}:x"
    batch = [
        track("a", writeKey=text),
        track("b", **dict.fromkeys(OTHER_NAMES, text)),
        track("c", **dict.fromkeys(("writeKey", *OTHER_NAMES), with_rest)),
        *(bad, text, with_rest),
    ]
    async with shared.client(key) as client:
        answer = await client.post("/v1/batch", json={"batch": batch, "writeKey": text})
    assert (3, 3) == (answer.json()["accepted"], answer.json()["rejected"]), answer.text

    secret = text.rpartition("_")[2]
    async with shared.database() as connection:
        tables = await connection.fetch(
            "SELECT oid::regclass::text AS name FROM pg_class"
            " WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
        )
        for (table,) in tables:
            rows = await connection.fetch(f"SELECT t::text FROM {table} AS t")
            assert not [row for row in rows if secret in row[0]]
        payloads = await connection.fetch("SELECT payload FROM rejected_events")
        assert not [row for row in payloads if secret.encode() in row["payload"]]
        digest = await connection.fetchval(
            "SELECT secret_sha256 FROM api_keys WHERE key_id = $1", key.key_id
        )
    assert hashlib.sha256(text.encode()).digest() == digest
    assert [None] * 3 == [row["extra"] for row in await shared.rows(key)]
    assert {b'{"type":"nope","writeKey":"***","api_key":"***"}', b'"***"'} == {
        row["payload"] for row in await shared.rejected(key)
    }


async def test_a_key_inside_properties_stays_as_it_was_sent(shared: Site) -> None:
    key = await shared.make_key()
    async with shared.client(key) as client:
        await client.post("/v1/track", json=track("a", properties={"api_key": key.api_key}))

    assert {"api_key": key.api_key} == (await shared.row(key))["properties"]


async def test_a_key_under_another_name_or_in_the_query_does_not_authenticate(shared: Site) -> None:
    key = await shared.make_key()
    async with shared.client() as client:
        for name in OTHER_NAMES:
            answer = await client.post("/v1/track", json=track("a", **{name: key.api_key}))
            assert 401 == answer.status_code
            query = {name: key.api_key, "writeKey": key.api_key}
            answer = await client.post("/v1/track", json=track("a"), params=query)
            assert 401 == answer.status_code

    assert [] == await shared.rows(key)
    assert key.api_key not in shared.service.log + shared.service.complaints
