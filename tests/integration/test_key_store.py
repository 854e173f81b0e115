"""Keys as the service reads them from PostgreSQL."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from provision.keys import NewKey, Profile
from service.apikey import parse
from service.model import ApiKey
from service.store.connections import PoolConfig, open_pool
from service.store.keys import KeyStore
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


async def test_a_profile_brings_its_limits(keys: KeyStore, make_tenant: MakeTenant) -> None:
    key = await found(keys, await make_tenant(profile=Profile.SEGMENT))

    assert (250, 512 * 1024) == (key.events_max, key.bytes_max)


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
async def test_a_time_that_lies_ahead_is_handed_on_and_disables_nothing_yet(
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
async def test_a_time_that_has_passed_disables(
    keys: KeyStore, tenant: NewKey, connection: Any, column: str
) -> None:
    await connection.execute(_TIMES[column], datetime.now(UTC) - timedelta(seconds=1))

    key = await found(keys, tenant)

    assert (None, True) == (key.expires_at, key.is_disabled)


async def test_the_first_of_several_times_counts(
    keys: KeyStore, tenant: NewKey, connection: Any
) -> None:
    now = datetime.now(UTC)
    for hours, statement in enumerate(_TIMES.values(), start=1):
        await connection.execute(statement, now + timedelta(hours=hours))

    assert now + timedelta(hours=1) == (await found(keys, tenant)).expires_at


@pytest.mark.parametrize(
    ("text", "is_disabled"),
    [("infinity", False), ("-infinity", True), ("20000-01-01", False), ("4000-01-01 BC", True)],
)
async def test_a_time_that_python_cannot_hold_costs_no_look_up(
    keys: KeyStore, tenant: NewKey, connection: Any, text: str, is_disabled: bool
) -> None:
    """One such key must not fail the look-ups that go down with it."""
    await connection.execute(f"UPDATE api_keys SET expires_at = '{text}'")

    key = await found(keys, tenant)

    assert (None, is_disabled) == (key.expires_at, key.is_disabled)


async def test_a_look_up_may_be_cancelled_and_leaves_the_pool_whole(
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
