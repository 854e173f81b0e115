"""
A worker ends while another process has its listening socket open: no new connection hangs.

If these tests fail: some connections hang until they time out after a worker has crashed or was
reloaded.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from tests.acceptance.conftest import StartSite
from tests.acceptance.ledger import load
from tests.acceptance.running import Service, is_alive, until, until_ended
from tests.acceptance.site import Site
from tests.acceptance.test_restarts import START_S, broken
from tests.acceptance.wire import Wire, connect, post

UNUSABLE: Final = "ALLOW_CONNECTIONS false"
CONNECTIONS: Final = 24
# An answer takes a few milliseconds.
ANSWER_S: Final = 10.0
LIVE: Final = b"GET /health/live HTTP/1.1\r\nHost: forebay.test\r\n\r\n"


async def test_no_connection_hangs_while_a_new_worker_waits_for_the_database(site: Site) -> None:
    """Afterwards the successor listens on the socket that was shut down."""
    before = site.service.worker_pids
    async with broken(site.database_url, UNUSABLE):
        site.service.signal(signal.SIGHUP)
        await until(partial(_waiting_pids, site.service), START_S, "the successor waits")
        # The worker that was started first is replaced first.
        killed = min(before)
        os.kill(killed, signal.SIGKILL)
        await until(_has_ended(site.service, killed), START_S, "the worker's end is noticed")
        assert 0 == await _unanswered(site.service)
    await _serves_with(site, before)


async def test_without_a_ready_worker_connections_are_refused_until_the_successor_serves(
    start_site: StartSite,
) -> None:
    """The only worker is killed while its successor waits for the database."""
    site = await start_site(workers="1")
    before = site.service.worker_pids
    async with broken(site.database_url, UNUSABLE):
        site.service.signal(signal.SIGHUP)
        (waiting,) = await until(partial(_waiting_pids, site.service), START_S, "it waits")
        os.kill(before[0], signal.SIGKILL)
        await until(site.service.is_refused, START_S, "connections are refused")
        assert is_alive(waiting)
    await _serves_with(site, before)
    assert [waiting] == site.service.worker_pids
    await _reloads_without_a_fault(site)


async def test_no_connection_hangs_while_an_old_worker_finishes_its_requests(
    start_site: StartSite,
) -> None:
    # Timeouts that no request of this test may reach, even on a busy machine.
    site = await start_site(body_timeout_s="60", drain_timeout_s="240")
    key, before = await site.make_key(), site.service.worker_pids
    body = b'{"event": "Tried", "user_id": "u1"}'
    request = post("/v1/track", f"X-API-Key: {key.api_key}", body=body)
    slow = [await connect(site.service.url) for _ in range(CONNECTIONS)]
    for wire in slow:
        await wire.send(request[:-5])
    site.service.signal(signal.SIGHUP)

    async def new_pids() -> list[int]:
        new = [pid for pid in site.service.worker_pids if pid not in before]
        return new if len(new) == site.service.workers else []

    new = await until(new_pids, START_S, "the new workers serve")
    assert all(is_alive(pid) for pid in before)
    async with broken(site.database_url, UNUSABLE):
        os.kill(new[0], signal.SIGKILL)
        await until(_has_ended(site.service, new[0]), START_S, "the worker's end is noticed")
        assert 0 == await _unanswered(site.service)
        await until(partial(_waiting_pids, site.service), START_S, "the successor waits")
        assert all(is_alive(pid) for pid in before)
        for wire in slow:
            await wire.send(request[-5:])
            answer = await wire.answer()
            assert answer is not None
            assert answer.status == 200
            wire.close()

        await until_ended(before, START_S)
        assert 0 == await _unanswered(site.service)
    await _serves_with(site, [*before, new[0]])


async def test_a_reload_replaces_a_worker_that_still_waits_after_an_earlier_reload(
    site: Site,
) -> None:
    before = site.service.worker_pids
    async with broken(site.database_url, UNUSABLE):
        site.service.signal(signal.SIGHUP)
        (first,) = await until(partial(_waiting_pids, site.service), START_S, "a worker waits")
        site.service.signal(signal.SIGHUP)

        async def is_replaced() -> bool:
            waiting = await _waiting_pids(site.service)
            return len(waiting) == 1 and first not in waiting

        await until(is_replaced, START_S, "another worker waits instead")
        assert before == site.service.worker_pids
        assert 0 == await _unanswered(site.service)
    await _serves_with(site, before)


async def test_a_sighup_to_the_whole_process_group_is_a_reload(site: Site) -> None:
    """A closed terminal and `systemctl kill -s HUP` send the signal to every process."""
    key, before = await site.make_key(), site.service.worker_pids
    async with load(site, key, connections=4) as ledger:
        os.killpg(site.service.pid, signal.SIGHUP)
        await site.service.until_replaced(before)
    assert not ledger.faults
    assert {200} == set(ledger.statuses)
    assert [] == site.service.log_lines("worker_ended")
    await ledger.check(site, key)


async def _reloads_without_a_fault(site: Site) -> None:
    key, before = await site.make_key(), site.service.worker_pids
    async with load(site, key, connections=4) as ledger:
        site.service.signal(signal.SIGHUP)
        await site.service.until_replaced(before)
    assert not ledger.faults


async def _unanswered(service: Service) -> int:
    """Return how many of some new connections get no answer."""
    return sum(await asyncio.gather(*(_is_unanswered(service) for _ in range(CONNECTIONS))))


async def _is_unanswered(service: Service) -> bool:
    wire: Wire | None = None
    try:
        async with asyncio.timeout(ANSWER_S):
            wire = await connect(service.url)
            await wire.send(LIVE)
            answer = await wire.answer()
    except (TimeoutError, OSError):
        return True
    finally:
        if wire is not None:
            wire.close()
    return answer is None or answer.status != 200


async def _waiting_pids(service: Service) -> list[int]:
    """Return the process ids of the workers that wait for the database."""
    pids = {line["pid"] for line in service.log_lines("worker_waits_for_database")}
    return [pid for pid in pids if is_alive(pid)]


def _has_ended(service: Service, pid: int) -> Callable[[], Awaitable[bool]]:
    async def has_ended() -> bool:
        return pid in {line["pid"] for line in service.log_lines("worker_ended")}

    return has_ended


async def _serves_with(site: Site, gone: list[int]) -> None:
    """Wait until new workers have started, and each answers on new connections."""
    await site.service.until_replaced(gone)
    # A worker logs its start just before it listens. If its socket was shut down and there is no
    # other worker, connections are still refused until then.
    await until(site.service.is_ready, START_S, "new workers serve")
    async with site.client_of_each_worker():
        pass
    assert 0 == await _unanswered(site.service)
