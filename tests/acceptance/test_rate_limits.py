"""
Limits of the events per second of a key, over all workers.

If these tests fail: a noisy sender is not limited, an honest one gets less than its limit, or a
change of a limit needs a restart.
"""

import asyncio
import collections
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from provision.key_limits import NO_RATE_LIMIT
from provision.keys import NewKey, update_key
from tests.acceptance import wire
from tests.acceptance.conftest import StartSite
from tests.acceptance.running import until
from tests.acceptance.site import Site, new_ids, track, tracks

OK: Final = 200
RATE_LIMITED: Final = 429
# Five times the time in which a change has to reach every worker.
HEARD_S: Final = 5.0
_PAUSE_S: Final = 0.01

Statuses = collections.Counter[int]


async def make_key(site: Site, events_per_second: int | None) -> NewKey:
    key = await site.make_key()
    await change_rate(site, key, events_per_second)
    return key


async def change_rate(site: Site, key: NewKey, events_per_second: int | None) -> None:
    async with site.database() as connection:
        await update_key(connection, key.key_id, events_per_second=events_per_second)


@contextlib.asynccontextmanager
async def connections(site: Site, count: int, worker: int | None) -> AsyncIterator[list[wire.Wire]]:
    """Open *count* connections; all of them to the worker with this process id, if it is given."""
    found: list[wire.Wire] = []
    others: list[wire.Wire] = []
    try:
        while len(found) < count:
            one = await wire.connect(site.service.url)
            await one.send(b"GET /health/live HTTP/1.1\r\nHost: forebay.test\r\n\r\n")
            await one.answer()
            is_wanted = worker in {None, site.service.worker_of(client_port=one.port)}
            (found if is_wanted else others).append(one)
        yield found
    finally:
        for one in (*found, *others):
            one.close()


async def flood(senders: Iterable[wire.Wire], key: NewKey, events: int, seconds: float) -> Statuses:
    """Send batches over all connections, as fast as they are answered; count events by status."""
    counts: Statuses = collections.Counter()
    end = time.monotonic() + seconds
    authorization = f"X-API-Key: {key.api_key}"

    async def send(sender: wire.Wire) -> None:
        while time.monotonic() < end:
            body = json.dumps({"batch": [track() for _ in range(events)]}).encode()
            await sender.send(wire.post("/v1/batch", authorization, body=body))
            answer = await sender.answer()
            assert answer is not None
            counts[answer.status] += events
            if answer.status != OK:
                await asyncio.sleep(_PAUSE_S)

    await asyncio.gather(*map(send, senders))
    return counts


@pytest.mark.parametrize(
    ("workers", "is_spread"), [("1", True), ("2", True), ("2", False)], ids=["1", "2", "1 of 2"]
)
async def test_the_admitted_rate_is_the_limit_of_the_key(
    start_site: StartSite, workers: str, is_spread: bool
) -> None:
    site = await start_site(workers=workers)
    worker = None if is_spread else site.service.worker_pids[0]

    singles, batches = await asyncio.gather(
        *(admitted_part(site, events, worker) for events in (1, 30))
    )

    assert 0.8 < singles < 1.2
    assert 0.8 < batches < 1.2


async def admitted_part(site: Site, events: int, worker: int | None) -> float:
    """Return the admitted events in proportion to the limit of a new key."""
    rate = 200
    key = await make_key(site, rate)
    async with connections(site, 6, worker) as senders:
        # The bucket is full at first.
        while RATE_LIMITED not in await flood(senders, key, events, 0.5):
            pass

        began = time.monotonic()
        counts = await flood(senders, key, events, 5.0)
        elapsed_s = time.monotonic() - began
    assert {OK, RATE_LIMITED} == set(counts)
    return counts[OK] / (rate * elapsed_s)


async def test_a_refused_request_gets_429_with_the_time_to_wait_and_is_counted(site: Site) -> None:
    key = await make_key(site, 10)
    async with site.client(key) as client:
        ids = new_ids(50)
        first = await client.post("/v1/batch", json=tracks(ids))
        again = await client.post("/v1/batch", json=tracks(ids))
        single = await client.post("/v1/track", json=track())
        metrics = (await client.get(site.service.metrics_url)).text

    # A batch is admitted whatever its size, and the next requests wait until it is paid.
    assert OK == first.status_code
    assert 50 == first.json()["accepted"]
    for refused in (again, single):
        answer = refused.json()
        assert (RATE_LIMITED, "rate_limited") == (refused.status_code, answer["code"])
        assert 3 <= int(refused.headers["retry-after"]) <= 5
        assert 10 == answer["limit"]
        assert "10 events per second" in answer["message"]
        assert 30 <= answer["actual"] <= 50
        assert f"{answer['actual']} events" in answer["message"]
    assert sorted(ids) == sorted(await site.event_ids(key))
    assert 2 == refused_requests(metrics)
    codes = [line.get("code") for line in site.service.log_lines("request") if "key_id" in line]
    assert [None, "rate_limited", "rate_limited"] == codes


