"""
Nobody reads the log, or its disk is full: the service goes on.

If these tests fail: a stuck log collector or a full disk stops the service.
"""

import asyncio
import itertools
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from provision.keys import NewKey
from tests.acceptance.ledger import TAKES_MANY
from tests.acceptance.running import Service, is_alive, until
from tests.acceptance.site import Site, new_ids, track
from tests.chaos.piped import PipedService
from tests.chaos.report import REPORT, under_load
from tests.chaos.small_disk import fill, make_room

# Promised are five seconds; a busy machine is given five times as long.
RECOVERY_S: Final = 25.0
DRAIN_S: Final = 1
# What the parent gives a worker beyond its drain, five times.
STOP_S: Final = DRAIN_S + 25.0
# More lines than the queue of a worker holds.
FLOOD: Final = 24_000
BURST: Final = 500
# Its line in the log is long.
REQUEST: Final = (
    b"GET /nowhere HTTP/1.1\r\nHost: forebay.test\r\n"
    b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n"
)


@pytest.fixture
def piped(database_url: str, tmp_path: Path) -> Iterator[PipedService]:
    """Return a service, not yet started, whose log goes through a pipe."""
    service = PipedService(database_url, tmp_path, drain_timeout_s=str(DRAIN_S), **TAKES_MANY)
    yield service
    service.kill()


async def test_a_log_reader_that_stops_blocks_no_request_and_learns_how_many_lines_it_missed(
    piped: PipedService, database_url: str
) -> None:
    await piped.start()
    site = Site(piped, database_url)
    key = await site.make_key()
    piped.stop_reader()

    await flood(piped.url, FLOOD)
    await stored_by_each_worker(site, key)
    piped.resume_reader()

    async def is_told_all() -> bool:
        async with site.client() as client:
            await client.get("/health/live")  # each request counts what was dropped before it
        told = sum(int(line["lines"]) for line in piped.log_lines("log_lines_dropped"))
        return 0 < told == await dropped(piped)

    await until(is_told_all, RECOVERY_S, "the log says how many lines the metric has counted")
    assert len(piped.log_lines("request")) >= FLOOD / 2
    assert await piped.stop() == 0


async def test_a_log_reader_that_has_stopped_does_not_delay_the_exit(piped: PipedService) -> None:
    await piped.start()
    workers = piped.worker_pids
    piped.stop_reader()
    await flood(piped.url, BURST)

    piped.terminate()

    assert await piped.wait(STOP_S) == 0
    assert not any(is_alive(pid) for pid in workers)


async def test_a_reader_that_is_gone_and_a_lost_session_end_no_worker(
    piped: PipedService, database_url: str
) -> None:
    await piped.start()
    site = Site(piped, database_url)
    key = await site.make_key()
    workers = piped.worker_pids
    piped.end_reader()

    await stored_by_each_worker(site, key)
    await lose_sessions(site)
    await stored_by_each_worker(site, key)

    assert all(is_alive(pid) for pid in workers)
    assert await piped.stop() == 0


async def test_a_full_disk_of_the_log_and_a_lost_session_end_no_worker(
    small_disk: Path, database_url: str
) -> None:
    """And there are lines again, each on its own, as soon as there is room."""
    service = Service(database_url, small_disk, drain_timeout_s=str(DRAIN_S))
    try:
        await service.start()
        site = Site(service, database_url)
        key = await site.make_key()
        workers = service.worker_pids
        fill(small_disk)
        await flood(service.url, BURST)  # what is left of the page that the log has begun
        before = len(service.log)

        await stored_by_each_worker(site, key)
        await lose_sessions(site)
        await stored_by_each_worker(site, key)
        make_room(small_disk)

        async def has_lines() -> bool:
            await stored_by_each_worker(site, key)
            return service.log.count('"event":"request"', before) > 10

        await until(has_lines, RECOVERY_S, "the log has lines again")
        assert all(is_alive(pid) for pid in workers)
        assert await service.stop() == 0
        # A line may be cut where the disk was full; no other is glued to it.
        assert max(line.count('"event":') for line in service.log.splitlines()) == 1
    finally:
        service.kill()


async def test_a_full_disk_of_the_metrics_ends_no_worker(
    small_disk: Path, database_url: str, tmp_path: Path
) -> None:
    """A killed one is replaced, whether or not the new one has room for its metrics."""
    service = Service(database_url, tmp_path, drain_timeout_s=str(DRAIN_S))
    service._environment["TMPDIR"] = str(small_disk)
    try:
        await service.start()
        site = Site(service, database_url)
        key = await site.make_key()
        first, second = service.worker_pids
        fill(small_disk)

        await flood(service.url, BURST)  # statuses that were not counted before
        await stored_by_each_worker(site, key)
        assert [first, second] == service.worker_pids
        os.kill(first, signal.SIGKILL)
        await service.until_replaced([first], RECOVERY_S)
        await stored_by_each_worker(site, key)
    finally:
        service.kill()


async def flood(url: str, requests: int) -> None:
    """Send *requests* over one connection, and return when each is answered."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        for _ in range(requests // BURST):
            writer.write(REQUEST * BURST)
            for _ in range(BURST):
                async with asyncio.timeout(RECOVERY_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    size = head.lower().partition(b"content-length:")[2].partition(b"\r")[0]
                    await reader.readexactly(int(size))
    finally:
        writer.close()


async def stored_by_each_worker(site: Site, key: NewKey) -> None:
    """Return when each worker has accepted an event, and says that it lives."""

    async def is_accepted(client: httpx.AsyncClient, event_id: str) -> bool:
        alive = await client.get("/health/live")
        answer = await client.post("/v1/track", json=track(event_id))
        return alive.status_code == answer.status_code == 200

    async with site.client_of_each_worker(key) as clients:
        for client, event_id in zip(clients.values(), new_ids(len(clients)), strict=True):
            again = partial(is_accepted, client, event_id)
            await until(again, RECOVERY_S, "a worker accepts")


async def lose_sessions(site: Site) -> None:
    """End every session of the service, and return when each worker has lost its own."""
    async with site.database() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'forebay'"
        )


async def dropped(service: Service) -> int:
    """Return how many lines were dropped by all processes of *service*."""
    async with httpx.AsyncClient(verify=False) as client:
        text = (await client.get(service.metrics_url)).text
    families = text_string_to_metric_families(text)
    samples = itertools.chain.from_iterable(family.samples for family in families)
    name = "forebay_log_lines_dropped_total"
    return sum(int(sample.value) for sample in samples if sample.name == name)


@pytest.mark.parametrize("fault", ["stopped", pytest.param("gone", marks=pytest.mark.nightly)])
async def test_a_lost_log_and_lost_sessions_lose_no_event(
    piped: PipedService, database_url: str, fault: str, *, is_long: bool
) -> None:
    """Under load the log's reader fails, and then every session with the database is ended."""
    run = REPORT.begin(f"reader of the log {fault}, sessions ended")
    await piped.start()
    site = Site(piped, database_url)
    key = await site.make_key()
    async with under_load(site, key, run) as ledger:
        piped.stop_reader() if fault == "stopped" else piped.end_reader()
        for _ in range(10 if is_long else 1):
            await flood(piped.url, FLOOD // 8)
            await lose_sessions(site)
            run.cuts += 1
            await run.recovers(ledger)
        if fault == "stopped":
            piped.resume_reader()
