"""
`provision status` on partitions, rights and servers, and `provision partitions`.

If these tests fail: an operator is not told that events cannot be stored soon.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.conftest import MakeRole, own_database

from .conftest import Provision


def day(days: int) -> str:
    return f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%d}"


def partition(days: int) -> str:
    return f"events_{day(days).replace('-', '')}"


async def test_status_reports_no_problem_of_partitions_that_the_service_made(
    provision: Provision,
) -> None:
    assert 0 == provision("partitions").returncode

    status = json.loads(provision("status", "--json").stdout)

    assert [] == status["warnings"]
    assert [9, 9] == [table["partitions"] for table in status["partitions"]]


async def test_what_is_wrong_with_the_coming_days_is_named(
    provision: Provision, connection: Any
) -> None:
    provision("partitions")
    for days in (0, 1):
        await connection.execute(f"ALTER TABLE events DETACH PARTITION {partition(days)}")
    await connection.execute(f"DROP TABLE {partition(0)}")
    await connection.execute("CREATE TABLE rest PARTITION OF events DEFAULT")

    status = json.loads(provision("status", "--json").stdout)

    cure = "provision partitions makes it, or says why it cannot"
    assert {
        f"{partition(1)} is not a partition, and has the name of one: rename or drop it",
        "events has a DEFAULT partition, rest: no new partitions while rows are in it",
        f"events has no partition for {day(0)}, and rows go to the DEFAULT partition: {cure}",
        f"events has no partition for {day(1)}, and rows go to the DEFAULT partition: {cure}",
    } == set(status["warnings"])


async def test_partitions_without_an_end_are_counted(provision: Provision, connection: Any) -> None:
    await connection.execute(
        "CREATE TABLE all_events PARTITION OF events FOR VALUES FROM (MINVALUE) TO (MAXVALUE)"
    )

    (table,) = json.loads(provision("status", "--json").stdout)["partitions"]

    assert ("events", 1) == (table["table_name"], table["partitions"])


async def test_partitions_are_made_by_hand_and_one_that_cannot_be_made_is_an_error(
    provision: Provision, connection: Any
) -> None:
    assert 8 == len(json.loads(provision("partitions", "--days-ahead", "2", "--json").stdout))

    async with connection.transaction():
        await connection.execute("LOCK TABLE events IN SHARE UPDATE EXCLUSIVE MODE")
        refused = provision("partitions", "--days-ahead", "3", "--json")

    rows = {row["table_name"]: row for row in json.loads(refused.stdout)}
    assert 1 == refused.returncode
    assert f"waiting for pid {connection.get_server_pid()}" in rows["events"]["advice"]
    assert rows["rejected_events"]["made"] is not None


async def test_status_names_each_right_that_a_role_for_writing_lacks(
    provision: Provision, make_role: MakeRole, connection: Any
) -> None:
    role = await make_role("INSERT")
    await connection.execute(f"GRANT SELECT ON schema_checksums TO {role.name}")
    grant = f"GRANT EXECUTE ON FUNCTION ensure_event_partitions_v1(date,date) TO {role.name}"

    status = provision("status", url=role.url)
    partitions = provision("partitions", url=role.url)

    for table in ("events", "event_deduplication", "api_keys", "tenants"):
        assert f"GRANT SELECT ON TABLE {table} TO {role.name}" in status.stderr
    assert grant in status.stderr
    assert (1, "") == (partitions.returncode, partitions.stdout)
    assert grant in partitions.stderr


@pytest.fixture(params=["LATIN1", "SQL_ASCII"])
def database_in(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[tuple[str, str]]:
    """Lend a bare database in an encoding that Forebay cannot use: the encoding, the URL."""
    options = f"TEMPLATE template0 ENCODING '{request.param}' LOCALE_PROVIDER libc LOCALE 'C'"
    for url in own_database(postgres_url, options):
        yield str(request.param), url


@pytest.mark.parametrize("command", ["migrate", "status"])
async def test_a_database_that_is_not_utf_8_is_refused_before_anything_is_run_on_it(
    provision: Provision, database_in: tuple[str, str], command: str
) -> None:
    encoding, url = database_in

    done = provision(command, url=url)

    assert 1 == done.returncode
    assert f"the database has the encoding {encoding}, and Forebay needs UTF8" in done.stderr
    bare = await asyncpg.connect(url)
    assert await bare.fetchval("SELECT to_regclass('schema_migrations') IS NULL")
    bare.terminate()
