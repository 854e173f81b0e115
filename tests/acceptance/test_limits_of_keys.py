"""
Limits of the requests of a key: the profiles at their limits, and changes while workers run.

If these tests fail: bursts of SDKs are lost although their key has the profile for them, or an
operator has to restart the service to change a limit.
"""

import gzip
import json
from typing import Any, Final

import httpx
import pytest

from provision.key_limits import stored_limits
from provision.keys import NewKey, Profile, update_key
from tests.acceptance.running import until
from tests.acceptance.site import Site, new_ids, track, tracks

MIB: Final = 1024 * 1024
# Five times the time in which a change has to reach every worker.
HEARD_S: Final = 5.0


def padded(ids: list[str], size_bytes: int) -> bytes:
    """Return a batch of exactly *size_bytes*, with its text spread over all events."""
    empty = len(json.dumps({"batch": [track(one, properties={"x": ""}) for one in ids]}))
    each = (size_bytes - empty) // len(ids)
    batch = [track(one, properties={"x": "x" * each}) for one in ids]
    return json.dumps({"batch": batch}).encode().ljust(size_bytes)


async def test_a_batch_of_2500_events_and_4_mb_is_stored_with_the_profile_rudderstack(
    shared: Site,
) -> None:
    key = await shared.make_key(Profile.RUDDERSTACK)
    ids = new_ids(2_500)
    body = padded(ids, 4 * MIB)
    async with shared.client(key) as client:
        first = await client.post("/v1/batch", content=body)
        again = await client.post("/v1/batch", content=body)
        packed = {"content-encoding": "gzip"}
        third = await client.post("/v1/batch", content=gzip.compress(body, 1), headers=packed)

    assert (200, 2_500) == (first.status_code, first.json()["accepted"]), first.text[:500]
    assert (200, 2_500) == (again.status_code, again.json()["duplicates"])
    assert (200, 2_500) == (third.status_code, third.json()["duplicates"])
    rows = await shared.rows(key)
    assert sorted(ids) == sorted(row["event_id"] for row in rows)
    (length,) = {len(row["properties"]["x"]) for row in rows}
    assert length > 1_500


async def test_2500_rejected_and_2500_conflicting_events_of_4_mb_are_answered(shared: Site) -> None:
    key = await shared.make_key(Profile.RUDDERSTACK)
    ids = new_ids(2_500)
    batch = padded(ids, 4 * MIB)
    async with shared.client(key) as client:
        rejected = await client.post("/v1/batch", content=batch.replace(b'"event":', b'"other":'))
        await client.post("/v1/batch", content=json.dumps(tracks(ids)))
        conflicts = await client.post("/v1/batch", content=batch)

    assert (200, 2_500) == (rejected.status_code, rejected.json()["rejected"])
    assert (200, 2_500) == (conflicts.status_code, conflicts.json()["conflicts"])


@pytest.mark.parametrize("profile", [Profile.SEGMENT, Profile.RUDDERSTACK])
async def test_60_events_of_20_kb_in_the_batches_that_sdks_make_are_stored(
    shared: Site, profile: Profile
) -> None:
    """Segment's SDK for Node sends 15 at a time, RudderStack's SDK for Python all, compressed."""
    key = await shared.make_key(profile)
    ids = new_ids(60)
    size = 15 if profile is Profile.SEGMENT else 60
    async with shared.client(key, headers={"content-encoding": "gzip"}) as client:
        for start in range(0, len(ids), size):
            events = [track(one, properties={"x": "ä" * 10_000}) for one in ids[start:][:size]]
            body = json.dumps({"batch": events}, ensure_ascii=False).encode()
            answer = await client.post("/v1/batch", content=gzip.compress(body))
            assert answer.status_code == 200, answer.text

    assert ids == await shared.event_ids(key)


async def change(site: Site, key: NewKey, **options: Any) -> None:
    async with site.database() as connection:
        await update_key(connection, key.key_id, **stored_limits(**options))


async def until_all_answer(clients: dict[int, httpx.AsyncClient], events: int, status: int) -> None:
    async def do() -> bool:
        answers = [
            await client.post("/v1/batch", json=tracks(new_ids(events)))
            for client in clients.values()
        ]
        return {answer.status_code for answer in answers} == {status}

    await until(do, HEARD_S, f"every worker answers {status} to {events} events")


async def test_a_change_of_the_limits_applies_in_every_worker_without_a_restart(
    shared: Site,
) -> None:
    key = await shared.make_key()
    async with shared.client_of_each_worker(key) as clients:
        await until_all_answer(clients, 51, 400)
        await change(shared, key, profile=Profile.SEGMENT)
        await until_all_answer(clients, 500, 200)
        await change(shared, key, max_batch_events=30)
        await until_all_answer(clients, 31, 400)
        await change(shared, key, max_batch_events="default", max_payload_bytes=1_024)
        await until_all_answer(clients, 40, 413)
        await change(shared, key, profile=Profile.DEFAULT)
        await until_all_answer(clients, 50, 200)


async def test_a_refusal_names_the_profile_that_fits(shared: Site) -> None:
    key = await shared.make_key()
    large = padded(new_ids(60), 1_300_000)
    async with shared.client(key) as client:
        count = (await client.post("/v1/batch", json=tracks(new_ids(100)))).json()
        size = (await client.post("/v1/batch", content=large)).json()
        none = (await client.post("/v1/batch", content=b" " * (4 * MIB + 1))).json()

    assert ("batch_too_large", "segment") == (count["code"], count["profile"])
    assert "A key with the profile segment may send 2500 events" in count["message"]
    assert ("payload_too_large", "rudderstack") == (size["code"], size["profile"])
    assert "profile rudderstack may send 2500 events and 4194304 bytes" in size["message"]
    assert "profile" not in none
