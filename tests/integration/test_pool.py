"""Sessions: what is checked before one is used, and what it brings."""

from collections.abc import Callable
from typing import Any

import asyncpg
import msgspec
import pytest

from service._native import Plan
from service.config import Config
from service.store.faults import UnsafeSessionError
from service.store.pool import PoolConfig, connect, connections_per_worker, open_pool, pool_config
from tests.acceptance.conftest import own_postgres
from tests.acceptance.own_postgres import OwnPostgres
from tests.acceptance.running import until
from tests.doubles import Sender, make_event

__all__ = ["own_postgres"]

Setting = Callable[[str], Any]


@pytest.fixture
def set_database(connection: Any) -> Setting:
    """Change a setting for the sessions to come."""

    async def change(setting: str) -> None:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET {setting}")

    return change


async def test_a_session_that_cannot_write_is_refused(
    store_config: PoolConfig, set_database: Setting
) -> None:
    """What an operator set is left as it is; to override it is not for us."""
    await set_database("default_transaction_read_only = on")
    named = "transaction_read_only = on; Forebay needs off"

    with pytest.raises(UnsafeSessionError, match=named):
        await connect(store_config)
    with pytest.raises(UnsafeSessionError, match=named):
        await open_pool(store_config)


@pytest.mark.parametrize("value", ["off", "local", "remote_write"])
async def test_a_session_waits_for_its_commits_whatever_the_database_is_set_to(
    store_config: PoolConfig, set_database: Setting, value: str
) -> None:
    await set_database(f"synchronous_commit = {value}")

    session = await connect(store_config)

    assert "on" == await session.fetchval("SHOW synchronous_commit")
    session.terminate()


async def test_a_reload_changes_nothing_in_a_session_that_is_open(
    own_postgres: OwnPostgres,
) -> None:
    config = pool_config(Config(), await own_postgres.make_database("forebay_test_reload"))
    session = await connect(config)

    async with own_postgres.admin() as admin:
        await admin.execute("ALTER SYSTEM SET synchronous_commit = off")
        await admin.execute("SELECT pg_reload_conf()")

        async def is_reloaded() -> bool:
            value: str = await admin.fetchval("SHOW synchronous_commit")
            return value == "off"

        await until(is_reloaded, 25, "the server has reloaded")

    assert "on" == await session.fetchval("SHOW synchronous_commit")
    session.terminate()


async def test_stricter_than_needed_is_kept(
    store_config: PoolConfig, set_database: Setting
) -> None:
    by_url = msgspec.structs.replace(
        store_config, url=f"{store_config.url}?synchronous_commit=remote_apply"
    )
    sessions = [await connect(by_url)]
    await set_database("synchronous_commit = remote_apply")
    sessions.append(await connect(store_config))

    for session in sessions:
        assert "remote_apply" == await session.fetchval("SHOW synchronous_commit")
        session.terminate()


async def test_a_session_is_sent_every_warning(
    store_config: PoolConfig, set_database: Setting
) -> None:
    """A commit that no standby confirmed is told from others by its WARNING alone."""
    await set_database("client_min_messages = error")

    session = await connect(store_config)

    assert "warning" == await session.fetchval("SHOW client_min_messages")
    session.terminate()


async def test_a_pool_refuses_a_session_that_became_unsafe_later(
    store_config: PoolConfig, set_database: Setting
) -> None:
    pool = await open_pool(store_config)
    await set_database("default_transaction_read_only = on")
    try:
        async with pool.acquire():
            with pytest.raises(UnsafeSessionError):
                await pool.acquire()
    finally:
        pool.terminate()


async def test_a_session_knows_who_it_is(store_config: PoolConfig, connection: Any) -> None:
    session = await connect(store_config)

    row = await connection.fetchrow(
        "SELECT pid, backend_start, application_name FROM pg_stat_activity"
        " WHERE application_name = 'forebay' AND datname = current_database()"
    )

    assert (row["pid"], row["backend_start"]) == (session.pid, session.backend_start)
    session.terminate()


async def test_no_wait_in_the_server_is_without_a_bound(store_config: PoolConfig) -> None:
    session = await connect(msgspec.structs.replace(store_config, lock_timeout_ms=1234))

    got = [
        await session.fetchval(f"SHOW {name}")
        for name in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
    ]

    assert ["1234ms", "5s", "10s"] == got
    assert "UTC" == await session.fetchval("SHOW timezone")
    session.terminate()


async def test_keys_travel_as_bytes_and_rows_as_the_core_wrote_them(
    store_config: PoolConfig,
) -> None:
    session = await connect(store_config)
    rows = Sender().rows(make_event("a"), make_event("b", properties={"a": 1.5}))
    written, types = Plan([rows]), session.row_types
    keys = sorted(row.event_key for row in rows.all())

    assert keys[0] == (await session.fetchval("SELECT $1::uuid", keys[0]))
    claimed = await session.fetch(
        "SELECT event_key FROM unnest($1::ledger_row_v1[])", written.ledger(types.ledger_row)
    )
    assert keys == [row["event_key"] for row in claimed]
    documents = await session.fetch(
        "SELECT properties FROM unnest($1::event_row_v1[]) ORDER BY event_id",
        written.records(types.event_row),
    )
    assert [None, '{"a": 1.5}'] == [row["properties"] for row in documents]
    session.terminate()


async def test_a_pool_opens_no_more_than_it_may(store_config: PoolConfig) -> None:
    pool = await open_pool(msgspec.structs.replace(store_config, connections_max=2))
    try:
        async with pool.acquire(), pool.acquire():
            with pytest.raises(TimeoutError):
                await pool.acquire(timeout=0.01)
    finally:
        pool.terminate()


async def test_a_connection_goes_back_as_it_is(store_config: PoolConfig) -> None:
    """A reset would be a round trip per flush, and our statements leave nothing behind."""
    pool = await open_pool(store_config)
    async with pool.acquire() as session:
        await session.execute("SET work_mem = '123kB'")
    async with pool.acquire() as session:
        assert "123kB" == await session.fetchval("SHOW work_mem")
    pool.terminate()


async def test_a_server_that_is_not_there_is_an_error(store_config: PoolConfig) -> None:
    nowhere = msgspec.structs.replace(store_config, url="postgresql://postgres@127.0.0.1:1/none")

    with pytest.raises(ConnectionRefusedError):
        await open_pool(nowhere)


async def test_a_database_that_is_not_there_is_an_error(store_config: PoolConfig) -> None:
    missing = msgspec.structs.replace(store_config, url=store_config.url + "_missing")

    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await open_pool(missing)


def test_a_worker_opens_its_pool_and_its_listener() -> None:
    settings = Config(flushes_max=4)

    expected = pool_config(settings, "postgresql://").connections_max + 1
    assert expected == connections_per_worker(settings)
