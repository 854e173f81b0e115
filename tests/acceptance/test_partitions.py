"""
Partitions in states that administrators leave behind: the service starts, stores and says so.

If these tests fail: events cannot be stored after midnight, and the operator is not told why.
"""

import os
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from provision.keys import NewKey
from tests.acceptance.conftest import MakeService, StartSite
from tests.acceptance.running import START_TIMEOUT_S, Service, until
from tests.acceptance.site import Site, new_ids, tracks
from tests.conftest import MakeRole

DAY = timedelta(days=1)


def today() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


async def make_partitions(connection: Any, days: int = 7) -> None:
    await connection.execute(
        "SELECT ensure_event_partitions_v1($1, $2)", today() - DAY, today() + days * DAY
    )


async def detach(connection: Any, day: datetime) -> None:
    await connection.execute(f"ALTER TABLE events DETACH PARTITION events_{day:%Y%m%d}")


async def store_one(site: Site, key: NewKey) -> str:
    """Store an event, and return the table that it is in."""
    (event_id,) = new_ids(1)
    async with site.client(key) as client:
        answer = await client.post("/v1/batch", json=tracks([event_id]))
    assert (200, 1) == (answer.status_code, answer.json()["accepted"])
    async with site.database() as connection:
        found = "SELECT tableoid::regclass::text FROM events WHERE event_id = $1"
        table: str = await connection.fetchval(found, event_id)
        return table


async def ahead_days(service: Service) -> float:
    async with httpx.AsyncClient() as client:
        text = (await client.get(service.metrics_url)).text
    (line,) = [x for x in text.splitlines() if x.startswith("forebay_partitions_ahead_days")]
    return float(line.split()[-1])


async def topped_up(service: Service, days_ahead: int) -> None:
    async def is_so() -> bool:
        return await ahead_days(service) == days_ahead

    await until(is_so, START_TIMEOUT_S, f"{days_ahead} days are ahead")


@pytest.mark.parametrize(
    "days",
    [
        pytest.param(0, id="today"),
        pytest.param(3, id="a_coming_day", marks=pytest.mark.nightly),
    ],
)
async def test_a_detached_day_partition_prevents_no_start_and_no_restart(
    make_service: MakeService, connection: Any, database_url: str, days: int
) -> None:
    await make_partitions(connection)
    await detach(connection, today() + days * DAY)
    service = make_service()

    await service.start()
    site = Site(service, database_url)
    key = await site.make_key()
    killed = service.worker_pids[0]
    os.kill(killed, signal.SIGKILL)
    await service.until_replaced([killed])

    assert (await store_one(site, key)).startswith(f"events_{today():%Y%m%d}")
    await topped_up(service, 7)
    taken = service.log_lines("partition_name_taken")
    assert [f"events_{today() + days * DAY:%Y%m%d}"] == [
        line["problem"].split()[0] for line in taken
    ]
    assert "Traceback" not in service.log
    assert 0 == await service.stop()


async def test_a_default_partition_with_rows_of_today_is_used_and_logged(
    start_site: StartSite, connection: Any
) -> None:
    await connection.execute(
        "CREATE TABLE rest PARTITION OF events DEFAULT;"
        "INSERT INTO events (id, tenant_id, workspace_id, event_id, type, schema_version,"
        " request_id, received_at, timestamp) VALUES (1, 99, 1, 'a', 'a', 'a', 1, now(), now())"
    )

    site = await start_site(workers="1")

    assert "rest" == await store_one(site, await site.make_key())
    line = site.service.log_lines("partition_not_made")[0]
    assert ("events", True) == (line["table"], line["rows_are_stored"])
    assert "the DEFAULT partition rest holds rows" == line["problem"]


async def test_an_operators_partition_over_the_coming_days_is_used(
    start_site: StartSite, connection: Any
) -> None:
    await connection.execute(
        f"CREATE TABLE mine PARTITION OF events FOR VALUES FROM ('{today() - DAY}') TO (MAXVALUE)"
    )

    site = await start_site(workers="1")

    assert "mine" == await store_one(site, await site.make_key())
    await topped_up(site.service, 7)
    assert [] == site.service.log_lines("partition_not_made")


async def test_a_role_that_cannot_make_partitions_serves_and_logs_until_when(
    start_site: StartSite, connection: Any, make_role: MakeRole
) -> None:
    role = await make_role("SELECT, INSERT")
    await make_partitions(connection, days=3)

    site = await start_site(through=role.url, workers="1")

    await store_one(site, await site.make_key())
    await topped_up(site.service, 3)
    line = site.service.log_lines("partition_rights_missing")[0]
    assert f"GRANT EXECUTE ON FUNCTION ensure_event_partitions_v1(date,date) TO {role.name}" in str(
        line["problems"]
    )
    assert f"{today() + 3 * DAY:%Y-%m-%d}" == line["events_can_be_stored_until"]
    assert "Traceback" not in site.service.log


async def test_without_todays_partition_the_start_waits_until_one_is_made(
    make_service: MakeService,
    connection: Any,
    database_url: str,
    make_role: MakeRole,
) -> None:
    role = await make_role("SELECT, INSERT")
    service = make_service(url=role.url)
    service.spawn()

    async def waits() -> bool:
        return len(service.log_lines("worker_waits_for_database")) > service.workers

    await until(waits, START_TIMEOUT_S, "the workers wait")
    await make_partitions(connection)
    await until(service.is_ready, START_TIMEOUT_S, "the service is ready")

    site = Site(service, database_url)
    await store_one(site, await site.make_key())
    assert "Traceback" not in service.log


async def test_a_role_that_may_not_store_is_refused_with_a_sentence(
    make_service: MakeService, make_role: MakeRole
) -> None:
    role = await make_role("SELECT")
    service = make_service(url=role.url)
    service.spawn()

    assert 1 == await service.wait()
    assert f"GRANT INSERT ON TABLE events TO {role.name}" in service.complaints
    assert "Traceback" not in service.complaints


async def test_a_day_removed_by_hand_while_the_service_runs_is_made_again(
    start_site: StartSite, connection: Any
) -> None:
    site = await start_site(workers="1")
    key = await site.make_key()
    await store_one(site, key)
    await topped_up(site.service, 7)
    await detach(connection, today())

    assert f"events_{today():%Y%m%d}_2" == await store_one(site, key)
