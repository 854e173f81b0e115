"""
The service stops under load, and clients disconnect in the middle of a request.

If these tests fail: a sender gets no answer when the service stops, or part of a batch is stored.
"""

import asyncio
import json
import random
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from provision.keys import NewKey
from tests.acceptance.ledger import Event, Ledger, event_of, load, mixed, new_ledger
from tests.acceptance.running import until
from tests.acceptance.site import Site, new_ids
from tests.acceptance.wire import Wire, connect, post
from tests.chaos.report import REPORT

EVENTS: Final = 20
# By FOREBAY_DRAIN_TIMEOUT_S and Granian's grace after it.
EXIT_S: Final = 25.0
# Accepted by the kernel, and closed before a worker had read a word of it: not begun.
NOT_BEGUN: Final = {"ConnectError", "RemoteProtocolError", "ReadError", "WriteError"}


class SlowClient:
    """Sends one batch in two halves, and waits in between for as long as the test likes."""

    def __init__(self, wire: Wire, key: NewKey, ledger: Ledger) -> None:
        self._wire, self._key, self._ledger = wire, key, ledger
        self.events: list[Event] = [event_of(event_id) for event_id in new_ids(EVENTS)]
        # Byte for byte what the ledger's own client sends: the content is compared as it is spelt.
        body = json.dumps({"batch": self.events}, separators=(",", ":")).encode()
        request = post("/v1/batch", f"X-API-Key: {key.api_key}", body=body)
        self._halves = request[: len(request) - 200], request[len(request) - 200 :]

    async def begin(self) -> None:
        self._ledger.write_sent(self.events)
        await self._wire.send(self._halves[0])

    async def end(self) -> int | None:
        """Send the rest, and return the status of the answer; None when there is none."""
        await self._wire.send(self._halves[1])
        answer = await self._wire.answer()
        self._wire.close()
        return None if answer is None else answer.status

    def leave(self) -> None:
        self._wire.close()


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.nightly)]
)
async def test_a_stopping_service_answers_the_requests_in_progress_of_slow_clients_too(
    site: Site, number: signal.Signals, *, is_long: bool
) -> None:
    """Clients with connections kept alive go on sending all the while."""
    key, run = await site.make_key(), REPORT.begin(f"{number.name} under load, one client slow")
    ledger, times = new_ledger(site), 5 if is_long else 1
    for _ in range(times):
        slow = SlowClient(await connect(site.service.url), key, ledger)
        pids = set(site.service.worker_pids)
        batches = mixed(ledger, seed=1)
        async with load(site, key, connections=8, ledger=ledger, batches=batches):
            await slow.begin()
            await ledger.until_acked(200)
            began = time.monotonic()
            site.service.signal(number)
            await until(_has_begun_to_leave(site, pids, number), 20, "it leaves")
            assert await slow.end() in {200, 503}
            if number is signal.SIGTERM:
                assert 0 == await site.service.wait(EXIT_S)
            else:
                await site.service.until_replaced(pids, EXIT_S)
                await ledger.until_acked(200)
            run.recovered(time.monotonic() - began)
        assert [] == await ledger.findings(site, key)
        if number is signal.SIGTERM:
            await site.service.start()
    assert set(ledger.faults) <= NOT_BEGUN
    assert set(ledger.statuses) <= {200, 503}
    await run.judge(ledger, site, key)


async def test_of_a_request_whose_client_disconnects_all_events_or_none_are_stored(
    site: Site, *, is_long: bool
) -> None:
    """It hangs up in the middle of the body, or having sent it all; others do not notice."""
    key, ledger, chance = await site.make_key(), new_ledger(site), random.Random(1)
    run = REPORT.begin("clients gone in mid-request")
    gone: list[SlowClient] = []
    batches = mixed(ledger, seed=1)
    async with load(site, key, connections=4, ledger=ledger, batches=batches):
        await ledger.until_acked(200)
        for _ in range(600 if is_long else 60):
            slow = SlowClient(await connect(site.service.url), key, ledger)
            await slow.begin()
            if chance.random() < 0.7:
                ending = asyncio.create_task(slow.end())
                await asyncio.sleep(chance.choice((0, 0.001, 0.005)))  # how far it comes
                ending.cancel()
                await asyncio.gather(ending, return_exceptions=True)
            slow.leave()
            gone.append(slow)
            run.cuts += 1
        await ledger.until_acked(200)
    assert {200} == set(ledger.statuses)
    assert not ledger.faults

    stored = set(await site.event_ids(key))
    parts = [len(stored & {event["event_id"] for event in slow.events}) for slow in gone]
    assert {0, EVENTS} == set(parts)
    run.say(f"{parts.count(EVENTS)} of {len(gone)} were stored, whole; none in part")
    for event in ("flush_cancelled", "flush_failed", "flush_try_failed"):
        assert [] == site.service.log_lines(event)
    await run.judge(ledger, site, key)


def _has_begun_to_leave(
    site: Site, pids: set[int], number: signal.Signals
) -> Callable[[], Awaitable[bool]]:
    async def has_new() -> bool:
        return bool(set(site.service.worker_pids) - pids)

    return site.service.is_refused if number is signal.SIGTERM else has_new
