"""
The limits of the quarantine, over all workers.

If these tests fail: one sender can fill the disk of PostgreSQL with rejected events.
"""

import asyncio
import secrets
from typing import Any, Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from provision.keys import NewKey
from tests.acceptance.conftest import StartSite
from tests.acceptance.running import until
from tests.acceptance.site import Site

EVENTS: Final = 40
EVENT_BYTES: Final = 20_000
METRIC: Final = "forebay_quarantine_dropped_total"


def rejected_event() -> dict[str, Any]:
    # Random, so that PostgreSQL cannot compress it.
    text = secrets.token_urlsafe(EVENT_BYTES)[: EVENT_BYTES - 60]
    return {"type": "track", "properties": {"x": text}}


async def send_rejected(site: Site, key: NewKey) -> None:
    """Send rejected events to every worker, the same number to each."""
    async with site.client_of_each_worker(key) as clients:
        for _ in range(EVENTS // 2):
            answers = await asyncio.gather(
                *(c.post("/v1/track", json=rejected_event()) for c in clients.values())
            )
            assert {400} == {answer.status_code for answer in answers}


async def dropped(site: Site) -> dict[str, float]:
    async with httpx.AsyncClient() as client:
        text = (await client.get(site.service.metrics_url)).text
    return {
        sample.labels["cause"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == METRIC
    }


@pytest.mark.parametrize("workers", [1, 2])
async def test_bytes_per_key_and_minute_are_limited_over_all_workers(
    start_site: StartSite, workers: int
) -> None:
    limit = 10 * EVENT_BYTES
    site = await start_site(workers=str(workers), quarantine_bytes_per_minute=str(limit))
    one, other = await site.make_key(), await site.make_key()

    for key in (one, other):
        await send_rejected(site, key)

    for key in (one, other):
        stored = [len(row["payload"]) for row in await site.rejected(key)]
        # Each worker has an equal share, and may leave the room of one event.
        assert limit - workers * EVENT_BYTES < sum(stored) <= limit
    kept = sum([len(await site.rejected(key)) for key in (one, other)])
    assert {"bytes": 2 * workers * (EVENTS // 2) - kept} == await dropped(site)


@pytest.mark.parametrize("workers", [1, 2])
async def test_rows_per_key_and_minute_are_limited_over_all_workers(
    start_site: StartSite, workers: int
) -> None:
    site = await start_site(workers=str(workers), quarantine_rows_per_minute="10")
    key = await site.make_key()

    await send_rejected(site, key)

    assert len(await site.rejected(key)) == 10
    assert {"rows": workers * (EVENTS // 2) - 10} == await dropped(site)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_full_table_keeps_nothing_more_and_says_so(
    start_site: StartSite, workers: int, connection: Any
) -> None:
    size = "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('rejected_events')"
    await connection.fetch("SELECT ensure_event_partitions_v1(current_date - 1, current_date + 7)")
    limit = int(await connection.fetchval(size)) + 40 * EVENT_BYTES
    site = await start_site(workers=str(workers), quarantine_bytes_max=str(limit))

    async def is_full() -> bool:
        """More than fits, by several keys."""
        await send_rejected(site, await site.make_key())
        async with site.client_of_each_worker() as clients:
            reports = [(await c.get("/health")).json() for c in clients.values()]
        assert {"ok"} == {report["status"] for report in reports}
        return {"full"} == {report["quarantine"]["status"] for report in reports}

    await until(is_full, 30, "the quarantine is full")

    key = await site.make_key()
    async with site.client(key) as client:
        answer = await client.post("/v1/track", json=rejected_event())
        assert (400, "missing_field") == (answer.status_code, answer.json()["code"])
        accepted = await client.post("/v1/track", json={"event": "e", "user_id": "u"})
        assert accepted.status_code == 200
    assert [] == await site.rejected(key)
    assert await connection.fetchval(size) <= limit
    assert (await dropped(site))["table"] > 0

    async def is_logged() -> bool:
        return bool(site.service.log_lines("quarantine_full"))

    await until(is_logged, 30, "the log says that the quarantine is full")
