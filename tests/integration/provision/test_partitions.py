"""Day partitions of events and rejected_events."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import asyncpg
import pytest

FROM: Final = date(2026, 11, 21)
TO: Final = date(2026, 11, 30)
ENSURE: Final = "SELECT ensure_event_partitions($1, $2)"
INSERT: Final = (
    "INSERT INTO events (id, tenant_id, workspace_id, event_id, type, schema_version, request_id,"
    ' received_at, "timestamp") VALUES (1, 1, 1, $2, $3, $3, 1, $1, $1)'
    " RETURNING tableoid::regclass::text"
)
PARTITIONS: Final = (
    "SELECT inhrelid::regclass::text FROM pg_inherits"
    " WHERE inhparent IN ('events'::regclass, 'rejected_events'::regclass) ORDER BY 1"
)


async def names(connection: Any) -> list[str]:
    return [row[0] for row in await connection.fetch(PARTITIONS)]


async def test_a_migrated_database_has_none_yet(connection: Any) -> None:
    assert [] == await names(connection)


async def test_both_days_are_included_and_the_count_is_told(connection: Any) -> None:
    assert 20 == await connection.fetchval(ENSURE, FROM, TO)

    made = await names(connection)
    assert "events_20261121" in made
    assert "rejected_events_20261130" in made
    assert 20 == len(made)


async def test_only_what_is_missing_is_made(connection: Any) -> None:
    await connection.fetchval(ENSURE, FROM, TO)

    assert 0 == await connection.fetchval(ENSURE, FROM, TO)
    assert 2 == await connection.fetchval(ENSURE, FROM, TO + timedelta(days=1))


async def test_an_empty_range_is_nothing_to_do(connection: Any) -> None:
    assert 0 == await connection.fetchval(ENSURE, TO, FROM)


async def test_an_absurd_range_is_refused(connection: Any) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match="at most 400 days"):
        await connection.fetchval(ENSURE, FROM, date(2036, 1, 1))


async def test_eight_workers_at_once_make_each_partition_once(database_url: str) -> None:
    workers = [await asyncpg.connect(database_url) for _ in range(8)]
    try:
        made = await asyncio.gather(*(worker.fetchval(ENSURE, FROM, TO) for worker in workers))

        assert 20 == sum(made)
        assert 20 == len(await names(workers[0]))
    finally:
        for worker in workers:
            worker.terminate()


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "America/Los_Angeles", "UTC"])
async def test_days_are_utc_days_whatever_the_sessions_timezone(connection: Any, zone: str) -> None:
    await connection.execute(f"SET timezone = '{zone}'; SET datestyle = 'SQL, DMY'")
    await connection.fetchval(ENSURE, FROM, FROM + timedelta(days=1))

    first = datetime(2026, 11, 21, tzinfo=UTC)
    last = datetime(2026, 11, 22, 23, 59, 59, 999_999, tzinfo=UTC)
    assert "events_20261121" == await connection.fetchval(INSERT, first, "a", "track")
    assert "events_20261122" == await connection.fetchval(INSERT, last, "b", "track")


async def test_a_row_without_a_partition_is_a_check_violation_without_a_constraint(
    connection: Any,
) -> None:
    with pytest.raises(asyncpg.CheckViolationError) as raised:
        await connection.fetchval(INSERT, datetime(2026, 11, 21, tzinfo=UTC), "a", "track")

    assert raised.value.constraint_name is None


async def test_partitions_have_the_primary_key_of_their_parent(connection: Any) -> None:
    await connection.fetchval(ENSURE, FROM, FROM)
    moment = datetime(2026, 11, 21, 12, tzinfo=UTC)
    await connection.fetchval(INSERT, moment, "a", "track")

    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.fetchval(INSERT, moment, "a", "track")


async def test_new_partitions_do_not_wait_for_an_open_flush(
    database_url: str, connection: Any
) -> None:
    await connection.fetchval(ENSURE, FROM, FROM)
    writer = await asyncpg.connect(database_url)
    try:
        await writer.execute("BEGIN")
        await writer.fetchval(INSERT, datetime(2026, 11, 21, tzinfo=UTC), "a", "track")
        await connection.execute("SET lock_timeout = '1s'")

        assert 2 == await connection.fetchval(ENSURE, TO, TO)
    finally:
        writer.terminate()


async def test_a_detached_partition_in_the_way_is_an_error_not_a_silence(connection: Any) -> None:
    await connection.fetchval(ENSURE, FROM, FROM)
    await connection.execute("ALTER TABLE events DETACH PARTITION events_20261121")

    with pytest.raises(asyncpg.DuplicateTableError):
        await connection.fetchval(ENSURE, FROM, FROM)
