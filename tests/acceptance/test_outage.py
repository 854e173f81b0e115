"""
The database goes away and comes back under load.

If these tests fail: senders wait without an answer during an outage, or lose events that were
acknowledged.
"""

import asyncio
import itertools
import time
from typing import Final

import httpx
import pytest

from provision.keys import revoke_key
from service import apikey
from tests.acceptance.conftest import StartSite
from tests.acceptance.ledger import MANY, TAKES_MANY, check_refusals, load, new_ledger
from tests.acceptance.own_postgres import OwnPostgres
from tests.acceptance.proxy import CutAt, Line, proxied
from tests.acceptance.running import until
from tests.acceptance.site import Site, new_ids, track, tracks
from tests.nightly import IS_NIGHTLY

FLUSH_TIMEOUT_S: Final = 1.0
PROMISED_S: Final = 5 * FLUSH_TIMEOUT_S
SETTINGS: Final = {"flush_timeout_s": str(FLUSH_TIMEOUT_S), "connect_timeout_s": "1"}


@pytest.mark.parametrize("line", [Line.CUT, Line.SILENT])
async def test_an_outage_is_answered_503_and_ends_by_itself(
    database_url: str, start_site: StartSite, line: Line
) -> None:
    async with proxied(database_url) as proxy:
        site = await start_site(through=proxy.url, **SETTINGS)
        key, unseen = await site.make_key(), await site.make_key()
        pids = site.service.worker_pids
        async with load(site, key, connections=4) as ledger:
            await ledger.until_acked()
            proxy.set_line(line)
            await ledger.until_refused()
            async with site.client() as client:
                await _check_probes(client)
                answer = await client.post(
                    "/v1/track", json=track(), headers={"x-api-key": unseen.api_key}
                )
                check_refusals([answer])
            proxy.set_line(Line.OPEN)
            await until(site.service.is_ready, 20, "it is ready again")
            await ledger.until_acked()

        check_refusals(ledger.answers)
        assert not ledger.faults
        await ledger.check(site, key)
        assert pids == site.service.worker_pids


async def _check_probes(client: httpx.AsyncClient) -> None:
    async def is_told() -> bool:
        return bool((await client.get("/health/ready")).json().get("reason") == "away")

    await until(is_told, PROMISED_S, "it is not ready")
    health, live, ready = [
        await client.get(path) for path in ("/health", "/health/live", "/health/ready")
    ]
    assert [answer.status_code for answer in (health, live, ready)] == [503, 200, 503]
    assert ("unavailable", "away") == (
        health.json()["database"]["status"],
        health.json()["database"]["cause"],
    )


async def test_made_up_keys_delay_no_answer_while_the_database_is_silent(
    database_url: str, start_site: StartSite
) -> None:
    """The deadline of a look-up includes the wait for its turn, however many wait."""
    async with proxied(database_url) as proxy:
        deadline_s = 1.5  # the client, too, takes its time for 150 connections
        site = await start_site(
            through=proxy.url, workers="1", acquire_timeout_s=str(deadline_s), **SETTINGS
        )
        known, unseen = await site.make_key(), await site.make_key()
        made_up = [apikey.mint().text for _ in range(150)]
        async with site.client() as client:

            async def send(text: str) -> httpx.Response:
                return await client.post("/v1/track", json=track(), headers={"x-api-key": text})

            assert (await send(known.api_key)).status_code == 200
            proxy.set_line(Line.SILENT)
            flood = [asyncio.create_task(send(text)) for text in made_up]
            honest = [asyncio.create_task(send(key.api_key)) for key in (unseen, known)]
            looked_up = await asyncio.gather(*flood, honest[0])
            check_refusals([*looked_up, await honest[1]])
            assert max(answer.elapsed.total_seconds() for answer in looked_up) < 5 * deadline_s
            proxy.set_line(Line.OPEN)
            await until(site.service.is_ready, 20, "it is ready again")
            assert (await send(unseen.api_key)).status_code == 200


_END_LOOK_UPS: Final = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE application_name = 'forebay' AND datname = current_database()"
    " AND (query LIKE '%FROM api_keys%' OR query LIKE '%event_partition%')"
)


