"""Keys as the service reads them from PostgreSQL."""

from datetime import UTC, datetime
from typing import Any

import pytest

from provision.keys import NewKey, Profile
from service.apikey import parse
from service.model import ApiKey
from service.store.keys import KeyStore
from service.store.pool import PoolConfig, open_pool
from tests.conftest import MakeTenant


@pytest.fixture
async def keys(store_config: PoolConfig) -> Any:
    pool = await open_pool(store_config)
    yield KeyStore(pool, timeout_s=5)
    pool.terminate()


async def found(keys: KeyStore, key: NewKey) -> ApiKey:
    got = await keys.find(key.key_id)
    assert got is not None
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
    assert expected == await keys.find(tenant.key_id)


async def test_a_key_that_is_not_there_is_none(keys: KeyStore, tenant: NewKey) -> None:
    assert await keys.find(tenant.key_id[::-1]) is None
    assert await keys.find("") is None


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


async def test_an_expiry_is_a_time_in_utc(keys: KeyStore, tenant: NewKey, connection: Any) -> None:
    await connection.execute("UPDATE api_keys SET expires_at = '2026-03-01 13:00+01'")

    assert datetime(2026, 3, 1, 12, tzinfo=UTC) == (await found(keys, tenant)).expires_at


async def test_a_database_that_does_not_answer_is_an_error_in_time(
    store_config: PoolConfig, tenant: NewKey, connection: Any
) -> None:
    pool = await open_pool(store_config)
    await connection.execute("BEGIN; LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE")

    with pytest.raises(TimeoutError):
        await KeyStore(pool, timeout_s=0.05).find(tenant.key_id)

    pool.terminate()
