"""
A tenant that sends too much has only its own requests refused.

If these tests fail: one tenant with an ordinary key can have the events of all others refused.
"""

import asyncio
from collections import Counter
from typing import Final

from provision.keys import NewKey
from tests.acceptance.conftest import StartSite
from tests.acceptance.running import until
from tests.acceptance.site import Site, new_ids, track, tracks

QUEUE_ROWS: Final = 200
# Three flushes take up to a whole queue each, and the rest has to fill the queue again.
BATCHES: Final = 30
BATCH: Final = 50
PAUSE_S: Final = 0.05
# A full queue has at least half of its rows until it takes payloads again: these do not fit.
EVENTS: Final = 120
# In this time they would be refused.
SETTLING_S: Final = 1.0
TIMEOUT_S: Final = 20.0


async def send_batch(
    site: Site, key: NewKey, refusals: Counter[str], is_over: asyncio.Event
) -> list[str]:
    """Send a batch until it is stored or *is_over*; return the event ids that are stored."""
    event_ids = new_ids(BATCH)
    async with site.client(key) as client:
        while True:
            answer = await client.post("/v1/batch", json=tracks(event_ids))
            if answer.status_code == 200:
                return event_ids
            assert (503, "overloaded") == (answer.status_code, answer.json()["code"])
            refusals[answer.json()["message"]] += 1
            if is_over.is_set():
                return []
            await asyncio.sleep(PAUSE_S)


async def send_event(site: Site, key: NewKey) -> int:
    async with site.client(key) as client:
        answer = await client.post("/v1/track", json=track())
    return answer.status_code


async def test_in_a_full_queue_only_the_tenant_that_fills_it_is_refused(
    start_site: StartSite,
) -> None:
    site = await start_site(
        workers="1", queue_rows_max=str(QUEUE_ROWS), lock_timeout_ms="10000", flush_timeout_s="20"
    )
    noisy, good = await site.make_key(), await site.make_key()
    refusals: Counter[str] = Counter()
    is_over = asyncio.Event()

    async def is_full() -> bool:
        # Until the second flush has stalled, there is room now and then.
        return refusals.total() > 2 * BATCHES

    async with site.database() as holder:
        # No flush ends, so the queue becomes full.
        await holder.execute("BEGIN; LOCK TABLE event_deduplication IN EXCLUSIVE MODE")
        batches = [
            asyncio.create_task(send_batch(site, noisy, refusals, is_over)) for _ in range(BATCHES)
        ]
        await until(is_full, TIMEOUT_S, "the queue is full")

        events = [asyncio.create_task(send_event(site, good)) for _ in range(EVENTS)]
        await asyncio.wait(events, timeout=SETTLING_S)
        await holder.execute("ROLLBACK")
    assert [200] * EVENTS == await asyncio.gather(*events)
    is_over.set()

    stored = await asyncio.gather(*batches)
    assert EVENTS == len(await site.rows(good))
    assert {event_id for ids in stored for event_id in ids} == set(await site.event_ids(noisy))
    assert any("most of them sent with this key" in message for message in refusals)
