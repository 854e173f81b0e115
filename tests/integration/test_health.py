"""Whether a database will do: its schema, its safety, its room."""

from typing import Any

import msgspec
import pytest

from service.store.connections import PoolConfig, PoolState, open_pool, pool_state
from service.store.errors import UnsafeSessionError
from service.store.schema import SCHEMA_VERSION, SchemaError, check_database

NEWER = f"{int(SCHEMA_VERSION) + 1:04}"
APPLY = "INSERT INTO schema_checksums VALUES ($1, repeat('0', 64), $2)"


async def test_a_migrated_database_will_do(store_config: PoolConfig) -> None:
    await check_database(store_config, 10)


async def test_a_bare_database_has_to_be_migrated(
    store_config: PoolConfig, bare_database_url: str
) -> None:
    bare = msgspec.structs.replace(store_config, url=bare_database_url)

    with pytest.raises(SchemaError, match="no Forebay schema: run provision migrate"):
        await check_database(bare, 10)


@pytest.mark.parametrize("kept", ["version < '0003'", "false"])
async def test_an_older_schema_has_to_be_migrated(
    store_config: PoolConfig, connection: Any, kept: str
) -> None:
    await connection.execute(f"DELETE FROM schema_checksums WHERE NOT ({kept})")

    with pytest.raises(SchemaError, match="run provision migrate"):
        await check_database(store_config, 10)


async def test_a_newer_compatible_schema_is_a_rolling_upgrade(
    store_config: PoolConfig, connection: Any
) -> None:
    await connection.execute(APPLY, NEWER, False)

    await check_database(store_config, 10)


async def test_a_newer_breaking_schema_is_refused(
    store_config: PoolConfig, connection: Any
) -> None:
    await connection.execute(APPLY, NEWER, True)
    await connection.execute(APPLY, "9999", False)

    with pytest.raises(SchemaError, match=f"its version {NEWER} does not fit"):
        await check_database(store_config, 10)


async def test_more_connections_than_the_server_has_are_refused_with_the_cure(
    store_config: PoolConfig, connection: Any
) -> None:
    capacity = await connection.fetchval(
        "SELECT current_setting('max_connections')::int"
        " - current_setting('superuser_reserved_connections')::int"
    )

    await check_database(store_config, capacity - 1)
    with pytest.raises(SchemaError, match=f"{capacity} connections.*lower FOREBAY_WORKERS"):
        await check_database(store_config, capacity)


async def test_an_unsafe_database_is_refused_at_boot(
    store_config: PoolConfig, connection: Any
) -> None:
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    with pytest.raises(UnsafeSessionError, match="read_only"):
        await check_database(store_config, 10)


async def test_connections_are_counted(store_config: PoolConfig) -> None:
    pool = await open_pool(store_config)

    assert PoolState(size=1, idle=1, max=store_config.connections_max) == pool_state(pool)
    pool.terminate()
