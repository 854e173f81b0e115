"""
Readiness says whether events can be stored, and what is in the way.

If these tests fail: a load balancer sends requests to a worker that cannot store them, or an
operator is not told the cause.
"""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from provision.migrate import migrate
from tests.acceptance.conftest import StartSite
from tests.acceptance.own_postgres import OwnPostgres
from tests.acceptance.running import until
from tests.acceptance.site import Site, track

# A probe a second, and five times as long for a busy machine.
TOLD_S = 5.0
RECOVERED_S = 15.0
ROLE = "forebay_test_owner"
SETTINGS = {"flush_timeout_s": "1", "connect_timeout_s": "1", "workers": "1"}


async def see_unready(site: Site, cause: str, times: int = 1) -> dict[str, Any]:
    """
    Wait until the worker says that it cannot store for *cause*; return what it says.

    *times*: so many probes say the same, one after the other.
    """
    said: list[dict[str, Any]] = []

    async def unready() -> bool:
        async with site.client() as client:
            ready = await client.get("/health/ready")
            database = (await client.get("/health")).json()["database"]
        report: dict[str, Any] = ready.json()
        is_so = ready.status_code == 503 and report["reason"] == cause == database.get("cause")
        if not is_so:
            said.clear()
        elif not said or said[-1]["latency_ms"] != database["latency_ms"]:
            said.append(report | {"latency_ms": database["latency_ms"]})
        return len(said) >= times

    await until(unready, TOLD_S * times, f"it is not ready: {cause}")
    return said[-1]


@contextlib.asynccontextmanager
async def all_slots_taken(url: str) -> AsyncIterator[None]:
    """Take every connection that the server still has."""
    hogs: list[Any] = []
    try:
        with contextlib.suppress(asyncpg.TooManyConnectionsError):
            while True:
                hogs.append(await asyncpg.connect(url))
        yield
    finally:
        for hog in hogs:
            hog.terminate()


async def test_with_every_connection_slot_taken_a_worker_stores_events_and_stays_ready(
    crowded_postgres: OwnPostgres, start_site: StartSite
) -> None:
    url = await crowded_postgres.make_database("forebay_test_slots")
    site = await start_site(url, **SETTINGS)
    key = await site.make_key()
    async with site.client(key) as client:
        assert 200 == (await client.post("/v1/track", json=track())).status_code
        async with all_slots_taken(url):
            # Longer than a worker trusts the last news.
            for _ in range(40):
                answer = await client.post("/v1/track", json=track())
                ready = await client.get("/health/ready")
                assert (200, 200) == (answer.status_code, ready.status_code), answer.text


async def test_an_idle_worker_stays_ready_with_every_connection_slot_taken(
    crowded_postgres: OwnPostgres, start_site: StartSite
) -> None:
    url = await crowded_postgres.make_database("forebay_test_idle")
    site = await start_site(url, **SETTINGS)
    async with all_slots_taken(url), site.client() as client:
        answers = [await _after_a_probe(client) for _ in range(2)]

    assert ["ok"] * 2 == [answer["status"] for answer in answers]


async def _after_a_probe(client: Any) -> dict[str, Any]:
    """Return what `/health` says of the database after the next probe, told by its latency."""
    before = (await client.get("/health")).json()["database"]

    async def probed() -> dict[str, Any] | None:
        now: dict[str, Any] = (await client.get("/health")).json()["database"]
        return now if now != before else None

    found = await until(probed, TOLD_S, "a probe")
    assert found is not None
    return found


async def test_without_a_partition_and_the_right_to_make_it_no_worker_is_ready(
    own_postgres: OwnPostgres, start_site: StartSite
) -> None:
    name, today = "forebay_test_partition", datetime.now(UTC).strftime("%Y%m%d")
    async with own_postgres.admin() as admin:
        await admin.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{ROLE}'")
        await admin.execute(f"CREATE DATABASE {name} OWNER {ROLE}")
    url = _as(ROLE, own_postgres.server.url(name))
    await migrate(url)
    site = await start_site(url, **SETTINGS)
    key = await site.make_key()
    async with site.client(key) as client, own_postgres.admin(name) as admin:
        await admin.execute(f"ALTER DATABASE {name} OWNER TO postgres")
        await admin.execute(f"DROP TABLE events_{today}")
        said = await see_unready(site, "no_partition")
        answer = await client.post("/v1/track", json=track())
        assert (503, "store_unavailable") == (answer.status_code, answer.json()["code"])
        assert "no partition for today" in said["message"]
        assert said["message"] in answer.json()["message"]

        await admin.execute(f"ALTER DATABASE {name} OWNER TO {ROLE}")
        await until(site.service.is_ready, RECOVERED_S, "it is ready again by itself")
        assert 200 == (await client.post("/v1/track", json=track())).status_code


async def test_a_revoked_right_is_named(own_postgres: OwnPostgres, start_site: StartSite) -> None:
    name = "forebay_test_right"
    async with own_postgres.admin() as admin:
        await admin.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{ROLE}'")
        await admin.execute(f"CREATE DATABASE {name} OWNER {ROLE}")
    url = _as(ROLE, own_postgres.server.url(name))
    await migrate(url)
    site = await start_site(url, **SETTINGS)
    key = await site.make_key()
    async with site.client(key) as client, own_postgres.admin(name) as admin:
        await client.post("/v1/track", json=track())
        await admin.execute(f"REVOKE INSERT ON events FROM {ROLE}")
        await see_unready(site, "not_permitted")
        answer = await client.post("/v1/track", json=track())
        assert "lacks a privilege" in answer.json()["message"]
        assert "store_unavailable" == answer.json()["code"]

        await admin.execute(f"GRANT INSERT ON events TO {ROLE}")
        await until(site.service.is_ready, RECOVERED_S, "it is ready again by itself")


async def test_a_locked_table_is_named_and_a_locked_row_is_ignored(
    start_site: StartSite,
) -> None:
    site = await start_site(**SETTINGS, lock_timeout_ms="200")
    key = await site.make_key()
    async with site.client(key) as client, site.database() as holder:
        async with site.held(key, "held"):
            answer = await client.post("/v1/track", json=track("held"))
            assert 503 == answer.status_code
            assert await site.service.is_ready()
        async with holder.transaction():
            await holder.execute("LOCK TABLE events")
            await see_unready(site, "locked")
        await until(site.service.is_ready, RECOVERED_S, "it is ready again by itself")


async def test_a_probe_leaves_nothing_behind(start_site: StartSite) -> None:
    site = await start_site(**SETTINGS)
    async with site.client() as client:
        await _after_a_probe(client)
    async with site.database() as connection:
        for table in ("events", "event_deduplication", "rejected_events"):
            assert 0 == await connection.fetchval(f"SELECT count(*) FROM {table}")


def _as(role: str, url: str) -> str:
    """Return *url* for another role, whose password is its name."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{role}@{host}"))