def refused_requests(metrics: str) -> float:
    """Return the number of requests that were refused as `rate_limited`."""
    (family,) = (
        family
        for family in text_string_to_metric_families(metrics)
        if family.name == "forebay_refused_requests"
    )
    return sum(
        sample.value for sample in family.samples if sample.labels.get("code") == "rate_limited"
    )


async def test_a_sender_that_waits_as_told_has_all_its_events_stored(shared: Site) -> None:
    key = await make_key(shared, 40)
    ids = new_ids(200)
    waits: list[int] = []
    async with shared.client(key) as client:
        for start in range(0, len(ids), 20):
            while True:
                answer = await client.post("/v1/batch", json=tracks(ids[start : start + 20]))
                if answer.status_code == OK:
                    break
                waits.append(int(answer.headers["retry-after"]))
                await asyncio.sleep(waits[-1])

    assert sorted(ids) == sorted(await shared.event_ids(key))
    # 160 events after the first 40 take 4 s. No refusal was followed by another one.
    assert sum(waits) <= 2 * 4
    assert waits


async def test_keys_do_not_affect_each_other(shared: Site) -> None:
    noisy, good = await make_key(shared, 20), await shared.make_key()
    async with connections(shared, 4, None) as senders, shared.client(good) as client:
        flooding = asyncio.create_task(flood(senders, noisy, 5, 2.0))
        statuses = [(await client.post("/v1/track", json=track())).status_code for _ in range(50)]
        counts = await flooding

    assert [OK] * 50 == statuses
    assert counts[RATE_LIMITED] > 0


async def test_duplicates_count_as_events(shared: Site) -> None:
    key = await make_key(shared, 3)
    async with shared.client(key) as client:
        event = track("the same")
        statuses = [(await client.post("/v1/track", json=event)).status_code for _ in range(12)]

    assert OK == statuses[0]
    assert RATE_LIMITED in statuses


async def test_a_change_applies_in_every_worker_without_a_restart(shared: Site) -> None:
    key = await make_key(shared, None)
    async with shared.client_of_each_worker(key) as clients:
        await until_all_answer(clients, OK)

        await change_rate(shared, key, 1)
        await until_all_answer(clients, RATE_LIMITED)
        # No debt at the old limit delays a higher one.
        await clients[min(clients)].post("/v1/batch", json=tracks(new_ids(50)))
        await change_rate(shared, key, 1_000)
        await until_all_answer(clients, OK)

        await change_rate(shared, key, 1)
        await until_all_answer(clients, RATE_LIMITED)
        await change_rate(shared, key, NO_RATE_LIMIT)
        await until_all_answer(clients, OK)


async def until_all_answer(clients: dict[int, httpx.AsyncClient], status: int) -> None:
    async def do() -> bool:
        answers = [await client.post("/v1/track", json=track()) for client in clients.values()]
        return {answer.status_code for answer in answers} == {status}

    await until(do, HEARD_S, f"every worker answers {status}")


async def test_the_setting_applies_to_keys_without_a_limit_of_their_own(
    start_site: StartSite,
) -> None:
    site = await start_site(workers="1", key_events_per_second="5")
    keys = {
        "default": await make_key(site, None),
        "own": await make_key(site, 100),
        "none": await make_key(site, NO_RATE_LIMIT),
    }
    refused: dict[str, dict[str, Any]] = {}
    for name, key in keys.items():
        async with site.client(key) as client:
            await client.post("/v1/batch", json=tracks(new_ids(50)))
            answer = await client.post("/v1/batch", json=tracks(new_ids(50)))
            if answer.status_code == RATE_LIMITED:
                refused[name] = answer.json()

    assert ["default"] == list(refused)
    assert 5 == refused["default"]["limit"]


async def test_a_replaced_worker_does_not_forget_what_a_key_has_sent(site: Site) -> None:
    key = await make_key(site, 1)
    async with site.client(key) as client:
        assert OK == (await client.post("/v1/batch", json=tracks(new_ids(50)))).status_code
        before = site.service.worker_pids
        site.service.signal(signal.SIGHUP)
        await site.service.until_replaced(before)
    async with site.client_of_each_worker(key) as clients:
        for client in clients.values():
            answer = await client.post("/v1/track", json=track())
            assert RATE_LIMITED == answer.status_code
