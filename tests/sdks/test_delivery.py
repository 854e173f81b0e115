"""
Unmodified SDKs with the host and the key of Forebay: every type, bursts, large events, wrong keys.

If these tests fail: an application that moves from Segment, RudderStack or Jitsu to Forebay by
changing the host loses events.
"""

from pathlib import Path

import msgspec
import pytest

from provision.keys import Profile
from service import apikey
from tests.acceptance.site import Site
from tests.sdks.calls import (
    BAD,
    BURST,
    LARGE,
    LARGE_BYTES,
    check_fields,
    numbers,
    one_of_each,
    tracks,
    with_bad_event,
)
from tests.sdks.clients import Scenario, SdkClient
from tests.sdks.conftest import Keep
from tests.sdks.driver import Driver
from tests.sdks.sending import PATIENCE_S, Sender


@pytest.mark.scenario(Scenario.TYPES)
async def test_every_type_is_stored_with_its_fields(
    client: SdkClient, shared: Site, tmp_path: Path, keep: Keep
) -> None:
    key = await shared.make_key(client.profile)
    sent = keep(await Sender(client, shared, key, tmp_path).send(one_of_each(client)))

    check_fields(sent.calls, sent.rows, sent.begun, sent.ended)
    assert await shared.rejected(key) == []
    assert sent.exit_code == 0


@pytest.mark.scenario(Scenario.BURST)
async def test_every_event_of_a_burst_is_stored_once(
    client: SdkClient, shared: Site, tmp_path: Path, keep: Keep
) -> None:
    key = await shared.make_key(client.profile)
    is_lossy = Scenario.BURST in client.loses
    sender = Sender(client, shared, key, tmp_path)
    sent = keep(await sender.send(tracks(BURST), patience_s=20 if is_lossy else PATIENCE_S))

    assert sent.doubled == []
    if not is_lossy:
        assert dict.fromkeys(range(BURST), 1) == dict(numbers(sent.rows)), sent.told


@pytest.mark.scenario(Scenario.LARGE, is_full_only=True)
async def test_every_large_event_is_stored_once(
    client: SdkClient, shared: Site, tmp_path: Path, keep: Keep
) -> None:
    key = await shared.make_key(client.profile)
    sent = keep(await Sender(client, shared, key, tmp_path).send(tracks(LARGE, LARGE_BYTES)))

    assert dict.fromkeys(range(LARGE), 1) == dict(numbers(sent.rows)), sent.told


@pytest.mark.scenario(Scenario.WRONG_KEY)
async def test_a_wrong_key_is_reported_and_stores_nothing(
    client: SdkClient, shared: Site, tmp_path: Path, keep: Keep
) -> None:
    key = await shared.make_key(client.profile)
    wrong = msgspec.structs.replace(key, api_key=apikey.mint().text)

    async def is_refused(running: Driver) -> bool:
        return any(line.get("status") == 401 for line in running.said)

    before = len(shared.service.log_lines("request"))
    sender = Sender(client, shared, wrong, tmp_path)
    sent = keep(await sender.send(tracks(3), is_over=is_refused, patience_s=20))

    assert 401 in {line["status"] for line in shared.service.log_lines("request")[before:]}
    assert sent.rows == []
    assert sent.told


@pytest.mark.scenario(Scenario.BAD_EVENT, is_full_only=True)
async def test_one_bad_event_costs_only_itself(
    client: SdkClient, shared: Site, tmp_path: Path, keep: Keep
) -> None:
    key = await shared.make_key(client.profile)
    calls = with_bad_event()

    async def are_there(_: Driver) -> bool:
        return len(await shared.rows(key)) + len(await shared.rejected(key)) >= len(calls)

    sender = Sender(client, shared, key, tmp_path)
    sent = keep(await sender.send(calls, is_over=are_there, patience_s=30))

    assert dict.fromkeys(set(range(len(calls))) - {BAD}, 1) == dict(numbers(sent.rows))
    assert ["too_deep"] == [row["code"] for row in await shared.rejected(key)]


@pytest.mark.scenario(Scenario.SMALL_KEY, is_full_only=True)
async def test_a_key_with_small_limits_stores_the_batches_that_fit_once(
    client: SdkClient, shared: Site, tmp_path: Path, keep: Keep
) -> None:
    """Which batches are lost, and what their sender sees, is in the results."""
    key = await shared.make_key(Profile.DEFAULT)
    sent = keep(await Sender(client, shared, key, tmp_path).send(tracks(BURST), patience_s=30))

    assert sent.doubled == []
