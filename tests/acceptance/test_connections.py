"""
Connections of strangers: idle, half-sent, or never read.

If these tests fail: one machine without a key can keep everybody else out, or hold up a stop.
"""

import asyncio
import math
import os
import resource
import signal
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.strangers import Strangers, strangers
from provision.keys import NewKey
from tests.acceptance import wire
from tests.acceptance.conftest import MakeService, StartSite
from tests.acceptance.proxy import Line, proxied
from tests.acceptance.running import Service, until
from tests.acceptance.site import Site, new_ids, track, tracks

# A tenth of a second on an idle machine.
NOTICED_S: Final = 30.0
# A worker ends strangers within a second of a stop; it would be killed after 25 s.
STOP_S: Final = 10.0
# A body has 5 s at a stop.
BODY_STOP_S: Final = 20.0
REQUESTS: Final = 200
ROUNDS: Final = 3
# A body has this time also when there is no room for another request; and a busy machine more.
BODY_TIME_MIN_S: Final = 2.0
OTHER_ADDRESS: Final = "127.0.0.9"


@pytest.mark.parametrize(
    ("connections_max", "idle", "unread"),
    [(150, 700, 0), pytest.param(10_000, 6_000, 1_000, marks=pytest.mark.nightly)],
)
async def test_more_idle_connections_than_the_limit_do_not_slow_other_clients(
    start_site: StartSite, connections_max: int, idle: int, unread: int
) -> None:
    site = await start_site(connections_max=str(connections_max), answer_timeout_s="5")
    key = await site.make_key()
    before = await _p99_s(site, key)
    async with strangers(site.service.port) as crowd:
        await crowd.open("idle", idle)
        await crowd.open("unread", unread)
        # The best of several: other processes use this machine too.
        during = min([await _p99_s(site, key) for _ in range(ROUNDS)])
        async with site.client() as client:
            assert (await client.get("/health")).status_code == 200
        await until(partial(_are_closed, crowd, unread), NOTICED_S, "clients that do not read end")
        # Twice, and one pause of the machine.
        assert during < 2 * before + 0.05
        ended = await _ended(site)
    assert ("room" in ended) is (connections_max < idle / 2)
    assert ended.get("answer", 0) >= unread


async def test_a_client_that_reads_no_answer_is_disconnected_after_the_answer_timeout(
    start_site: StartSite,
) -> None:
    site = await start_site(answer_timeout_s="1")
    async with strangers(site.service.port) as crowd:
        await crowd.open("unread", 20)
        await until(partial(_are_closed, crowd, 20), NOTICED_S, "they are disconnected")
    assert await _ended(site) == {"answer": 20}


async def test_incomplete_headers_are_disconnected_after_the_header_timeout(
    start_site: StartSite,
) -> None:
    """A client that waits for its next request stays connected, and so does one that sends it."""
    site = await start_site(header_timeout_s="1", body_timeout_s="60")
    key = await site.make_key()
    body = wire.post("/v1/page", f"Authorization: Bearer {key.api_key}", body=b'{"user_id": "u"}')
    patient = await wire.connect(site.service.url)
    await patient.send(body[:-5])
    async with strangers(site.service.port) as idle, strangers(site.service.port) as crowd:
        await idle.open("idle", 5)
        await crowd.open("headers", 20)
        await until(partial(_are_closed, crowd, 20), NOTICED_S, "they are disconnected")
        assert idle.closed() == 0
    await patient.send(body[-5:])
    answer = await patient.answer()
    patient.close()
    assert answer is not None
    assert answer.status == 200
    assert await _ended(site) == {"header": 20}


@pytest.mark.parametrize("is_reloading", [False, True])
async def test_a_stop_does_not_wait_for_idle_or_stalled_connections(
    site: Site, is_reloading: bool
) -> None:
    """A request in progress is still answered."""
    key, ids = await site.make_key(), new_ids(1)
    async with (
        site.client(key) as client,
        strangers(site.service.port) as crowd,
        strangers(site.service.port) as unread,
    ):
        await client.post("/v1/batch", json=tracks(new_ids(1)))
        await crowd.open("idle", 20)
        await crowd.open("headers", 20)
        # These do not always learn that the service has closed: the kernel keeps that behind the
        # answers that they do not read.
        await unread.open("blocked", 50)
        async with site.held(key, *ids):
            sending = asyncio.create_task(client.post("/v1/batch", json=tracks(ids)))
            await until(site.lock_waits, NOTICED_S, "the flush waits for the lock")
            if is_reloading:
                site.service.signal(signal.SIGHUP)
            started = time.monotonic()
            site.service.terminate()
            await until(partial(_are_closed, crowd, 40), STOP_S, "the strangers are disconnected")
        assert (await sending).json()["accepted"] == 1
        assert await site.service.wait() == 0
    assert time.monotonic() - started < STOP_S
    assert site.service.log_lines("worker_killed") == []


