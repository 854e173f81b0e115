"""
A tenant that sends too much has only its own requests refused.

If these tests fail: one tenant with an ordinary key can have the events of all others refused.
"""

import asyncio
import re
from typing import Final

from provision.keys import NewKey
from tests.acceptance.conftest import StartSite
from tests.acceptance.running import until
from tests.acceptance.site import Site, new_ids, track, tracks

QUEUE_ROWS: Final = 100
# Three flushes take up to a whole queue each, and the rest has to fill the queue again.
BATCHES: Final = 30
BATCH: Final = 50
PAUSE_S: Final = 0.05
# A full queue has at least half of its rows until it takes payloads again: these do not fit.
EVENTS: Final = 60
TIMEOUT_S: Final = 20.0
REFUSED: Final = "forebay_queue_refused_total"


async def refused(site: Site, cause: str) -> float:
    async with site.client() as client:
        text = (await client.get(site.service.metrics_url)).text
    found = re.search(rf'^{REFUSED}{{cause="{cause}"}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def send_batch(site: Site, key: NewKey, is_over: asyncio.Event) -> list[str]:
    """Send a batch until it is stored or *is_over*; return the event ids that are stored."""
    event_ids = new_ids(BATCH)
    async with site.client(key) as client:
        while True:
            answer = await client.post("/v1/batch", json=tracks(event_ids))
            if answer.status_code == 200:
                return event_ids
            assert (503, "overloaded") == (answer.status_code, answer.json()["code"])
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
        workers="1",
        queue_rows_max=str(QUEUE_ROWS),
        light_key_bytes_max="65536",
        lock_timeout_ms="10000",
        flush_timeout_s="20",
    )
    noisy, good = await site.make_key(), await site.make_key()
    is_over = asyncio.Event()
    async with site.database() as holder:
        # No flush ends, so the queue becomes full.
        await holder.execute("BEGIN; LOCK TABLE event_deduplication IN EXCLUSIVE MODE")
        batches = [asyncio.create_task(send_batch(site, noisy, is_over)) for _ in range(BATCHES)]
        await until(lambda: refused(site, "full"), TIMEOUT_S, "the queue is full")

        events = [asyncio.create_task(send_event(site, good)) for _ in range(EVENTS)]
        await until(lambda: refused(site, "share"), TIMEOUT_S, "a batch has lost its room")
        await holder.execute("ROLLBACK")
    assert [200] * EVENTS == await asyncio.gather(*events)
    is_over.set()

    stored = await asyncio.gather(*batches)
    assert EVENTS == len(await site.rows(good))
    assert {event_id for ids in stored for event_id in ids} == set(await site.event_ids(noisy))
