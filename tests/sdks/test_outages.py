"""
Unmodified SDKs while Forebay or PostgreSQL is away, and when answers are lost after the commit.

If these tests fail: an application loses or doubles events in an outage, although the table of the
README says that its SDK does not.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.conftest import StartSite
from tests.acceptance.proxy import CutAt, Line, proxied
from tests.acceptance.site import Site
from tests.sdks.calls import OUTAGE, numbers, tracks
from tests.sdks.clients import Scenario, SdkClient
from tests.sdks.conftest import Keep
from tests.sdks.driver import Driver
from tests.sdks.sending import Outage, Sender, Sent

# The length of the outages is part of the promise.
OUTAGE_S: Final = 10
SWALLOWED: Final = 2
_PATIENCE_S: Final = {False: 100, True: 20}


def _check(sent: Sent, client: SdkClient, scenario: Scenario) -> None:
    """Nothing is doubled, and only a client that is known for it loses events."""
    assert sent.doubled == []
    if scenario not in client.loses:
        assert dict.fromkeys(range(len(sent.calls)), 1) == dict(numbers(sent.rows)), sent.told


@pytest.mark.scenario(Scenario.REFUSED, is_full_only=True)
async def test_events_sent_while_connections_are_refused_are_stored_once(
    client: SdkClient, scenario: Scenario, site: Site, tmp_path: Path, keep: Keep
) -> None:
    @contextlib.asynccontextmanager
    async def stopped() -> AsyncIterator[None]:
        assert await site.service.stop() == 0
        yield
        await asyncio.sleep(OUTAGE_S)
        await site.service.start()

    sent = keep(await _send_during(stopped, client, scenario, site, tmp_path))

    _check(sent, client, scenario)


@pytest.mark.scenario(Scenario.DATABASE, is_full_only=True)
async def test_events_sent_while_postgresql_is_away_are_stored_once(
    client: SdkClient,
    scenario: Scenario,
    database_url: str,
    start_site: StartSite,
    tmp_path: Path,
    keep: Keep,
) -> None:
    async with proxied(database_url) as proxy:
        settings = {"flush_timeout_s": "1", "connect_timeout_s": "1"}
        site = await start_site(through=proxy.url, **settings)

        @contextlib.asynccontextmanager
        async def away() -> AsyncIterator[None]:
            proxy.set_line(Line.CUT)
            yield
            await asyncio.sleep(OUTAGE_S)
            proxy.set_line(Line.OPEN)

        sent = keep(await _send_during(away, client, scenario, site, tmp_path))

    assert 503 in {line["status"] for line in site.service.log_lines("request")}
    _check(sent, client, scenario)


# A connection that the proxy has accepted may still be open when the proxy ends.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.scenario(Scenario.SWALLOWED)
async def test_events_sent_again_because_an_answer_was_lost_are_stored_once(
    client: SdkClient, scenario: Scenario, site: Site, tmp_path: Path, keep: Keep
) -> None:
    key = await site.make_key(client.profile)

    async def has_sent_again(_: Driver) -> bool:
        return _duplicates(site) > 0

    async with proxied(site.service.url) as proxy:
        proxy.cut(b"POST ", SWALLOWED, CutAt.BEFORE_ANSWER)
        sender = Sender(client, site, key, tmp_path)
        sent = keep(await sender.send(tracks(OUTAGE), url=proxy.url, is_over=has_sent_again))
        assert 0 == proxy.cuts_left

    assert _duplicates(site) > 0
    _check(sent, client, scenario)


def _duplicates(site: Site) -> int:
    """Return how many events the service has answered as duplicates."""
    return sum(line.get("duplicates") or 0 for line in site.service.log_lines("request"))


async def _send_during(
    outage: Outage, client: SdkClient, scenario: Scenario, site: Site, folder: Path
) -> Sent:
    key = await site.make_key(client.profile)
    patience_s = _PATIENCE_S[scenario in client.loses]
    calls = tracks(OUTAGE)
    return await Sender(client, site, key, folder).send(calls, outage=outage, patience_s=patience_s)
