"""
The service waits for its database, replaces workers that end, and reloads without a gap.

If these tests fail: senders get refused connections or no answer after a worker has crashed, or
during a reload.
"""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from provision.keys import NewKey
from tests.acceptance.conftest import MakeService, StartSite
from tests.acceptance.ledger import load
from tests.acceptance.proxy import Line, proxied
from tests.acceptance.running import LogLine, Service, until
from tests.acceptance.site import Site, new_ids, tracks
from tests.acceptance.wire import connect, post
from tests.nightly import IS_NIGHTLY

START_S: Final = 30.0
# Documented: events are accepted within 15 seconds after five kills; a busy machine gets five times
# as long.
ACCEPTED_AGAIN_S: Final = 75.0
KILLS: Final = 5 if IS_NIGHTLY else 3
RELOADS: Final = 3 if IS_NIGHTLY else 1
# Measured on an idle machine: a gap of 0.25 s; a busy machine gets five times as long.
GAP_S: Final = 1.25

# Faults that only new sessions have, each with the word in its message.
ERROR_RESPONSES: Final = {
    "default_transaction_read_only = on": "transaction_read_only",
    "ALLOW_CONNECTIONS false": "not currently accepting connections",
}
READ_ONLY, CLOSED = ERROR_RESPONSES


async def test_a_service_without_a_database_logs_the_reason_and_serves_when_there_is_one(
    database_url: str, make_service: MakeService
) -> None:
    async with proxied(database_url) as proxy:
        proxy.set_line(Line.CUT)
        service = make_service(proxy.url)
        service.spawn()
        lines = await until(partial(_waits, service), START_S, "it waits")
        assert all(line["reason"] for line in lines)
        assert service.is_running()
        proxy.set_line(Line.OPEN)
        await until(service.is_ready, START_S, "it serves")
        assert await service.stop() == 0


@pytest.mark.parametrize("fault", [pytest.param(READ_ONLY, marks=pytest.mark.nightly), CLOSED])
async def test_a_service_waits_for_a_database_that_is_temporarily_unusable(
    make_service: MakeService, database_url: str, fault: str
) -> None:
    service = make_service()
    async with broken(database_url, fault):
        service.spawn()
        lines = await until(partial(_waits, service), START_S, "it waits")
        assert ERROR_RESPONSES[fault] in lines[0]["reason"]
    await until(service.is_ready, START_S, "it serves")
    assert await service.stop() == 0


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.nightly)]
)
async def test_a_service_that_waits_can_be_stopped(
    make_service: MakeService, number: signal.Signals
) -> None:
    service = make_service("postgresql://nobody@127.0.0.1:1/none")
    service.spawn()
    await until(partial(_waits, service), START_S, "it waits")
    service.signal(signal.SIGHUP)  # without an effect: there is nothing to reload
    service.signal(number)
    assert await service.wait() == 0
    assert service.complaints == ""


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        (signal.SIGKILL, READ_ONLY),
        (signal.SIGHUP, CLOSED),
        pytest.param(signal.SIGKILL, CLOSED, marks=pytest.mark.nightly),
        pytest.param(signal.SIGHUP, READ_ONLY, marks=pytest.mark.nightly),
    ],
)
async def test_a_worker_that_cannot_start_waits_while_the_others_serve(
    site: Site, number: signal.Signals, fault: str
) -> None:
    """A worker is killed, or all are to be replaced; the new one cannot use the database."""
    key, before = await site.make_key(), site.service.worker_pids
    async with broken(site.database_url, fault):
        if number is signal.SIGKILL:
            os.kill(before[0], number)
        else:
            site.service.signal(number)

        async def is_waiting() -> list[str]:
            return [line["reason"] for line in site.service.log_lines("worker_waits_for_database")]

        reasons = await until(is_waiting, START_S, "the new worker waits")
        assert ERROR_RESPONSES[fault] in reasons[0]
        async with site.client(key) as client:
            answer = await client.post("/v1/batch", json=tracks(new_ids(1)))
        assert answer.status_code == 200
    gone = before[:1] if number is signal.SIGKILL else before
    await site.service.until_replaced(gone)
    assert site.service.is_running()


@pytest.mark.nightly
async def test_a_worker_killed_and_its_replacement_two_seconds_later_are_replaced(
    site: Site,
) -> None:
    key = await site.make_key()
    async with load(site, key) as ledger:
        for _ in range(2):
            await ledger.until_acked()
            killed, pids = time.monotonic(), site.service.worker_pids
            os.kill(pids[-1], signal.SIGKILL)
            await site.service.until_replaced([pids[-1]])
            await asyncio.sleep(max(killed + 2 - time.monotonic(), 0))
        await ledger.until_acked()
    await ledger.check(site, key)
    assert site.service.is_running()


async def test_replacement_workers_killed_at_once_lose_no_event(start_site: StartSite) -> None:
    site = await start_site(workers="1")
    key = await site.make_key()
    async with load(site, key) as ledger:
        await ledger.until_acked()
        for _ in range(KILLS):
            (pid,) = site.service.worker_pids
            os.kill(pid, signal.SIGKILL)
            await site.service.until_replaced([pid], ACCEPTED_AGAIN_S)
        await ledger.until_acked()
        # All killed workers share one file of metrics.
        owners = {str(site.service.pid), "ended", *map(str, site.service.worker_pids)}
        assert _owners_of_metrics(site.service) <= owners
    await ledger.check(site, key)
    assert site.service.is_running()


