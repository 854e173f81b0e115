"""
A synchronous standby is away: no event that it does not hold is acknowledged.

If these tests fail: events that were acknowledged are missing after a failover.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import httpx
import pytest

from provision.keys import NewKey
from service.store.ledger import SINGLE_STATEMENT_ROWS_MAX
from tests.acceptance.conftest import StartSite
from tests.acceptance.ledger import check_refusals
from tests.acceptance.own_postgres import OwnPostgres
from tests.acceptance.running import until
from tests.acceptance.site import Site, new_ids, track, tracks
from tests.acceptance.test_readiness import see_unready

# More than go down by one statement, so that both ways are seen.
COUNTS: Final = [1, SINGLE_STATEMENT_ROWS_MAX + 5]
SETTINGS: Final = {
    "workers": "1",
    "flush_timeout_s": "1",
    "connect_timeout_s": "1",
    "payload_events_max": str(COUNTS[-1]),
}
SETTLED_S: Final = 25.0
CANCEL: Final = (
    "SELECT pid FROM pg_stat_activity"
    " WHERE CASE wait_event WHEN 'SyncRep' THEN pg_cancel_backend(pid) ELSE false END"
)


@pytest.mark.parametrize("count", [pytest.param(COUNTS[0], marks=pytest.mark.nightly), COUNTS[1]])
async def test_rows_that_a_silent_standby_lacks_are_never_acknowledged(
    own_postgres: OwnPostgres, start_site: StartSite, count: int
) -> None:
    """Ending the session that waits for the standby leaves its rows on the primary alone."""
    own = own_postgres
    url = await own.make_database("forebay_test_standby")
    site = await start_site(url, **SETTINGS)
    key, ids = await site.make_key(), new_ids(count)
    async with site.client(key) as client:
        await client.post("/v1/track", json=track())  # partitions, sessions, the key
        await _wait_for_standby(own, "away")
        first = await _send(client, ids)
        await until(_holds(site, key, count + 1), SETTLED_S, "the primary holds the rows")
        again = [await _send(client, ids) for _ in range(3)]
        check_refusals([first, *again])

        await _wait_for_standby(own, "")
        answer = await _send(client, ids)

    assert 200 == answer.status_code
    assert count + 1 == len(await site.event_ids(key))


@pytest.mark.parametrize("count", [COUNTS[0], pytest.param(COUNTS[1], marks=pytest.mark.nightly)])
async def test_a_commit_whose_wait_for_the_standby_is_cancelled_is_not_acknowledged(
    own_postgres: OwnPostgres, start_site: StartSite, count: int
) -> None:
    """PostgreSQL answers such a commit as done, with a WARNING; so it does for a repeated one."""
    own = own_postgres
    url = await own.make_database("forebay_test_cancelled")
    site = await start_site(url, **SETTINGS)
    key, ids = await site.make_key(), new_ids(count)
    async with site.client(key) as client:
        await client.post("/v1/track", json=track())  # partitions, sessions, the key
        await _wait_for_standby(own, "absent")
        async with _cancelled_waits(own) as cancelled:
            answers = [await _send(client, ids) for _ in range(3)]
        assert cancelled
        check_refusals(answers)
        assert {"outcome_unknown"} == {answer.json()["code"] for answer in answers}
        assert count + 1 == len(await site.event_ids(key))

        await _wait_for_standby(own, "")
        answer = await _send(client, ids)

    assert 200 == answer.status_code
    assert count == answer.json()["accepted"] + answer.json()["duplicates"]
    assert count + 1 == len(await site.event_ids(key))


async def test_while_the_standby_is_away_no_worker_is_ready(
    own_postgres: OwnPostgres, start_site: StartSite
) -> None:
    own = own_postgres
    url = await own.make_database("forebay_test_unready")
    site = await start_site(url, **SETTINGS)
    await _wait_for_standby(own, "away")
    await see_unready(site, "standby", times=2)

    await _wait_for_standby(own, "")

    await until(site.service.is_ready, SETTLED_S, "it is ready again by itself")
    async with own.admin() as admin:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        assert 0 == await admin.fetchval(waiting)


@contextlib.asynccontextmanager
async def _cancelled_waits(own: OwnPostgres) -> AsyncIterator[list[int]]:
    """Cancel every wait for a standby while the block runs; lend the list of who was cancelled."""
    cancelled: list[int] = []
    is_over = asyncio.Event()

    async def cancel(admin: Any) -> None:
        while not is_over.is_set():
            cancelled.extend(row[0] for row in await admin.fetch(CANCEL))
            await asyncio.sleep(0.01)

    async with own.admin() as admin:
        cancelling = asyncio.create_task(cancel(admin))
        try:
            yield cancelled
        finally:
            is_over.set()
            await cancelling


async def _send(client: httpx.AsyncClient, ids: list[str]) -> httpx.Response:
    return await client.post("/v1/batch", json=tracks(ids))


def _holds(site: Site, key: NewKey, count: int) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return len(await site.event_ids(key)) == count

    return holds


async def _wait_for_standby(own: OwnPostgres, name: str) -> None:
    await own.configure(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
