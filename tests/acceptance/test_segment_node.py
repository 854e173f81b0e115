"""
Segment's unmodified SDK for Node, with the host and the key of Forebay.

If these tests fail: an application that moves from Segment to Forebay loses or doubles events.
"""

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from provision.keys import Profile
from tests.acceptance.conftest import StartSite
from tests.acceptance.node.application import SDK, Application, Call, application, sdk_version
from tests.acceptance.proxy import Line, Proxy, proxied
from tests.acceptance.site import Row, Site

# These tests run in one process, because the first one installs the SDK.
pytestmark = pytest.mark.xdist_group("node")

TRACKS: Final = 230
FLUSH_AT: Final = 15  # the SDK's default
# Concurrent requests: the SDK sends all its batches at once.
PARALLEL_MIN: Final = 8
HAPPENED: Final = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
NESTED: Final = {"total": 49.9, "items": [{"sku": "ä-1", "tags": ["a", None]}, {"sku": "2"}]}
LIBRARY: Final = {"library": {"name": SDK, "version": sdk_version()}}

ONE_OF_EACH: Final[list[Call]] = [
    {"method": "identify", "userId": "u1", "traits": {"plan": "pro", "seats": {"paid": 3}}},
    {"method": "page", "userId": "u1", "name": "Home", "category": "Docs", "properties": NESTED},
    {"method": "screen", "anonymousId": "a1", "name": "Main"},
    {"method": "group", "userId": "u1", "groupId": "g1", "traits": {"seats": 3}},
    {"method": "alias", "userId": "u1", "previousId": "a1"},
    {
        "method": "track",
        "userId": "u1",
        "anonymousId": "a1",
        "event": "Order Completed",
        "properties": NESTED,
        "context": {"ip": "10.0.0.1"},
        "integrations": {"All": True},
        "timestamp": HAPPENED.isoformat(),
        "messageId": "of the application",
    },
]
# Members that the SDK adds.
ADDED: Final = {"page": {"properties": NESTED | {"category": "Docs"}}}
WITH_PROPERTIES: Final = ("track", "page", "screen")
COLUMNS: Final = {
    "user_id": "userId",
    "anonymous_id": "anonymousId",
    "group_id": "groupId",
    "previous_id": "previousId",
    "event": "event",
    "name": "name",
    "category": "category",
    "properties": "properties",
    "traits": "traits",
}


def tracks(count: int = TRACKS) -> list[Call]:
    return [
        {
            "method": "track",
            "userId": f"u{number % 7}",
            "event": "Counted",
            "properties": {"number": number, "nested": NESTED},
            "timestamp": (HAPPENED + timedelta(milliseconds=number)).isoformat(),
        }
        for number in range(count)
    ]


def check_row(call: Call, event: dict[str, Any], row: Row) -> None:
    """Compare a row with its call, and with the event that the SDK reports as sent."""
    meant = call | ADDED.get(call["method"], {})
    expected = {column: meant.get(member) for column, member in COLUMNS.items()}
    if call["method"] in WITH_PROPERTIES:
        expected["properties"] = meant.get("properties", {})
    expected |= {
        "type": call["method"],
        "event_id": call.get("messageId", event["messageId"]),
        "context": LIBRARY | call.get("context", {}),
        "original_timestamp": datetime.fromisoformat(event["timestamp"]),
        "timestamp": datetime.fromisoformat(event["timestamp"]),
    }
    assert expected == {column: row[column] for column in expected}
    if "timestamp" in call:
        assert datetime.fromisoformat(call["timestamp"]) == row["original_timestamp"]
    assert call.get("integrations", {}) == row["extra"].pop("integrations", {})
    assert {"_metadata"} == set(row["extra"])


def check_rows(calls: list[Call], events: list[dict[str, Any]], rows: list[Row]) -> None:
    """Check that every call is stored once."""
    assert len(calls) == len(events) == len(rows)
    by_id = {row["event_id"]: row for row in rows}
    assert len(calls) == len(by_id)
    for call, event in zip(calls, events, strict=True):
        check_row(call, event, by_id[event["messageId"]])


@pytest.mark.parametrize("profile", Profile)
async def test_every_type_is_stored_as_the_application_sent_it(
    shared: Site, profile: Profile
) -> None:
    key = await shared.make_key(profile)
    async with application(shared.service.url, key.api_key, ONE_OF_EACH) as app:
        events = await app.delivered()

    assert app.statuses == [200]
    check_rows(ONE_OF_EACH, events, await shared.rows(key))