async def test_cached_keys_are_used_for_a_bounded_time_while_look_ups_fail(
    database_url: str, start_site: StartSite
) -> None:
    """As when others hold every slot of PostgreSQL: events go down, and no look-up does."""
    ttl_s, stale_max_s = 0.5, 4.0
    async with proxied(database_url) as proxy:
        site = await start_site(
            through=proxy.url,
            workers="1",
            key_cache_ttl_s=str(ttl_s),
            key_cache_stale_max_s=str(stale_max_s),
            **SETTINGS,
        )
        key, revoked, unseen = [await site.make_key() for _ in range(3)]
        async with site.client() as client:

            async def send(text: str) -> int:
                headers = {"x-api-key": text}
                answer = await client.post("/v1/track", json=track(), headers=headers)
                return answer.status_code

            began = time.monotonic()
            assert [await send(one.api_key) for one in (key, revoked)] == [200, 200]
            # The flushes hold their connection; a look-up has to open another, and cannot.
            proxy.connections_left = 0
            async with site.database() as connection:
                assert await connection.fetchval(_END_LOOK_UPS)
                await revoke_key(connection, revoked.key_id)

            async def is_heard() -> bool:
                return await send(revoked.api_key) != 200

            await until(is_heard, 5, "the revocation is heard")
            while time.monotonic() < began + 3 * ttl_s:
                assert await send(key.api_key) == 200
                await asyncio.sleep(0.05)
            assert [await send(one.api_key) for one in (revoked, unseen)] == [503, 503]

            async def has_ended() -> bool:
                return await send(key.api_key) == 503

            await until(has_ended, 5 * stale_max_s, "the bound is kept")
            assert time.monotonic() - began > stale_max_s
            proxy.connections_left = None
            proxy.set_line(Line.OPEN)

            async def is_back() -> bool:
                return await send(key.api_key) == 200

            await until(is_back, 5, "the key is looked up again")
            assert await send(revoked.api_key) == 401


@pytest.mark.parametrize("cut_at", CutAt)
async def test_a_connection_cut_at_the_worst_moment_still_ends_in_accepted_and_one_row(
    database_url: str, start_site: StartSite, cut_at: CutAt
) -> None:
    """
    The service runs the same rows again, and their ids tell what had happened.

    Few rows go down in one statement and many by COPY: both are cut where the events go by, and the
    second at its COMMIT too.
    """
    async with proxied(database_url) as proxy:
        site = await start_site(through=proxy.url, workers="1", **TAKES_MANY)
        key = await site.make_key()
        stored: list[str] = []
        async with site.client(key) as client:
            for events, words, cuts in itertools.product((1, MANY), (None, b"COMMIT\0"), (1, 1, 2)):
                if events == 1 and words:
                    continue  # one statement commits itself
                ids = new_ids(events)
                proxy.cut(words or ids[0].encode(), cuts, cut_at)
                answer = await client.post("/v1/batch", json=tracks(ids))
                assert (answer.status_code, answer.json()["accepted"]) == (200, events)
                assert proxy.cuts_left == 0
                stored += ids
                again = await client.post("/v1/batch", json=tracks(ids))
                assert again.json()["duplicates"] == events
        assert stored == await site.event_ids(key)


async def test_an_answer_cut_off_again_and_again_is_an_unknown_outcome(
    database_url: str, start_site: StartSite
) -> None:
    async with proxied(database_url) as proxy:
        site = await start_site(through=proxy.url, **SETTINGS)
        key = await site.make_key()
        (event_id,) = new_ids(1)
        async with site.client(key) as client:
            proxy.cut(event_id.encode(), 1_000, CutAt.BEFORE_ANSWER)
            answer = await client.post("/v1/track", json=track(event_id))
            check_refusals([answer])
            assert answer.json()["code"] == "outcome_unknown"
            proxy.cut(b"", 0, CutAt.BEFORE_ANSWER)
            again = await client.post("/v1/track", json=track(event_id))

        assert (again.status_code, again.json()["status"]) == (200, "duplicate")
        assert await site.event_ids(key) == [event_id]


async def test_a_connection_that_falls_silent_after_a_cut_delays_no_answer(
    database_url: str, start_site: StartSite
) -> None:
    """The lost session is ended over a connection that does not answer either."""
    async with proxied(database_url) as proxy:
        site = await start_site(through=proxy.url, workers="1", **SETTINGS)
        key, unseen = await site.make_key(), await site.make_key()
        (event_id,) = new_ids(1)
        async with site.client(key) as client:
            # Enough at once for more than one connection.
            sending = [client.post("/v1/batch", json=tracks(new_ids(50))) for _ in range(10)]
            probing = [client.get("/health") for _ in range(10)]
            await asyncio.gather(*sending, *probing)
            proxy.is_silent_after_cut = True
            proxy.cut(event_id.encode(), 1, CutAt.BEFORE_SERVER)
            refused = await client.post("/v1/track", json=track(event_id))
            as_other = httpx.BasicAuth(unseen.api_key, "")
            unknown = await client.post("/v1/track", json=track(), auth=as_other)
            check_refusals([refused, unknown])
            proxy.set_line(Line.OPEN)
            await until(site.service.is_ready, 20, "it is ready again")
            answer = await client.post("/v1/track", json=track(event_id))
            assert answer.json()["status"] in {"accepted", "duplicate"}
        assert (await site.event_ids(key)).count(event_id) == 1


