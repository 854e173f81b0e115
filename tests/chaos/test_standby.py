"""A synchronous standby is away: nothing that it does not hold is acknowledged."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import httpx
import pytest

from provision.keys import NewKey
from service.store.transaction import AT_ONCE_ROWS_MAX
from tests.acceptance.conftest import StartSite
from tests.acceptance.own_postgres import OwnPostgres, lent_postgres
from tests.acceptance.running import until
from tests.acceptance.site import Site, new_ids, track, tracks
from tests.acceptance.test_outage import check_refusals

# More than go down by one statement, so that both ways are seen.
COUNTS: Final = [1, AT_ONCE_ROWS_MAX + 5]
SETTINGS: Final = {
    "flush_timeout_s": "1",
    "connect_timeout_s": "1",
    "payload_events_max": str(COUNTS[-1]),
}
SETTLED_S: Final = 25.0


@pytest.fixture
def replicated_postgres() -> Iterator[OwnPostgres]:
    """Lend a server that may be told to wait for a standby."""
    with lent_postgres(max_wal_senders=1) as own:
        yield own


@pytest.mark.parametrize("count", COUNTS)
async def test_what_a_silent_standby_does_not_hold_is_never_acknowledged(
    replicated_postgres: OwnPostgres, start_site: StartSite, count: int
) -> None:
    """Ending the session that waits for the standby leaves its rows on the primary alone."""
    own = replicated_postgres
    url = await own.make_database("forebay_test_standby")
    site = await start_site(url, **SETTINGS)
    site.database_url = url
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


async def _send(client: httpx.AsyncClient, ids: list[str]) -> httpx.Response:
    return await client.post("/v1/batch", json=tracks(ids))


def _holds(site: Site, key: NewKey, count: int) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return len(await site.event_ids(key)) == count

    return holds


async def _wait_for_standby(own: OwnPostgres, name: str) -> None:
    async with own.admin() as admin:
        await admin.execute("SET synchronous_commit = local")
        await admin.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
        await admin.execute("SELECT pg_reload_conf()")
