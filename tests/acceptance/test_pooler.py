"""
The service behind a connection pooler.

If these tests fail: an operator with PgBouncer loses events, or a revoked key stays valid.
"""

from provision.keys import revoke_key
from tests.acceptance.conftest import MakeService, StartSite
from tests.acceptance.running import until
from tests.acceptance.site import new_ids, tracks
from tests.integration.test_pooler import IGNORE
from tests.pgbouncer import pgbouncer


async def test_a_pooler_that_shares_sessions_is_refused_in_one_sentence(
    database_url: str, make_service: MakeService
) -> None:
    with pgbouncer(database_url, "transaction", ignore_startup_parameters=IGNORE) as url:
        service = make_service(url)
        service.spawn()
        assert await service.wait() == 1

    (line,) = service.complaints.splitlines()
    assert "pooler that shares sessions" in line
    assert "pool_mode = session" in line
    assert "canary-word" not in line + service.log


async def test_in_session_mode_events_are_stored_and_key_changes_arrive(
    database_url: str, start_site: StartSite
) -> None:
    with pgbouncer(database_url, "session", ignore_startup_parameters=IGNORE) as url:
        site = await start_site(through=url, workers="1")
        key = await site.make_key()
        ids = new_ids(20)
        async with site.client(key) as client:
            answer = await client.post("/v1/batch", json=tracks(ids))
            async with site.database() as connection:
                await revoke_key(connection, key.key_id)

            async def is_refused() -> bool:
                return (await client.post("/v1/batch", json=tracks(ids))).status_code == 401

            await until(is_refused, 5, "the revoked key is refused")
        assert await site.service.stop() == 0

    assert (200, 20) == (answer.status_code, answer.json()["accepted"])
    assert sorted(ids) == sorted(await site.event_ids(key))
    assert "canary-word" not in site.service.log + site.service.complaints
