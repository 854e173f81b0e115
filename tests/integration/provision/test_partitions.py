"""
Day partitions of events and rejected_events, also beside partitions made by administrators.

If these tests fail: events of a day cannot be stored, or partitions of administrators are damaged.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import asyncpg
import pytest

from tests.conftest import MakeRole

FROM: Final = date(2026, 11, 21)
TO: Final = date(2026, 11, 30)
NOON: Final = datetime(2026, 11, 21, 12, tzinfo=UTC)
ENSURE: Final = "SELECT * FROM ensure_event_partitions_v1($1, $2)"
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


async def ensure(connection: Any, first: date = FROM, last: date = FROM) -> list[Any]:
    rows: list[Any] = await connection.fetch(ENSURE, first, last)
    return rows


async def ensure_events(connection: Any, first: date = FROM, last: date = FROM) -> list[Any]:
    return [row for row in await ensure(connection, first, last) if row["parent"] == "events"]


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Any]:
    """Lend a second session."""
    lent = await asyncpg.connect(
        database_url, server_settings={"application_name": "an analyst", "timezone": "UTC"}
    )
    yield lent
    lent.terminate()


async def test_a_migrated_database_has_none_yet(connection: Any) -> None:
    assert [] == await names(connection)


async def test_both_days_are_included_and_each_is_returned(connection: Any) -> None:
    made = [row["made"] for row in await ensure(connection, FROM, TO)]

    assert sorted(made) == await names(connection)
    assert "events_20261121" in made
    assert "rejected_events_20261130" in made
    assert 20 == len(made)


async def test_only_what_is_missing_is_made(connection: Any) -> None:
    await ensure(connection, FROM, TO)

    assert [] == await ensure(connection, FROM, TO)
    assert 2 == len(await ensure(connection, FROM, TO + timedelta(days=1)))


async def test_an_empty_range_is_nothing_to_do(connection: Any) -> None:
    assert [] == await ensure(connection, TO, FROM)


async def test_an_absurd_range_is_refused(connection: Any) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match="at most 400 days"):
        await ensure(connection, FROM, date(2036, 1, 1))


async def test_eight_workers_at_once_make_each_partition_once(database_url: str) -> None:
    workers = [await asyncpg.connect(database_url) for _ in range(8)]
    try:
        made = await asyncio.gather(*(ensure(worker, FROM, TO) for worker in workers))

        assert 20 == sum(map(len, made))
        assert 20 == len(await names(workers[0]))
    finally:
        for worker in workers:
            worker.terminate()


async def test_the_release_before_makes_its_partitions_beside_ours(connection: Any) -> None:
    of_before = "SELECT ensure_event_partitions($1, $2)"

    assert 2 == await connection.fetchval(of_before, FROM, FROM)
    assert 2 == len(await ensure(connection, FROM, FROM + timedelta(days=1)))
    assert 0 == await connection.fetchval(of_before, FROM, FROM + timedelta(days=1))


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "America/Los_Angeles", "UTC"])
async def test_days_are_utc_days_whatever_the_sessions_timezone(connection: Any, zone: str) -> None:
    await connection.execute(f"SET timezone = '{zone}'; SET datestyle = 'SQL, DMY'")
    await ensure(connection, FROM, FROM + timedelta(days=1))

    first = datetime(2026, 11, 21, tzinfo=UTC)
    last = datetime(2026, 11, 22, 23, 59, 59, 999_999, tzinfo=UTC)
    assert "events_20261121" == await connection.fetchval(INSERT, first, "a", "track")
    assert "events_20261122" == await connection.fetchval(INSERT, last, "b", "track")
    assert [] == await ensure(connection, FROM, FROM + timedelta(days=1))


async def test_a_row_without_a_partition_is_a_check_violation_without_a_constraint(
    connection: Any,
) -> None:
    with pytest.raises(asyncpg.CheckViolationError) as raised:
        await connection.fetchval(INSERT, datetime(2026, 11, 21, tzinfo=UTC), "a", "track")

    assert raised.value.constraint_name is None


async def test_partitions_have_the_primary_key_of_their_parent(connection: Any) -> None:
    await ensure(connection)
    await connection.fetchval(INSERT, NOON, "a", "track")

    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.fetchval(INSERT, NOON, "a", "track")


async def test_new_partitions_do_not_wait_for_an_open_flush(connection: Any, other: Any) -> None:
    await ensure(connection)
    await other.execute("BEGIN")
    await other.fetchval(INSERT, NOON, "a", "track")

    made = await ensure(connection, TO, TO)

    assert [None, None] == [row["problem"] for row in made]


async def test_a_detached_table_with_the_name_is_reported_and_another_name_is_used(
    connection: Any,
) -> None:
    await ensure(connection)
    await connection.execute("ALTER TABLE events DETACH PARTITION events_20261121")

    (row,) = await ensure(connection)

    assert ("events_20261121_2", True) == (row["made"], row["takes_rows"])
    assert "events_20261121 is not a partition, and has the name of one" == row["problem"]
    assert "rename or drop events_20261121" in row["advice"]
    assert "events_20261121_2" == await connection.fetchval(INSERT, NOON, "a", "track")
    assert [] == await ensure(connection)


async def test_a_partition_over_many_days_covers_each_of_them(connection: Any) -> None:
    await connection.execute(
        "CREATE TABLE events_winter PARTITION OF events"
        " FOR VALUES FROM ('2026-11-22 00:00:00+00') TO (MAXVALUE)"
    )

    assert ["events_20261121"] == [row["made"] for row in await ensure_events(connection, FROM, TO)]
    later = datetime(2027, 3, 1, tzinfo=UTC)
    assert "events_winter" == await connection.fetchval(INSERT, later, "a", "track")


async def test_partitions_that_divide_a_day_cover_it(connection: Any) -> None:
    for number, bounds in enumerate([("00:00", "11:00"), ("11:00", "24:00")]):
        await connection.execute(
            f"CREATE TABLE events_part_{number} PARTITION OF events FOR VALUES"
            f" FROM ('2026-11-21 {bounds[0]}+00') TO ('2026-11-21 {bounds[1]}+00')"
        )

    assert [] == await ensure_events(connection)


async def test_a_partition_that_ends_within_a_day_leaves_its_rest_to_be_made(
    connection: Any,
) -> None:
    """Months by the clock of an administrator east of Greenwich end in the middle of a UTC day."""
    await connection.execute(
        "CREATE TABLE events_november PARTITION OF events"
        " FOR VALUES FROM ('2026-11-01 00:00:00+01') TO ('2026-12-01 00:00:00+01')"
    )

    (rest, december) = await ensure_events(connection, TO, TO + timedelta(days=1))

    assert ("events_20261130_230000", None) == (rest["made"], rest["problem"])
    assert "events_20261201" == december["made"]
    last = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
    assert "events_20261130_230000" == await connection.fetchval(INSERT, last, "a", "track")


async def test_an_empty_default_partition_is_no_obstacle(connection: Any) -> None:
    await connection.execute("CREATE TABLE events_rest PARTITION OF events DEFAULT")

    assert ["events_20261121"] == [row["made"] for row in await ensure_events(connection)]


async def test_a_default_partition_with_rows_takes_the_rows_and_is_reported(
    connection: Any,
) -> None:
    await connection.execute("CREATE TABLE events_rest PARTITION OF events DEFAULT")
    await connection.fetchval(INSERT, NOON, "a", "track")

    for row in await ensure_events(connection, FROM, TO):
        assert (None, True) == (row["made"], row["takes_rows"])
        assert "the DEFAULT partition events_rest holds rows" == row["problem"]
    assert 10 == len([name for name in await names(connection) if name.startswith("rejected")])


async def test_a_partition_of_another_shape_is_left_alone(connection: Any) -> None:
    await connection.execute(
        "DROP TABLE events; CREATE TABLE events (id int, received_at timestamptz)"
    )

    assert ["rejected_events"] == [row["parent"] for row in await ensure(connection)]


async def test_a_day_that_fails_does_not_prevent_the_other_days(connection: Any) -> None:
    """A partition whose DETACH CONCURRENTLY was cut off takes no rows, and no other can."""
    await ensure(connection)
    await connection.execute(
        "UPDATE pg_inherits SET inhdetachpending = true"
        " WHERE inhrelid = 'events_20261121'::regclass"
    )

    (refused, made) = await ensure_events(connection, FROM, FROM + timedelta(days=1))

    assert (None, False) == (refused["made"], refused["takes_rows"])
    assert "would overlap partition" in refused["problem"]
    assert "ALTER TABLE events DETACH PARTITION events_20261121 FINALIZE" == refused["advice"]
    assert "events_20261122" == made["made"]


async def test_a_lock_timeout_ends_the_wait_and_the_holder_is_named(
    connection: Any, other: Any
) -> None:
    await other.execute("BEGIN; LOCK TABLE events IN SHARE UPDATE EXCLUSIVE MODE")
    async with asyncio.timeout(5 * 0.5):
        rows = await ensure(connection, FROM, TO)

    refused = [row for row in rows if row["parent"] == "events"]
    pid = other.get_server_pid()
    assert {None} == {row["made"] for row in refused}
    assert all(f"waiting for pid {pid}, an analyst" in row["advice"] for row in refused)
    assert 10 == sum(row["made"] is not None for row in rows)

    await other.execute("COMMIT")
    assert 10 == len(await ensure(connection, FROM, TO))


async def test_a_session_that_reads_an_empty_default_partition_is_named_too(
    connection: Any, other: Any
) -> None:
    await connection.execute("CREATE TABLE events_rest PARTITION OF events DEFAULT")
    await other.execute("BEGIN; SELECT FROM events")

    (row,) = await ensure_events(connection)

    assert (None, True) == (row["made"], row["takes_rows"])
    assert f"waiting for pid {other.get_server_pid()}, an analyst" in row["advice"]


async def test_a_function_whose_owner_may_not_create_is_a_problem_with_its_cure(
    connection: Any, make_role: MakeRole
) -> None:
    role = await make_role("SELECT")
    change = "ALTER FUNCTION ensure_event_partitions_v1(date,date) OWNER TO"
    await connection.execute(f"{change} {role.name}")

    rows = await ensure(connection)

    await connection.execute(f"{change} CURRENT_USER")
    assert {"permission denied for schema public"} == {row["problem"] for row in rows}
    assert {"run provision status: it names the right that is missing"} == {
        row["advice"] for row in rows
    }


async def test_a_role_that_may_only_call_the_function_does_not_own_the_partitions(
    connection: Any, make_role: MakeRole
) -> None:
    role = await make_role("INSERT")
    writer = await asyncpg.connect(role.url)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="ensure_event_partitions_v1"):
            await ensure(writer)
        await connection.execute(
            f"GRANT EXECUTE ON FUNCTION ensure_event_partitions_v1(date,date) TO {role.name}"
        )

        assert 2 == len(await ensure(writer))
    finally:
        writer.terminate()
    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE tablename ~ '^events'"
    assert 1 == len(await connection.fetch(owners))
    assert await connection.fetchval(
        "SELECT tableowner = current_user FROM pg_tables WHERE tablename = 'events_20261121'"
    )