async def test_a_stop_waits_at_most_5_s_for_a_body(
    start_site: StartSite,
) -> None:
    site = await start_site(body_timeout_s="60")
    async with strangers(site.service.port) as crowd:
        await crowd.open("body", 10)
        started = time.monotonic()
        assert await site.service.stop() == 0
    assert time.monotonic() - started < BODY_STOP_S
    assert site.service.log_lines("worker_killed") == []


async def test_the_limit_of_connections_per_address_exempts_trusted_proxies(
    start_site: StartSite,
) -> None:
    site = await start_site(
        workers="1", connections_per_address_max="20", trusted_proxies="127.0.0.1"
    )
    key = await site.make_key()
    async with (
        strangers(site.service.port, OTHER_ADDRESS) as crowd,
        strangers(site.service.port) as trusted,
    ):
        await trusted.open("idle", 60)
        await crowd.open("idle", 60)
        await until(partial(_are_closed, crowd, 40), NOTICED_S, "the surplus is disconnected")
        assert (crowd.closed(), trusted.closed()) == (40, 0)
        async with site.client(key) as client:
            assert (await client.post("/v1/track", json=track())).status_code == 200
    assert await _ended(site) == {"address": 40}


async def test_clients_cannot_take_the_descriptors_that_the_database_needs(
    database_url: str, make_service: MakeService
) -> None:
    """The limit of open files is too low for `FOREBAY_CONNECTIONS_MAX`."""
    async with proxied(database_url) as proxy:
        service = make_service(proxy.url)
        await _start_with_files(service, 256)
        lines = service.log_lines("connections_lowered")
        assert [line["connections_max"] for line in lines] == [128]
        site = Site(service, database_url)
        key = await site.make_key()
        async with strangers(service.port) as crowd, site.client(key) as client:
            await crowd.open("headers", 600)
            proxy.set_line(Line.CUT)
            proxy.set_line(Line.OPEN)

            async def is_stored() -> bool:
                answer = await client.post("/v1/track", json=track())
                return answer.status_code == 200

            await until(is_stored, NOTICED_S, "events are stored again")
        assert service.complaints == ""


async def test_a_too_low_limit_of_open_files_stops_the_start_with_one_message(
    make_service: MakeService,
) -> None:
    service = make_service()
    service.spawn()
    _limit_files(service, 100)
    assert await service.wait() == 1
    assert service.complaints.startswith("forebay: the limit of open files is 100: ")
    assert service.complaints.count("\n") == 1


async def test_a_request_above_the_limit_is_refused_at_once(start_site: StartSite) -> None:
    site = await start_site(
        workers="1", requests_max="2", lock_timeout_ms="10000", flush_timeout_s="30"
    )
    key, other, third = [await site.make_key() for _ in range(3)]
    ids, other_ids = new_ids(1), new_ids(1)

    async def are_both_locked() -> bool:
        return await site.lock_waits() == 2

    async with site.held(key, *ids), site.held(other, *other_ids):
        first = asyncio.create_task(_send(site, key, ids))
        await until(site.lock_waits, NOTICED_S, "a flush waits for the lock")
        sending = [first, asyncio.create_task(_send(site, other, other_ids))]
        await until(are_both_locked, NOTICED_S, "another flush waits for the lock")
        refused = await _send(site, third, new_ids(1))
        async with site.client() as client:
            assert (await client.get("/health")).status_code == 200
    assert [(await each).status_code for each in sending] == [200, 200]
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert (refused.json()["limit"], refused.json()["actual"]) == (2, 3)
    assert int(refused.headers["retry-after"]) >= 1
    assert await _sample(site, "forebay_requests_over_limit_total") == 1


