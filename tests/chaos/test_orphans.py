"""
The parent of the workers is killed: they finish their requests and end.

If these tests fail: old workers keep the port, and the next start of the service fails.
"""

import os
import signal
import time
from typing import Final

from tests.acceptance.conftest import MakeService
from tests.acceptance.ledger import load, mixed, new_ledger
from tests.acceptance.proxy import proxied
from tests.acceptance.running import until, until_ended
from tests.acceptance.site import Site
from tests.acceptance.wire import connect
from tests.chaos.report import REPORT
from tests.chaos.test_leaving import NOT_BEGUN, SlowClient

# Promised are five seconds; a busy machine is given five times as long, and what it took is noted.
END_S: Final = 25.0


async def test_workers_whose_parent_is_killed_answer_the_requests_in_progress_and_end(
    site: Site, *, is_long: bool
) -> None:
    """And the port is free for the next start."""
    key, run = await site.make_key(), REPORT.begin("parent killed, its workers left alone")
    ledger = new_ledger(site)
    for _ in range(20 if is_long else 1):
        slow = SlowClient(await connect(site.service.url), key, ledger)
        workers = set(site.service.worker_pids)
        batches = mixed(ledger, seed=1)
        async with load(site, key, connections=4, ledger=ledger, batches=batches):
            await slow.begin()
            await ledger.until_acked(200)
            began = time.monotonic()
            os.kill(site.service.pid, signal.SIGKILL)
            run.kills += 1
            await until(site.service.is_refused, END_S, "they accept no new connection")
            assert await slow.end() in {200, 503}
            await until_ended(workers, END_S)
            run.recovered(time.monotonic() - began)
        for event in ("parent_gone", "worker_stopped"):
            assert workers <= {line["pid"] for line in site.service.log_lines(event)}
        assert [] == await ledger.findings(site, key)
        await site.service.wait()
        await site.service.start()
    assert set(ledger.faults) <= NOT_BEGUN
    assert set(ledger.statuses) <= {200, 503}
    assert run.recovery_s < END_S
    await run.judge(ledger, site, key)


async def test_workers_that_wait_for_the_database_end_with_their_parent(
    database_url: str, make_service: MakeService
) -> None:
    async with proxied(database_url) as proxy:
        proxy.connections_left = 1  # for the parent, which looks before it starts them
        service = make_service(proxy.url)
        service.spawn()

        async def are_waiting() -> set[int]:
            pids = {line["pid"] for line in service.log_lines("worker_waits_for_database")}
            return pids if len(pids) == service.workers else set()

        workers = await until(are_waiting, END_S, "every worker waits")
        os.kill(service.pid, signal.SIGKILL)

        await until_ended(workers, END_S)


async def test_a_worker_that_cannot_finish_is_ended_all_the_same(
    make_service: MakeService,
) -> None:
    """A client never sends the rest of its body, and there is no parent to lose its patience."""
    service = make_service(body_timeout_s="60", drain_timeout_s="1")
    await service.start()
    wire = await connect(service.url)
    await wire.send(b"POST /v1/track HTTP/1.1\r\nHost: forebay.test\r\nContent-Length: 9\r\n\r\n{")
    workers = set(service.worker_pids)
    os.kill(service.pid, signal.SIGKILL)

    await until_ended(workers, END_S)
    wire.close()