@pytest.mark.parametrize(
    "profile", [Profile.DEFAULT, pytest.param(Profile.SEGMENT, marks=pytest.mark.nightly)]
)
@pytest.mark.parametrize(
    ("options", "requests"),
    [({}, -(-TRACKS // FLUSH_AT)), ({"flushAt": 1}, TRACKS)],
    ids=["defaults", "a request an event"],
)
async def test_every_event_of_a_burst_over_parallel_connections_is_stored(
    shared: Site, profile: Profile, options: dict[str, Any], requests: int
) -> None:
    key = await shared.make_key(profile)
    calls = tracks()
    async with application(shared.service.url, key.api_key, calls, **options) as app:
        events = await app.delivered()

    assert [200] * requests == app.statuses
    assert app.in_flight_max >= PARALLEL_MIN
    check_rows(calls, events, await shared.rows(key))


async def test_a_batch_that_needs_the_larger_profile_is_stored_by_one_request(
    shared: Site,
) -> None:
    key = await shared.make_key(Profile.SEGMENT)
    calls = tracks(600)
    async with application(shared.service.url, key.api_key, calls, flushAt=600) as app:
        events = await app.delivered()

    assert app.statuses == [200]
    check_rows(calls, events, await shared.rows(key))


@pytest.mark.parametrize("profile", [Profile.SEGMENT, Profile.RUDDERSTACK])
@pytest.mark.parametrize(("events", "text"), [(500, ""), (60, "x" * 20_000)], ids=["500", "20 KB"])
async def test_a_burst_is_stored_with_the_default_settings_of_the_sdk(
    shared: Site, profile: Profile, events: int, text: str
) -> None:
    key = await shared.make_key(profile)
    calls = [
        {"method": "track", "userId": "u1", "event": "Burst", "properties": {"text": text}}
        for _ in range(events)
    ]
    async with application(shared.service.url, key.api_key, calls) as app:
        sent = await app.delivered()

    assert {200} == set(app.statuses)
    stored = await shared.event_ids(key)
    assert sorted(event["messageId"] for event in sent) == sorted(stored)
    assert events == len(stored)


async def test_the_application_learns_that_its_key_is_refused(shared: Site) -> None:
    async with application(shared.service.url, "fb1_nobody", tracks(3)) as app:
        await app.ended()

    assert app.statuses == [401]
    reasons = [line["reason"] for line in app.all_said("error")]
    assert ["Error: [401] Unauthorized"] * 3 == reasons


@pytest.mark.nightly
async def test_events_refused_with_503_while_the_database_is_away_are_stored_once(
    database_url: str, start_site: StartSite
) -> None:
    async with proxied(database_url) as proxy:
        site = await start_site(through=proxy.url, flush_timeout_s="1", connect_timeout_s="1")
        await _send_through(site, _Away(proxy), lambda app: 503 in app.statuses)


async def test_events_sent_to_a_stopped_service_are_stored_once_when_it_is_back(
    site: Site,
) -> None:
    def have_tried_again(app: Application) -> bool:
        return len(app.all_said("request")) > -(-TRACKS // FLUSH_AT)

    app = await _send_through(site, _Stopped(site), have_tried_again)
    # Nothing listened before, so every answer came after the start.
    assert set(app.statuses) == {200}


async def test_events_in_flight_when_the_service_is_killed_are_stored_once(site: Site) -> None:
    """Another session locks the ledger row of the last event, so that some requests wait."""
    key = await site.make_key()
    calls = [*tracks(TRACKS - 1), tracks(1)[0] | {"messageId": "held"}]
    async with contextlib.AsyncExitStack() as holding:
        await holding.enter_async_context(site.held(key, "held"))
        async with application(site.service.url, key.api_key, calls, flushAt=1) as app:
            await app.see(lambda: 200 in app.statuses, "an answer has come")
            site.service.kill()
            answered = len(app.statuses)
            await holding.aclose()
            await site.service.start()
            events = await app.delivered()

    assert answered < TRACKS < len(app.all_said("request"))
    check_rows(calls, events, await site.rows(key))


class _Away:
    """An outage: the database cannot be reached."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    async def begin(self) -> None:
        self._proxy.set_line(Line.CUT)

    async def end(self) -> None:
        self._proxy.set_line(Line.OPEN)


class _Stopped:
    """An outage: the service does not run."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def begin(self) -> None:
        assert await self._site.service.stop() == 0

    async def end(self) -> None:
        await self._site.service.start()


async def _send_through(
    site: Site, outage: _Away | _Stopped, has_seen_it: Callable[[Application], bool]
) -> Application:
    """Send during an outage, end it when the SDK has got an error, and check the rows."""
    key = await site.make_key()
    calls = tracks()
    await outage.begin()
    async with application(site.service.url, key.api_key, calls) as app:
        await app.see(lambda: has_seen_it(app), "the SDK has seen the outage")
        await outage.end()
        events = await app.delivered()

    check_rows(calls, events, await site.rows(key))
    return app