async def test_ended_sessions_are_replaced_and_no_request_is_refused(site: Site) -> None:
    """As after `pg_terminate_backend`, or the restart of a pooler."""
    key = await site.make_key()
    query = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name = 'forebay' AND datname = current_database()"
    )
    async with load(site, key, connections=4) as ledger:
        for _ in range(3 if IS_NIGHTLY else 1):
            await ledger.until_acked()
            async with site.database() as connection:
                assert await connection.fetchval(query)
            await until(site.service.is_ready, 10, "it is ready again")
        await ledger.until_acked()
    # A worker has no number for a moment: it may say so, and nothing else.
    check_refusals(ledger.answers)
    assert not ledger.faults
    await ledger.check(site, key)


async def test_the_service_survives_a_restart_of_postgresql(
    own_postgres: OwnPostgres, start_site: StartSite
) -> None:
    name = "forebay_test_restart"
    await own_postgres.make_database(name)
    async with proxied(own_postgres.server.url(name)) as proxy:
        site = await start_site(own_postgres.server.url(name), through=proxy.url, **SETTINGS)
        key = await site.make_key()
        async with load(site, key, connections=4) as ledger:
            await ledger.until_acked()
            await own_postgres.stop()
            await ledger.until_refused()
            await own_postgres.start()
            # It has another port now, as a failover would have another address.
            site.database_url = own_postgres.server.url(name)
            proxy.retarget(site.database_url)
            await until(site.service.is_ready, 20, "it is ready again")
            await ledger.until_acked()
        check_refusals(ledger.answers)
        assert not ledger.faults
        await ledger.check(site, key)


async def test_above_its_queue_limit_a_worker_refuses_and_then_recovers(
    start_site: StartSite,
) -> None:
    """Another session holds the key that the first flushes need, so that the queue fills."""
    site = await start_site(workers="1", queue_rows_max="20", flush_timeout_s="5")
    key = await site.make_key()
    blocked, ledger = new_ids(2), new_ledger(site)
    async with site.client(key) as client:
        await ledger.send(client, new_ids(1))
        sending: list[asyncio.Task[None]] = []

        async def are_blocked() -> bool:
            return await site.lock_waits() == len(sending)

        async def is_refused() -> bool:
            sending.append(asyncio.create_task(ledger.send(client, new_ids(5))))
            await asyncio.sleep(0)
            return bool(ledger.answers)

        async with site.held(key, *blocked):
            for one in blocked:
                # In a flush of its own: of a larger flush the blocked event would soon be refused.
                sending.append(asyncio.create_task(ledger.send(client, [one])))
                await until(are_blocked, 4, "its flush waits")
            await until(is_refused, 4, "the queue is full")
            started = time.monotonic()
            await ledger.send(client, new_ids(5))
            assert time.monotonic() - started < 1
        await asyncio.gather(*sending)
        check_refusals(ledger.answers)
        assert {"overloaded"} == {answer.json()["code"] for answer in ledger.answers}
        refused = ledger.statuses[503]
        await ledger.send(client, new_ids(5))
        assert refused == ledger.statuses[503]
    await ledger.check(site, key)


async def test_a_lock_of_another_session_affects_only_the_event_with_that_id(
    start_site: StartSite,
) -> None:
    """Also when the deadline passes during an attempt, it is known that the event is not stored."""
    site = await start_site(workers="1", lock_timeout_ms="300", **SETTINGS)
    key, other = await site.make_key(), await site.make_key()
    (held,) = new_ids(1)
    async with site.client(key) as client, site.client(other) as neighbour:
        await client.post("/v1/track", json=track())
        async with site.held(key, held):
            refused = asyncio.create_task(client.post("/v1/track", json=track(held)))
            answers = [await neighbour.post("/v1/track", json=track()) for _ in range(10)]
            check_refusals([await refused])
        again = await client.post("/v1/track", json=track(held))

    assert [answer.status_code for answer in answers] == [200] * 10
    assert refused.result().json()["code"] == "store_unavailable"
    assert again.json()["status"] == "accepted"
