"""There is a place for today's events, and for those of the days around it."""

import asyncio
from datetime import date
from typing import Any

from service.store.partitions import ensure_partitions, top_up_partitions
from service.store.pool import PoolConfig, open_pool

TODAY = date(2026, 2, 27)
PARTITIONS = (
    "SELECT inhrelid::regclass::text FROM pg_inherits"
    " WHERE inhparent IN ('events'::regclass, 'rejected_events'::regclass) ORDER BY 1"
)
DAYS = ("0226", "0227", "0228", "0301", "0302", "0303", "0304", "0305", "0306")


async def names(connection: Any) -> list[str]:
    return [row[0] for row in await connection.fetch(PARTITIONS)]


async def test_from_yesterday_to_a_week_ahead(store_config: PoolConfig, connection: Any) -> None:
    pool = await open_pool(store_config)

    assert 18 == await top_up_partitions(pool, TODAY)
    assert 0 == await top_up_partitions(pool, TODAY)

    expected = [f"{parent}_2026{day}" for parent in ("events", "rejected_events") for day in DAYS]
    assert expected == await names(connection)
    pool.terminate()


async def test_a_day_later_there_is_one_day_more(store_config: PoolConfig) -> None:
    pool = await open_pool(store_config)
    await top_up_partitions(pool, TODAY)

    assert 2 == await top_up_partitions(pool, date(2026, 2, 28))
    pool.terminate()


async def test_workers_that_come_together_make_each_once(
    store_config: PoolConfig, connection: Any
) -> None:
    pools = [await open_pool(store_config) for _ in range(4)]

    made = await asyncio.gather(*(top_up_partitions(pool, TODAY) for pool in pools * 2))

    assert 18 == sum(made) == len(await names(connection))
    for pool in pools:
        pool.terminate()


async def test_only_the_days_asked_for_are_made(store_config: PoolConfig, connection: Any) -> None:
    pool = await open_pool(store_config)

    assert 2 == await ensure_partitions(pool, TODAY, TODAY)
    assert ["events_20260227", "rejected_events_20260227"] == await names(connection)
    pool.terminate()
