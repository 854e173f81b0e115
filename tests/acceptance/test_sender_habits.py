"""
Requests in the forms of SDKs that were recorded, which are not the forms of the documentation.

If these tests fail: users of an SDK lose events, store them twice, or find them at wrong times.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from provision.keys import NewKey
from tests.acceptance.site import Row, Site


async def _stored(site: Site, key: NewKey, event: dict[str, Any], **envelope: Any) -> Row:
    async with site.client(key) as client:
        answer = await client.post("/v1/batch", json={"batch": [event], **envelope})
    assert [1, 0] == [answer.json()[name] for name in ("accepted", "rejected")], answer.text
    return (await site.rows(key))[-1]


async def test_a_retried_batch_of_analytics_go_has_the_times_of_its_events(shared: Site) -> None:
    """The SDK sets `sentAt` once for all attempts."""
    key = await shared.make_key()
    happened = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=24)
    event = {
        "type": "track",
        "event": "T",
        "userId": "u-1",
        "messageId": "r-10-1795815234",
        "properties": {"i": 1},
        "timestamp": happened.isoformat(),
    }
    sent_at = happened + timedelta(seconds=1)

    row = await _stored(shared, key, event, sentAt=sent_at.isoformat())

    assert (happened, happened) == (row["original_timestamp"], row["timestamp"])
    assert (sent_at, True) == (row["sent_at"], row["received_at"] > row["timestamp"])


async def test_both_times_of_rudder_sdk_node_are_stored_as_sent(shared: Site) -> None:
    """The application gives `timestamp`, and the SDK adds `originalTimestamp`."""
    key = await shared.make_key()
    called = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=24)
    happened = called - timedelta(days=3)
    event = {
        "type": "track",
        "event": "T",
        "userId": "u-1",
        "timestamp": happened.isoformat(),
        "originalTimestamp": called.isoformat(),
        "sentAt": called.isoformat(),
    }

    row = await _stored(shared, key, event, timestamp=called.isoformat(), sentAt=called.isoformat())

    assert (called, happened, called) == (
        row["original_timestamp"],
        row["timestamp"],
        row["sent_at"],
    )


async def test_an_old_sent_at_refuses_no_event(shared: Site) -> None:
    key = await shared.make_key()
    now = datetime.now(UTC)
    event = {"type": "page", "timestamp": now.isoformat(), "sentAt": "2021-01-01T00:00:00Z"}

    row = await _stored(shared, key, event)

    assert (now, now) == (row["original_timestamp"], row["timestamp"])


async def test_numbers_are_times(shared: Site) -> None:
    key = await shared.make_key()
    event = {"type": "page", "timestamp": 1772366400123, "originalTimestamp": 1772366400}

    row = await _stored(shared, key, event, sentAt=1772366401.5)

    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert noon == row["original_timestamp"]
    assert noon + timedelta(milliseconds=123) == row["timestamp"]
    assert noon + timedelta(milliseconds=1500) == row["sent_at"]


async def test_empty_arrays_of_php_are_stored_as_empty_objects(shared: Site) -> None:
    key = await shared.make_key()
    empty: dict[str, Any] = {"properties": [], "traits": [], "context": []}

    row = await _stored(shared, key, {"type": "page", "event_id": "p"} | empty, context=[])

    assert [{}] * 3 == [row[name] for name in empty]


async def test_an_event_with_a_message_id_is_stored_once(shared: Site) -> None:
    key = await shared.make_key()
    spellings = ["message_id", "messageId", "event_id", "message_id"]
    async with shared.client(key) as client:
        answers = [
            (await client.post("/v1/page", json={"name": "Home", spelling: "m1"})).json()
            for spelling in spellings
        ]
        both = await client.post("/v1/page", json={"messageId": "m1", "message_id": "m2"})

    assert ["accepted", *["duplicate"] * 3] == [answer["status"] for answer in answers]
    assert (400, "ambiguous_field", "message_id") == (
        both.status_code,
        both.json()["code"],
        both.json()["field"],
    )
    row = await shared.row(key)
    assert ("m1", None) == (row["event_id"], row["extra"])


async def test_a_number_as_an_event_id_is_its_characters(shared: Site) -> None:
    key = await shared.make_key()
    numbers = ["42", "42.0", "4.2e1", "-0", "0"]
    events = [f'{{"type":"page","messageId":{number}}}' for number in [*numbers, '"42"']]
    async with shared.client(key) as client:
        answer = await client.post("/v1/batch", content=f'{{"batch":[{",".join(events)}]}}')

    results = [(result["event_id"], result["status"]) for result in answer.json()["results"]]
    assert [(number, "accepted") for number in numbers] == results[:-1]
    assert ("42", "duplicate") == results[-1]
    assert numbers == await shared.event_ids(key)


async def test_traits_of_an_identify_event_are_found_in_its_context(shared: Site) -> None:
    """As rudder-sdk-python and the browser SDK of RudderStack send them."""
    key = await shared.make_key()
    context = {"library": {"name": "test"}, "traits": {"plan": "pro", "seats": 3}}
    event = {"type": "identify", "userId": "u1", "messageId": "i1", "context": context}

    row = await _stored(shared, key, event)

    assert (context["traits"], context) == (row["traits"], row["context"])
    async with shared.client(key) as client:
        again = await client.post("/v1/identify", content=json.dumps(event))
    assert "duplicate" == again.json()["status"]


async def test_traits_in_the_context_of_a_group_event_are_not_those_of_the_group(
    shared: Site,
) -> None:
    key = await shared.make_key()
    context = {"traits": {"plan": "pro"}}
    event = {"type": "group", "userId": "u1", "groupId": "g1", "context": context}

    row = await _stored(shared, key, event)

    assert (None, context) == (row["traits"], row["context"])