async def test_reloads_under_load_answer_every_request(site: Site) -> None:
    """Clients that open a new connection for each request get no reset either."""
    key, visitor_key = await site.make_key(), await site.make_key()
    visits, has_ended = Visits(), asyncio.Event()
    async with load(site, key, connections=4) as ledger:
        visitors = [
            asyncio.create_task(visits.go_on(site, visitor_key, has_ended)) for _ in range(4)
        ]
        for _ in range(RELOADS):
            before = site.service.worker_pids
            site.service.signal(signal.SIGHUP)
            await site.service.until_replaced(before)
        has_ended.set()
        await asyncio.gather(*visitors)

    assert visits.faults == []
    assert visits.longest_gap_s < GAP_S
    assert not ledger.faults
    assert {200} == set(ledger.statuses)
    await ledger.check(site, key)


async def test_a_worker_that_cannot_be_imported_is_started_again_with_growing_pauses(
    site: Site,
) -> None:
    """A module of the test shadows a module that each worker imports."""
    key, (killed, other) = await site.make_key(), site.service.worker_pids
    obstacle = site.service.folder / "cachetools.py"
    obstacle.write_text("raise RuntimeError('in the way')")
    os.kill(killed, signal.SIGKILL)

    async def has_ended_often() -> bool:
        return len(site.service.log_lines("worker_ended")) > 2

    await until(has_ended_often, START_S, "it is started again and again")
    pauses = [line["pause_s"] for line in site.service.log_lines("worker_ended")]
    assert pauses == sorted(set(pauses))
    assert other in site.service.worker_pids
    async with site.client(key) as client:
        assert (await client.post("/v1/batch", json=tracks(new_ids(1)))).status_code == 200
    obstacle.unlink()
    await site.service.until_replaced([killed])


async def test_a_reload_takes_the_database_url_of_the_changed_env_file(
    database_url: str, make_service: MakeService
) -> None:
    """With an unusable URL a worker waits; the next reload replaces it."""
    service = make_service()
    del service._environment["DATABASE_URL"]
    env_file = service.folder / ".env"
    env_file.write_text(f"DATABASE_URL={database_url}\n")
    await service.start()
    before = service.worker_pids
    env_file.write_text("DATABASE_URL=postgresql://nobody@127.0.0.1:1/none\n")
    service.signal(signal.SIGHUP)

    async def is_waiting() -> bool:
        return bool(service.log_lines("worker_waits_for_database"))

    await until(is_waiting, START_S, "a worker waits for the other database")
    assert before == service.worker_pids
    env_file.write_text(f"DATABASE_URL={database_url}\n")
    service.signal(signal.SIGHUP)
    await service.until_replaced(before)
    assert await service.stop() == 0


async def test_a_worker_that_does_not_stop_is_killed(start_site: StartSite) -> None:
    site = await start_site(drain_timeout_s="0.5")
    stuck = site.service.worker_pids[0]
    os.kill(stuck, signal.SIGSTOP)
    assert await site.service.stop() == 0
    (line,) = site.service.log_lines("worker_killed")
    assert (stuck, "not stopped within 5.5 s of SIGTERM") == (line["pid"], line["reason"])


@contextlib.asynccontextmanager
async def broken(database_url: str, fault: str) -> AsyncIterator[None]:
    """Make new sessions of the database fail with *fault* during the block."""
    server, _, name = database_url.rpartition("/")
    admin = await asyncpg.connect(f"{server}/postgres")
    try:
        is_setting = " = " in fault
        await admin.execute(f"ALTER DATABASE {name} {'SET ' * is_setting}{fault}")
        yield
        await admin.execute(
            f"ALTER DATABASE {name} RESET ALL"
            if is_setting
            else f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"
        )
    finally:
        admin.terminate()


def _owners_of_metrics(service: Service) -> set[str]:
    """Return the process id in the name of each metrics file, or its other last part."""
    variables = Path(f"/proc/{service.worker_pids[0]}/environ").read_text().split("\0")
    (folder,) = (v.partition("=")[2] for v in variables if v.startswith("PROMETHEUS_MULTIPROC"))
    return {path.stem.rpartition("_")[2] for path in Path(folder).glob("*.db")}


async def _waits(service: Service) -> list[LogLine]:
    return service.log_lines("service_waits_for_database")


class Visits:
    """Requests, each over its own connection."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._answered: list[float] = []

    async def go_on(self, site: Site, key: NewKey, has_ended: asyncio.Event) -> None:
        while not has_ended.is_set():
            try:
                await self._visit(site, key)
            except OSError as error:
                self.faults.append(type(error).__name__)

    async def _visit(self, site: Site, key: NewKey) -> None:
        wire = await connect(site.service.url)
        await asyncio.sleep(random.random() / 50)
        body = b'{"event": "Visited", "user_id": "u1"}'
        await wire.send(post("/v1/track", f"X-API-Key: {key.api_key}", body=body))
        answer = await wire.answer()
        wire.close()
        if answer is None or answer.status != 200:
            self.faults.append("no answer" if answer is None else str(answer.status))
        else:
            self._answered.append(time.monotonic())

    @property
    def longest_gap_s(self) -> float:
        """Return the longest time between two answers, in seconds."""
        return max(b - a for a, b in zip(self._answered, self._answered[1:], strict=False))
