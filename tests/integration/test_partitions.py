"""
Partitions are created in advance, and a missing privilege or partition is reported.

If these tests fail: at midnight UTC events get 503, and the log has no earlier warning.
"""

import asyncio
from datetime import date, timedelta
from typing import Any

import msgspec
import pytest

from service.store.connections import PoolConfig, open_pool
from service.store.errors import FailureClass, NoPartitionError, classify
from service.store.partitions import (
    Partition,
    TopUp,
    ensure_partitions,
    require_partition,
    top_up_partitions,
)
from tests.conftest import MakeRole

TODAY = date(2026, 2, 27)
AFTER_TOMORROW = TODAY + timedelta(days=2)
PARTITIONS = (
    "SELECT inhrelid::regclass::text FROM pg_inherits"
    " WHERE inhparent IN ('events'::regclass, 'rejected_events'::regclass) ORDER BY 1"
)
DAYS = ("0226", "0227", "0228", "0301", "0302", "0303", "0304", "0305", "0306")


async def names(connection: Any) -> list[str]:
    return [row[0] for row in await connection.fetch(PARTITIONS)]


async def test_partitions_are_made_from_yesterday_to_a_week_ahead(
    store_config: PoolConfig, connection: Any
) -> None:
    pool = await open_pool(store_config)

    assert 18 == len((await top_up_partitions(pool, TODAY)).partitions)
    assert [] == (await top_up_partitions(pool, TODAY)).partitions

    expected = [f"{parent}_2026{day}" for parent in ("events", "rejected_events") for day in DAYS]
    assert expected == await names(connection)
    pool.terminate()


async def test_a_day_later_one_more_day_is_made(store_config: PoolConfig) -> None:
    pool = await open_pool(store_config)
    await top_up_partitions(pool, TODAY)

    assert 2 == len((await top_up_partitions(pool, date(2026, 2, 28))).partitions)
    pool.terminate()


async def test_concurrent_workers_make_each_partition_once(
    store_config: PoolConfig, connection: Any
) -> None:
    pools = [await open_pool(store_config) for _ in range(2)]

    made = await asyncio.gather(*(top_up_partitions(pool, TODAY) for pool in pools * 2))

    assert 18 == sum(len(done.partitions) for done in made) == len(await names(connection))
    for pool in pools:
        pool.terminate()


async def test_only_the_given_days_are_made(store_config: PoolConfig, connection: Any) -> None:
    pool = await open_pool(store_config)

    assert 2 == len(await ensure_partitions(pool, TODAY, TODAY))
    assert ["events_20260227", "rejected_events_20260227"] == await names(connection)
    pool.terminate()


async def test_existing_partitions_are_used_without_the_right_to_make_more(
    store_config: PoolConfig, connection: Any, make_role: MakeRole
) -> None:
    await connection.execute("SELECT ensure_event_partitions_v1($1, $2)", TODAY, AFTER_TOMORROW)
    role = await make_role("SELECT, INSERT")
    pool = await open_pool(msgspec.structs.replace(store_config, url=role.url))

    await require_partition(pool, TODAY)
    done = await top_up_partitions(pool, TODAY)

    grant = f"GRANT EXECUTE ON FUNCTION ensure_event_partitions_v1(date,date) TO {role.name}"
    assert grant in done.rights[0]
    assert 2 == done.days_ahead
    assert {"permission denied for function ensure_event_partitions_v1"} == {
        partition.problem for partition in done.failed
    }
    assert all(grant in str(partition.advice) for partition in done.failed)
    pool.terminate()


async def test_without_a_partition_for_today_a_worker_does_not_start(
    store_config: PoolConfig, make_role: MakeRole
) -> None:
    role = await make_role("SELECT, INSERT")
    pool = await open_pool(msgspec.structs.replace(store_config, url=role.url))

    with pytest.raises(NoPartitionError, match=r"2026-02-27.*GRANT EXECUTE") as raised:
        await require_partition(pool, TODAY)

    assert FailureClass.PARTITION is classify(raised.value)
    pool.terminate()


async def test_a_worker_starts_without_a_partition_of_quarantine(
    store_config: PoolConfig, connection: Any
) -> None:
    pool = await open_pool(store_config)
    async with connection.transaction():
        await connection.execute("LOCK TABLE rejected_events IN SHARE UPDATE EXCLUSIVE MODE")

        await require_partition(pool, TODAY)

    assert ["events_20260227"] == await names(connection)
    pool.terminate()


def partition(utc_day: date, *, takes_rows: bool = False) -> Partition:
    return Partition("events", utc_day, None, "a problem", None, takes_rows)


@pytest.mark.parametrize(
    ("failed", "days_ahead"),
    [
        ([], 7),
        ([partition(TODAY - timedelta(days=1))], 7),
        ([partition(TODAY)], -1),
        ([partition(TODAY + timedelta(days=1))], 0),
        ([partition(TODAY + timedelta(days=5)), partition(TODAY + timedelta(days=3))], 2),
        ([partition(TODAY + timedelta(days=3), takes_rows=True)], 7),
    ],
)
def test_days_ahead_end_before_the_first_day_that_cannot_be_stored(
    failed: list[Partition], days_ahead: int
) -> None:
    assert days_ahead == TopUp(TODAY, failed, []).days_ahead