async def test_half_of_the_requests_in_progress_may_be_of_one_key(start_site: StartSite) -> None:
    site = await start_site(
        workers="1",
        requests_max="4",
        flushes_max="4",
        lock_timeout_ms="10000",
        flush_timeout_s="30",
    )
    key, other, ids = await site.make_key(), await site.make_key(), new_ids(2)

    async def are_both_locked() -> bool:
        return await site.lock_waits() == len(ids)

    async with site.held(key, *ids):
        first = asyncio.create_task(_send(site, key, ids[:1]))
        await until(site.lock_waits, NOTICED_S, "a flush waits for the lock")
        sending = [first, asyncio.create_task(_send(site, key, ids[1:]))]
        await until(are_both_locked, NOTICED_S, "another flush waits for the lock")
        refused = await _send(site, key, new_ids(1))
        assert (await _send(site, other, new_ids(1))).status_code == 200
    assert [(await each).status_code for each in sending] == [200, 200]
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert (refused.json()["limit"], refused.json()["actual"]) == (2, 3)
    assert await _sample(site, "forebay_requests_over_limit_total") == 1
    assert (await _send(site, key, new_ids(1))).status_code == 200


async def test_slow_bodies_do_not_use_up_the_limit_of_requests(
    start_site: StartSite,
) -> None:
    """Without a key: the body is read because the key may be in it."""
    site = await start_site(workers="1", requests_max="20", body_timeout_s="60")
    key = await site.make_key()
    async with strangers(site.service.port) as crowd, site.client(key) as client:
        await crowd.open("body", 20)
        await asyncio.sleep(BODY_TIME_MIN_S)
        statuses = [
            (await client.post("/v1/track", json=track())).status_code for _ in range(REQUESTS)
        ]
    assert set(statuses) == {200}


async def test_the_metrics_port_answers_health_probes(start_site: StartSite) -> None:
    """Also when the workers do not run."""
    site = await start_site()
    pids = site.service.worker_pids

    async def are_ready() -> bool:
        return await _probe(site, "/health/ready") == 200

    await until(are_ready, NOTICED_S, "the workers have reported")
    report = (await _get(site, "/health")).json()
    assert (report["status"], [each["pid"] for each in report["workers"]]) == ("ok", sorted(pids))
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    assert await _probe(site, "/health/live") == 200

    async def are_silent() -> bool:
        statuses = [await _probe(site, path) for path in ("/health/live", "/health/ready")]
        return statuses == [503, 503]

    await until(are_silent, 5 * NOTICED_S, "the workers are silent")
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    await until(are_ready, NOTICED_S, "the workers have reported again")


async def _p99_s(site: Site, key: NewKey) -> float:
    """Return the 99th percentile of the time of a request, in seconds."""
    times = []
    async with site.client(key) as client:
        for _ in range(REQUESTS):
            started = time.monotonic()
            answer = await client.post("/v1/track", json=track())
            times.append(time.monotonic() - started)
            assert answer.status_code == 200
    return _percentile(times, 0.99)


def _percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[math.ceil(len(values) * share) - 1]


async def _are_closed(crowd: Strangers, count: int) -> bool:
    return crowd.closed() >= count


async def _get(site: Site, path: str) -> httpx.Response:
    async with httpx.AsyncClient(verify=False, timeout=5) as client:
        return await client.get(site.service.metrics_url.replace("/metrics", path))


async def _probe(site: Site, path: str) -> int:
    return (await _get(site, path)).status_code


async def _ended(site: Site) -> dict[str, float]:
    """Return how many connections were ended, by reason."""
    text = (await _get(site, "/metrics")).text
    return {
        sample.labels["reason"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "forebay_client_connections_ended_total"
    }


async def _send(site: Site, key: NewKey, event_ids: Sequence[str]) -> httpx.Response:
    async with site.client(key) as client:
        return await client.post("/v1/batch", json=tracks(event_ids))


async def _sample(site: Site, name: str) -> float:
    text = (await _get(site, "/metrics")).text
    (value,) = [
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    ]
    return value


async def _start_with_files(service: Service, limit: int) -> None:
    """Start a service whose processes may open *limit* files."""
    service.spawn()
    _limit_files(service, limit)

    async def has_started() -> bool:
        return len(service.log_lines("worker_started")) >= service.workers

    await until(has_started, NOTICED_S, "every worker has started")
    await until(service.is_ready, NOTICED_S, "/health/ready answers 200")


def _limit_files(service: Service, limit: int) -> None:
    """Lower the limit of open files before the interpreter has read its first module."""
    resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (limit, limit))
