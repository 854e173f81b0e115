"""
Changes of keys, workspaces and tenants reach every running worker.

If these tests fail: a revoked key goes on storing events, or a new key is refused.
"""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx
import pytest

from provision.keys import NewKey, revoke_key
from tests.acceptance import wire
from tests.acceptance.running import until
from tests.acceptance.site import Site, track

HEARD_S: Final = 1.0
_STATEMENTS: Final = {
    "revoked": "UPDATE api_keys SET revoked_at = now() WHERE key_id = $1",
    "expired": "UPDATE api_keys SET expires_at = now() WHERE key_id = $1",
    "deleted": "DELETE FROM api_keys WHERE key_id = $1",
    "tenant disabled": "UPDATE tenants SET disabled_at = now() WHERE id ="
    " (SELECT tenant_id FROM api_keys WHERE key_id = $1)",
}


async def _statuses(clients: dict[int, httpx.AsyncClient]) -> set[int]:
    return {(await c.post("/v1/track", json=track())).status_code for c in clients.values()}


async def _turn(clients: dict[int, httpx.AsyncClient], status: int) -> float:
    """Return the seconds until every worker answers *status*."""
    started = time.monotonic()

    async def have_turned() -> bool:
        return await _statuses(clients) == {status}

    await until(have_turned, 5, f"every worker answers {status}")
    return time.monotonic() - started


@pytest.mark.parametrize("change", _STATEMENTS)
async def test_a_revoked_or_expired_key_is_refused_by_every_worker(
    shared: Site, change: str
) -> None:
    key = await shared.make_key()
    async with shared.client_of_each_worker(key) as clients, shared.database() as connection:
        assert await _statuses(clients) == {200}
        await connection.execute(_STATEMENTS[change], key.key_id)
        assert await _turn(clients, 401) < HEARD_S

        rows = len(await shared.rows(key))
        assert await _statuses(clients) == {401}
        assert rows == len(await shared.rows(key))


async def test_a_key_revoked_by_the_command_is_refused(shared: Site) -> None:
    key = await shared.make_key()
    async with shared.client_of_each_worker(key) as clients, shared.database() as connection:
        assert await _statuses(clients) == {200}
        assert await revoke_key(connection, key.key_id)
        assert await _turn(clients, 401) < HEARD_S


async def test_a_tenant_that_is_enabled_again_is_served_again(shared: Site) -> None:
    key = await shared.make_key()
    async with shared.client_of_each_worker(key) as clients, shared.database() as connection:
        await connection.execute(_STATEMENTS["tenant disabled"], key.key_id)
        await _turn(clients, 401)
        query = "UPDATE tenants SET disabled_at = NULL WHERE id = $1"
        await connection.execute(query, key.tenant_id)
        assert await _turn(clients, 200) < HEARD_S


async def test_a_key_expires_without_a_notification(shared: Site) -> None:
    key = await shared.make_key()
    async with shared.client_of_each_worker(key) as clients, shared.database() as connection:
        query = "UPDATE api_keys SET expires_at = now() + interval '0.7 s' WHERE key_id = $1"
        await connection.execute(query, key.key_id)
        assert await _turn(clients, 200) < HEARD_S
        assert await _turn(clients, 401) < 2 * HEARD_S


_ENDS_AHEAD: Final = {
    "revoked": "UPDATE api_keys SET revoked_at = $2 WHERE key_id = $1",
    "tenant disabled": "UPDATE tenants SET disabled_at = $2 WHERE id ="
    " (SELECT tenant_id FROM api_keys WHERE key_id = $1)",
}


@pytest.mark.parametrize(
    "change", ["revoked", pytest.param("tenant disabled", marks=pytest.mark.nightly)]
)
async def test_a_planned_expiry_applies_from_its_time_on(shared: Site, change: str) -> None:
    key = await shared.make_key()
    async with shared.client_of_each_worker(key) as clients, shared.database() as connection:
        assert await _statuses(clients) == {200}
        ends_at = datetime.now(UTC) + timedelta(seconds=3)
        await connection.execute(_ENDS_AHEAD[change], key.key_id, ends_at)
        # For longer than a change takes to be heard.
        while datetime.now(UTC) < ends_at - timedelta(seconds=1):
            assert await _statuses(clients) == {200}
        await asyncio.sleep((ends_at - datetime.now(UTC)).total_seconds())
        assert await _turn(clients, 401) < HEARD_S


@pytest.mark.parametrize("change", _STATEMENTS)
async def test_a_key_that_ends_while_the_body_arrives_stores_nothing(
    shared: Site, change: str
) -> None:
    key = await shared.make_key()
    authorization = f"X-API-Key: {key.api_key}"
    body = json.dumps(track("in between")).encode()
    length = f"Content-Length: {len(body)}"
    async with shared.client_of_each_worker(key) as clients, shared.database() as connection:
        assert await _statuses(clients) == {200}
        slow = [await wire.connect(shared.service.url) for _ in range(6)]
        try:
            for one in slow:
                await one.send(
                    wire.post("/v1/track", authorization, length, sized=False) + body[:9]
                )
            await asyncio.sleep(0.2)  # the headers are read
            await connection.execute(_STATEMENTS[change], key.key_id)
            await _turn(clients, 401)
            for one in slow:
                await one.send(body[9:])
            answers = [await one.answer() for one in slow]
        finally:
            for one in slow:
                one.close()
    for answer in answers:
        assert answer is not None
        assert (answer.status, answer.json()["code"]) == (401, "unauthorized")
    assert "in between" not in await shared.event_ids(key)


async def test_a_new_key_is_accepted_at_once_although_it_was_sent_before_it_existed(
    shared: Site,
) -> None:
    key = await shared.make_key()
    async with shared.client_of_each_worker(key) as clients, shared.database() as connection:
        async with connection.transaction():
            gone = await connection.fetchrow(
                "DELETE FROM api_keys WHERE key_id = $1 RETURNING *", key.key_id
            )
        assert gone is not None
        await _turn(clients, 401)
        places = ", ".join(f"${number + 1}" for number in range(len(gone)))
        await connection.execute(f"INSERT INTO api_keys VALUES ({places})", *gone)
        assert await _turn(clients, 200) < HEARD_S


async def test_a_change_missed_without_a_listener_applies_when_it_listens_again(
    site: Site,
) -> None:
    """A worker forgets every key when it hears again."""
    key = await site.make_key()
    end_sessions = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name = 'forebay' AND datname = current_database()"
    )
    async with site.client_of_each_worker(key) as clients, site.database() as connection:
        assert await _statuses(clients) == {200}
        async with connection.transaction():
            # The end is told at once, the change at the commit: some worker may hear neither.
            await connection.execute(_STATEMENTS["revoked"], key.key_id)
            await connection.fetchval(end_sessions)
        await _turn(clients, 401)


async def test_changed_limits_of_a_key_apply_while_it_is_used(shared: Site) -> None:
    key: NewKey = await shared.make_key()
    batch = {"batch": [track(), track()]}
    async with shared.client_of_each_worker(key) as clients, shared.database() as connection:
        query = "UPDATE api_keys SET max_batch_events = 1 WHERE key_id = $1"
        await connection.execute(query, key.key_id)

        async def are_changed() -> bool:
            answers = [await c.post("/v1/batch", json=batch) for c in clients.values()]
            return {answer.status_code for answer in answers} == {400}

        await until(are_changed, HEARD_S, "every worker knows the new limit")
