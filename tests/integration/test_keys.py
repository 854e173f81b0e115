"""
API keys in PostgreSQL: look-ups, and the connection that listens for changes.

If these tests fail: a revoked key is still accepted, or a valid key gets 401.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from provision.keys import NewKey, Profile
from service.apikey import parse
from service.model import ApiKey
from service.store.connections import PoolConfig, open_pool
from service.store.keys import KeyListener, KeyStore
from service.supervisor import Supervisor
from tests.acceptance.proxy import Line, proxied
from tests.acceptance.running import until
from tests.conftest import MakeTenant


@pytest.fixture
async def keys(store_config: PoolConfig) -> Any:
    pool = await open_pool(store_config)
    yield KeyStore(pool)
    pool.terminate()


async def found(keys: KeyStore, key: NewKey) -> ApiKey:
    (got,) = (await keys.find([key.key_id])).values()
    return got


async def test_a_key_is_found_by_its_public_id(keys: KeyStore, tenant: NewKey) -> None:
    credential = parse(tenant.api_key)
    assert credential is not None

    expected = ApiKey(
        key_id=tenant.key_id,
        tenant_id=tenant.tenant_id,
        workspace_id=tenant.workspace_id,
        secret_sha256=credential.secret_sha256,
        events_max=None,
        events_per_second=None,
        bytes_max=None,
        expires_at=None,
        is_disabled=False,
    )
    assert {tenant.key_id: expected} == await keys.find([tenant.key_id])


async def test_keys_are_found_together_and_unknown_ids_are_left_out(
    keys: KeyStore, tenant: NewKey, make_tenant: MakeTenant
) -> None:
    ids = [tenant.key_id, (await make_tenant("other")).key_id]

    assert {} == await keys.find([tenant.key_id[::-1], ""])
    assert set(ids) == set(await keys.find([*ids, tenant.key_id[::-1]]))


@pytest.mark.parametrize(
    ("profile", "events_max", "bytes_max"),
    [
        (Profile.DEFAULT, None, None),
        (Profile.SEGMENT, 2_500, 512 * 1024),
        (Profile.RUDDERSTACK, 2_500, 4 * 1024 * 1024),
    ],
)
async def test_a_profile_has_its_limits(
    keys: KeyStore,
    make_tenant: MakeTenant,
    profile: Profile,
    events_max: int | None,
    bytes_max: int | None,
) -> None:
    key = await found(keys, await make_tenant(profile=profile))

    assert (events_max, bytes_max) == (key.events_max, key.bytes_max)


async def test_a_revoked_key_is_disabled(keys: KeyStore, tenant: NewKey, connection: Any) -> None:
    await connection.execute("UPDATE api_keys SET revoked_at = now()")

    assert (await found(keys, tenant)).is_disabled


async def test_every_key_of_a_disabled_tenant_is_disabled(
    keys: KeyStore, tenant: NewKey, make_tenant: MakeTenant, connection: Any
) -> None:
    other = await make_tenant("other")
    await connection.execute("UPDATE tenants SET disabled_at = now() WHERE name = 'acme'")

    assert [True, False] == [(await found(keys, key)).is_disabled for key in (tenant, other)]


_TIMES = {
    "expires_at": "UPDATE api_keys SET expires_at = $1",
    "revoked_at": "UPDATE api_keys SET revoked_at = $1",
    "disabled_at": "UPDATE tenants SET disabled_at = $1",
}


@pytest.mark.parametrize("column", _TIMES)
async def test_a_future_end_is_returned_and_the_key_is_not_disabled(
    keys: KeyStore, tenant: NewKey, connection: Any, column: str
) -> None:
    ahead = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    await connection.execute(_TIMES[column], ahead.astimezone(timezone(timedelta(hours=5))))

    key = await found(keys, tenant)

    assert (ahead, UTC, False) == (
        key.expires_at,
        key.expires_at and key.expires_at.tzinfo,
        key.is_disabled,
    )


@pytest.mark.parametrize("column", _TIMES)
async def test_a_past_end_disables_the_key(
    keys: KeyStore, tenant: NewKey, connection: Any, column: str
) -> None:
    await connection.execute(_TIMES[column], datetime.now(UTC) - timedelta(seconds=1))

    key = await found(keys, tenant)

    assert (None, True) == (key.expires_at, key.is_disabled)


async def test_the_earliest_end_counts(keys: KeyStore, tenant: NewKey, connection: Any) -> None:
    now = datetime.now(UTC)
    for hours, statement in enumerate(_TIMES.values(), start=1):
        await connection.execute(statement, now + timedelta(hours=hours))

    assert now + timedelta(hours=1) == (await found(keys, tenant)).expires_at


@pytest.mark.parametrize(
    ("text", "is_disabled"),
    [("infinity", False), ("-infinity", True), ("20000-01-01", False), ("4000-01-01 BC", True)],
)
async def test_an_end_that_python_cannot_represent_does_not_fail_the_look_up(
    keys: KeyStore, tenant: NewKey, connection: Any, text: str, is_disabled: bool
) -> None:
    """One query looks up several keys, so an error would fail all of them."""
    await connection.execute(f"UPDATE api_keys SET expires_at = '{text}'")

    key = await found(keys, tenant)

    assert (None, is_disabled) == (key.expires_at, key.is_disabled)


async def test_a_cancelled_look_up_does_not_lose_a_connection_of_the_pool(
    store_config: PoolConfig, tenant: NewKey, connection: Any
) -> None:
    pool = await open_pool(store_config)
    keys = KeyStore(pool)
    await connection.execute("BEGIN; LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE")
    for _ in range(2 * store_config.connections_max):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await keys.find([tenant.key_id])
    await connection.execute("ROLLBACK")

    assert tenant.key_id in await keys.find([tenant.key_id])

    pool.terminate()


# --- listening for changes ---

END_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name = 'forebay' AND datname = current_database()"
)
ALL = "all keys"


class RecordingCache:
    """Records the keys that the listener removes."""

    def __init__(self) -> None:
        self._forgotten: asyncio.Queue[str] = asyncio.Queue()

    def forget(self, key_id: str) -> None:
        self._forgotten.put_nowait(key_id)

    def forget_all(self) -> None:
        self._forgotten.put_nowait(ALL)

    async def next(self) -> str:
        return await self._forgotten.get()


Listen = Callable[..., Awaitable[RecordingCache]]


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    made = Supervisor(lambda _: None, pause_min_s=0.01)
    yield made
    await made.stop()


@pytest.fixture
async def listen(store_config: PoolConfig, supervisor: Supervisor) -> Listen:
    """Start a listener; return its cache once it listens."""

    async def start(**changes: Any) -> RecordingCache:
        cache = RecordingCache()
        config = msgspec.structs.replace(store_config, **changes)
        supervisor.start("key_changes", KeyListener(config, cache).run)
        assert ALL == await cache.next()
        return cache

    return start


async def marked(cache: RecordingCache, connection: Any) -> list[str]:
    """Return the keys removed before a notification that this function sends."""
    await connection.execute("SELECT pg_notify('forebay_keys', 'mark')")
    forgotten: list[str] = []
    while (one := await cache.next()) != "mark":
        forgotten.append(one)
    return forgotten


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE api_keys SET revoked_at = now()",
        "UPDATE api_keys SET expires_at = now()",
        "UPDATE tenants SET disabled_at = now()",
        "DELETE FROM api_keys",
    ],
)
async def test_a_changed_key_is_forgotten(
    listen: Listen, tenant: NewKey, connection: Any, change: str
) -> None:
    cache = await listen()

    await connection.execute(change)

    assert [tenant.key_id] == await marked(cache, connection)


async def test_a_new_key_is_forgotten_if_cached_as_unknown(
    listen: Listen, make_tenant: MakeTenant, connection: Any
) -> None:
    cache = await listen()

    key = await make_tenant()

    assert [key.key_id] == await marked(cache, connection)


@pytest.mark.usefixtures("tenant")
async def test_the_use_of_a_key_is_not_a_change(listen: Listen, connection: Any) -> None:
    cache = await listen()

    await connection.execute("UPDATE api_keys SET last_used_at = now()")

    assert [] == await marked(cache, connection)


async def test_after_a_lost_connection_all_keys_are_forgotten_once_it_listens_again(
    listen: Listen, tenant: NewKey, connection: Any
) -> None:
    """Meanwhile the listener missed changes."""
    cache = await listen()

    async with connection.transaction():
        # The session ends at once; the notification is sent at the commit.
        await connection.execute("UPDATE api_keys SET revoked_at = now()")
        await connection.execute(END_SESSIONS)

    assert ALL == await cache.next()
    await connection.execute("UPDATE api_keys SET expires_at = now()")
    assert [tenant.key_id] == await marked(cache, connection)


async def test_a_silent_server_is_detected(
    listen: Listen, supervisor: Supervisor, store_config: PoolConfig, connection: Any
) -> None:
    """Only a query detects a silent server."""
    async with proxied(store_config.url) as proxy:
        cache = await listen(url=proxy.url, tcp_timeout_ms=400, connect_timeout_s=0.4)
        proxy.set_line(Line.SILENT)
        await has_failed(supervisor)
        proxy.set_line(Line.CUT)  # drop the bytes that the proxy holds back
        proxy.set_line(Line.OPEN)

        assert ALL == await cache.next()
        assert [] == await marked(cache, connection)


async def test_an_unreachable_database_at_the_start_is_waited_for(
    supervisor: Supervisor, store_config: PoolConfig, connection: Any
) -> None:
    cache = RecordingCache()
    async with proxied(store_config.url) as proxy:
        proxy.set_line(Line.CUT)
        config = msgspec.structs.replace(store_config, url=proxy.url)
        supervisor.start("key_changes", KeyListener(config, cache).run)
        await has_failed(supervisor)
        proxy.set_line(Line.OPEN)

        assert ALL == await cache.next()
        assert [] == await marked(cache, connection)


async def test_stopping_while_reconnecting_leaves_no_session(
    listen: Listen, supervisor: Supervisor, connection: Any
) -> None:
    await listen()
    await connection.execute(END_SESSIONS)

    await supervisor.stop()

    async def have_gone() -> bool:
        left: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name = 'forebay' AND datname = current_database()"
        )
        return left == 0

    await until(have_gone, 10, "no session is left")


async def has_failed(supervisor: Supervisor) -> None:
    """Wait until the listener has ended at least once."""

    async def has_ended() -> bool:
        return supervisor.report()["key_changes"].restarts > 0

    await until(has_ended, 10, "the listener has ended")
