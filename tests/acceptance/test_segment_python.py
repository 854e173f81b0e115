"""
Segment's unmodified SDK for Python, with the host and the key of Forebay.

If these tests fail: an application that moves from Segment to Forebay loses or doubles events.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from segment.analytics import request
from segment.analytics.client import Client
from segment.analytics.version import VERSION

from provision.keys import NewKey, Profile
from tests.acceptance.running import until
from tests.acceptance.site import Row, Site

EVENTS: Final = 230
OPTIONS: Final[list[tuple[Profile, dict[str, Any]]]] = [
    (Profile.SEGMENT, {}),
    (Profile.DEFAULT, {"upload_size": 50}),
    (Profile.SEGMENT, {"gzip": True}),
]


@contextlib.contextmanager
def sdk(site: Site, key: NewKey, **options: Any) -> Iterator[tuple[Client, list[Any]]]:
    """Return a client, and the list of the failures that it reports."""
    failures: list[Any] = []
    client = Client(
        key.api_key,
        host=site.service.url,
        on_error=lambda error, batch: failures.append((error, len(batch))),
        **options,
    )
    try:
        yield client, failures
    finally:
        client.join()
        # The SDK has one HTTP session per process, and never closes it.
        request._session.close()


async def _flushed(client: Client) -> None:
    """Wait for the thread of the SDK without blocking the event loop."""
    await asyncio.to_thread(client.flush)


@pytest.mark.parametrize(("profile", "options"), OPTIONS)
async def test_every_event_is_stored_exactly_once(
    shared: Site, profile: Profile, options: dict[str, Any]
) -> None:
    key = await shared.make_key(profile)
    sent: list[str] = []
    with sdk(shared, key, **options) as (client, failures):
        for number in range(EVENTS):
            properties = {"number": number, "text": "ä" * 20, "list": [number, {"deep": None}]}
            is_queued, message = client.track(f"u{number}", "Order Completed", properties)
            assert is_queued
            sent.append(message["messageId"])
        await asyncio.to_thread(client.shutdown)

    rows = await shared.rows(key)
    assert failures == []
    assert sent == [row["event_id"] for row in rows]
    assert [f"u{number}" for number in range(EVENTS)] == [row["user_id"] for row in rows]
    assert list(range(EVENTS)) == [row["properties"]["number"] for row in rows]
    assert await shared.rejected(key) == []


@pytest.mark.parametrize("profile", [Profile.SEGMENT, Profile.RUDDERSTACK])
@pytest.mark.parametrize(("events", "text"), [(500, ""), (60, "x" * 20_000)], ids=["500", "20 KB"])
async def test_a_burst_is_stored_with_the_default_settings_of_the_sdk(
    shared: Site, profile: Profile, events: int, text: str
) -> None:
    key = await shared.make_key(profile)
    with sdk(shared, key) as (client, failures):
        sent = [client.track("u1", "Burst", {"text": text})[1]["messageId"] for _ in range(events)]
        await asyncio.to_thread(client.shutdown)

    assert failures == []
    assert sent == await shared.event_ids(key)


def _send_one_of_each(client: Client, when: datetime) -> list[dict[str, Any]]:
    nested = {"total": 12.5, "items": [{"sku": "a", "n": 1}, {"sku": "b", "n": None}], "é": True}
    context = {"ip": "10.0.0.1", "page": {"path": "/"}}
    calls: list[Callable[[], tuple[bool, dict[str, Any]]]] = [
        lambda: client.track("u1", "Order Completed", nested, context=context, timestamp=when),
        lambda: client.identify("u1", {"plan": "pro", "address": {"city": "Ulm"}}),
        lambda: client.page("u1", "Docs", "Home", {"url": "/"}),
        lambda: client.screen("u1", "App", "Main", {"size": 3}),
        lambda: client.group("u1", "g1", {"seats": 3}),
        lambda: client.alias("a1", "u1"),
        lambda: client.track(anonymous_id="a2", event="Anonymous", message_id="my-own-id"),
    ]
    messages = []
    for call in calls:
        is_queued, message = call()
        assert is_queued
        messages.append(message)
    return messages


async def test_each_call_is_stored_as_it_was_sent(shared: Site) -> None:
    key = await shared.make_key(Profile.SEGMENT)
    when = datetime.now(UTC).replace(microsecond=123_000) - timedelta(days=3)
    with sdk(shared, key) as (client, failures):
        messages = _send_one_of_each(client, when)
        await _flushed(client)
    rows = await shared.rows(key)

    assert failures == []
    columns = ("type", "event", "name", "category", "user_id", "anonymous_id", "group_id")
    assert [tuple(row[column] for column in (*columns, "previous_id")) for row in rows] == [
        ("track", "Order Completed", None, None, "u1", None, None, None),
        ("identify", None, None, None, "u1", None, None, None),
        ("page", None, "Home", "Docs", "u1", None, None, None),
        ("screen", None, "Main", "App", "u1", None, None, None),
        ("group", None, None, None, "u1", None, "g1", None),
        ("alias", None, None, None, "u1", None, None, "a1"),
        ("track", "Anonymous", None, None, None, "a2", None, None),
    ]
    for row, message in zip(rows, messages, strict=True):
        _compare(row, message)
    assert rows[-1]["event_id"] == "my-own-id"
    assert when == rows[0]["original_timestamp"]
    assert rows[0]["context"]["page"] == {"path": "/"}
    for row in rows[:-1]:
        assert row["event_id"] == str(UUID(row["event_id"]))


def _compare(row: Row, message: dict[str, Any]) -> None:
    assert message["messageId"] == row["event_id"]
    assert message.get("properties") == row["properties"]
    assert message.get("traits") == row["traits"]
    assert message["context"] == row["context"]
    assert row["context"]["library"] == {"name": "analytics-python", "version": VERSION}
    assert row["extra"] == {"integrations": {}}
    assert datetime.fromisoformat(message["timestamp"]) == row["original_timestamp"]
    assert row["original_timestamp"] == row["timestamp"]
    # One machine, one clock.
    assert timedelta(0) <= row["received_at"] - row["sent_at"] < timedelta(seconds=10)


@pytest.mark.nightly
async def test_retries_of_the_sdk_over_a_restart_store_every_event_once(site: Site) -> None:
    key = await site.make_key(Profile.SEGMENT)
    sent: list[str] = []

    def track(client: Client, count: int) -> None:
        sent.extend(client.track("u1", "Tick")[1]["messageId"] for _ in range(count))

    with sdk(site, key) as (client, failures):
        track(client, 120)
        await _flushed(client)
        assert await site.service.stop() == 0
        track(client, 120)

        async def is_trying() -> bool:
            queued: int = client.queue.qsize()
            return queued < 120

        await until(is_trying, 10, "the SDK has taken a batch to send")
        await site.service.start()
        track(client, 10)
        await _flushed(client)

    assert failures == []
    assert sorted(sent) == sorted(await site.event_ids(key))


async def test_the_sdk_still_retries_when_the_database_is_back(site: Site) -> None:
    """The SDK obeys Retry-After, and sends old and new events in one batch."""
    key = await site.make_key(Profile.SEGMENT)
    sent: list[str] = []
    with sdk(site, key) as (client, failures):
        async with site.database() as holder:
            # A first event is stored, so that the key is cached; then storing fails.
            sent.append(client.track("u1", "Tick")[1]["messageId"])
            await _flushed(client)
            async with holder.transaction():
                await holder.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
                sent += [client.track("u1", "Tick")[1]["messageId"] for _ in range(150)]

                async def is_refused() -> bool:
                    lines = site.service.log_lines("request")
                    return any(line["status"] == 503 for line in lines)

                await until(is_refused, 20, "the SDK was told to wait")
        await _flushed(client)

    assert failures == []
    assert sorted(sent) == sorted(await site.event_ids(key))
