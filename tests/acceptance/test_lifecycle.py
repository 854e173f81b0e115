"""
The service starts only when it can store events, and stops without losing a request.

If these tests fail: a deployment drops requests when it stops, or serves with settings that cannot
work.
"""

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.acceptance.conftest import MakeService
from tests.acceptance.ledger import load
from tests.acceptance.own_postgres import OwnPostgres
from tests.acceptance.proxy import Line, proxied
from tests.acceptance.running import HOST, Service, until
from tests.acceptance.site import Site, new_ids, tracks

if TYPE_CHECKING:
    import asyncpg


async def test_a_stop_under_load_answers_the_requests_in_progress(site: Site) -> None:
    key = await site.make_key()
    async with load(site, key, connections=16) as ledger:

        async def has_begun() -> bool:
            return len(ledger.verdicts) > 300

        await until(has_begun, 20, "events are acked")
        exit_code = await site.service.stop()

    assert exit_code == 0
    assert set(ledger.statuses) <= {200, 503}
    # A connection is refused once no process listens. An idle connection may be closed while a
    # request is on its way, which then was not read. Every request that was read is answered.
    assert set(ledger.faults) <= {"ConnectError", "RemoteProtocolError", "ReadError", "WriteError"}
    await ledger.check_acked(site, key)
    assert len(site.service.log_lines("worker_stopped")) == site.service.workers
    assert site.service.complaints == ""

    await site.service.start()
    await ledger.check(site, key)


async def test_idle_clients_do_not_delay_the_exit(site: Site) -> None:
    key = await site.make_key()
    async with site.client(key) as client:
        await asyncio.gather(*(client.get("/health/live") for _ in range(20)))
        async with asyncio.timeout(10):
            assert await site.service.stop() == 0


async def test_a_request_in_flight_is_answered_before_the_exit(site: Site) -> None:
    """Another session holds the same key, so that the flush waits while the service is stopped."""
    key = await site.make_key()
    ids = new_ids(1)
    async with site.client(key) as client:
        await client.post("/v1/batch", json=tracks(new_ids(1)))
        async with site.held(key, *ids):
            sending = asyncio.create_task(client.post("/v1/batch", json=tracks(ids)))
            await until(site.lock_waits, 10, "the flush waits for the lock")
            site.service.terminate()
            await until(site.service.is_refused, 10, "no process listens any longer")
        answer = await sending

    assert (answer.status_code, answer.json()["accepted"]) == (200, 1)
    assert await site.service.wait() == 0
    assert set(ids) < set(await site.event_ids(key))


async def test_workers_that_find_no_database_wait_for_it_and_serve_when_it_is_back(
    database_url: str, make_service: MakeService
) -> None:
    """The first connection is the parent's check; then the database is away."""
    async with proxied(database_url) as proxy:
        proxy.connections_left = 1
        service = make_service(proxy.url)
        service.spawn()

        await until(partial(_are_waiting, service), 30, "every worker waits")
        proxy.connections_left = None
        proxy.set_line(Line.OPEN)

        async def have_started() -> bool:
            return len(service.log_lines("worker_started")) == service.workers

        await until(have_started, 30, "every worker has started")
        await until(partial(_answers, service), 30, "they answer")
        assert await service.stop() == 0


@pytest.mark.nightly
async def test_workers_that_cannot_start_never_serve(
    database_url: str, make_service: MakeService, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """The parent finds all well; then the database is made read-only."""
    async with proxied(database_url) as proxy:
        proxy.connections_left = 1
        service = make_service(proxy.url)
        service.spawn()
        await until(partial(_are_waiting, service), 30, "every worker waits")
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        proxy.connections_left = None
        proxy.set_line(Line.OPEN)

        async def know_why() -> bool:
            lines = service.log_lines("worker_waits_for_database")
            told = {line["pid"] for line in lines if "read_only" in line["reason"]}
            return len(told) == service.workers

        await until(know_why, 30, "every worker has tried to start")
        assert not await _answers(service)
        assert service.is_running()
        assert await service.stop() == 0
    assert service.log_lines("worker_started") == []
    assert "postgresql://" not in service.log + service.complaints


async def _are_waiting(service: Service) -> bool:
    assert not await _answers(service)
    waiting = {line["pid"] for line in service.log_lines("worker_waits_for_database")}
    return len(waiting) == service.workers


@pytest.mark.parametrize(
    ("settings", "url", "words"),
    [
        ({}, "", ["DATABASE_URL"]),
        ({}, "mysql://root@127.0.0.1/none", ["DATABASE_URL"]),
        ({}, "postgresql://u:secret@host:port/none", ["DATABASE_URL"]),
        ({}, "postgresql://u:the/secret@host/none", ["DATABASE_URL"]),
        ({"workers": "none"}, None, ["FOREBAY_WORKERS", "none"]),
        ({"workers": "0"}, None, ["FOREBAY_WORKERS", "1"]),
        ({"wokers": "2"}, None, ["FOREBAY_WOKERS"]),
        ({"schema_version_default": "one"}, None, ["FOREBAY_SCHEMA_VERSION_DEFAULT"]),
        ({"flushes_max": "16", "workers": "200"}, None, ["FOREBAY_WORKERS", "max_connections"]),
    ],
)
async def test_a_wrong_setting_is_reported_in_one_sentence(
    database_url: str,
    make_service: MakeService,
    settings: dict[str, str],
    url: str | None,
    words: list[str],
) -> None:
    complaint = await make_service(database_url if url is None else url, **settings).complaint()
    for word in words:
        assert word in complaint
    assert "secret" not in complaint


@pytest.mark.parametrize("port", ["port", "metrics_port"])
async def test_a_taken_port_is_reported_in_one_sentence(
    make_service: MakeService, port: str
) -> None:
    service = make_service()
    number = getattr(service, port)
    with socket.socket() as taken:
        taken.bind((HOST, number))
        taken.listen()
        complaint = await service.complaint()
    assert str(number) in complaint
    assert f"FOREBAY_{port.upper()}" in complaint


async def test_a_database_without_schema_is_refused(
    bare_database_url: str, make_service: MakeService
) -> None:
    assert "provision migrate" in await make_service(bare_database_url).complaint()


async def test_a_server_that_may_lose_commits_is_refused(
    make_service: MakeService, own_postgres: OwnPostgres
) -> None:
    url = await own_postgres.make_database("forebay_test_fsync")
    await own_postgres.configure("ALTER SYSTEM SET fsync = off")
    complaint = await make_service(url).complaint()
    assert "fsync = off" in complaint


async def _answers(service: Service) -> bool:
    async with httpx.AsyncClient(verify=False, timeout=0.5) as client:
        try:
            await client.get(f"{service.url}/health/live")
        except httpx.TransportError:
            return False
    return True
