"""
The connections of a worker: checks before use, timeouts in the server, and use by flushes.

If these tests fail: an acknowledged event is lost because its session had unsafe settings, or
senders get 503 because flushes find no connection.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import msgspec
import pytest

from service._native import Plan
from service.clock import SystemClock
from service.config import Config
from service.store.connections import (
    FlushConnections,
    PoolConfig,
    PoolState,
    connect,
    open_pool,
    pool_config,
    pool_state,
)
from service.store.errors import FailureClass, UnsafeSessionError, classify
from tests.acceptance.conftest import own_postgres
from tests.acceptance.own_postgres import OwnPostgres
from tests.acceptance.running import until
from tests.doubles import Sender, make_event

__all__ = ["own_postgres"]

Setting = Callable[[str], Any]
TIMEOUT_S = 5.0


def after(left_s: float) -> float:
    """Return the deadline in *left_s* seconds."""
    return time.monotonic() + left_s


@pytest.fixture
def set_database(connection: Any) -> Setting:
    """Change a setting of the database for new sessions."""

    async def change(setting: str) -> None:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET {setting}")

    return change


async def test_a_session_that_cannot_write_is_refused(
    store_config: PoolConfig, set_database: Setting
) -> None:
    """The service does not override these settings of an operator."""
    await set_database("default_transaction_read_only = on")
    named = "transaction_read_only = on; Forebay needs off"

    with pytest.raises(UnsafeSessionError, match=named):
        await connect(store_config)
    with pytest.raises(UnsafeSessionError, match=named):
        await open_pool(store_config)


@pytest.mark.parametrize("value", ["off", "local", "remote_write"])
async def test_synchronous_commit_is_on_whatever_the_database_is_set_to(
    store_config: PoolConfig, set_database: Setting, value: str
) -> None:
    await set_database(f"synchronous_commit = {value}")

    session = await connect(store_config)

    assert "on" == await session.fetchval("SHOW synchronous_commit")
    session.terminate()


async def test_a_reload_does_not_change_an_open_session(
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


async def test_remote_apply_is_kept(store_config: PoolConfig, set_database: Setting) -> None:
    by_url = msgspec.structs.replace(
        store_config, url=f"{store_config.url}?synchronous_commit=remote_apply"
    )
    sessions = [await connect(by_url)]
    await set_database("synchronous_commit = remote_apply")
    sessions.append(await connect(store_config))

    for session in sessions:
        assert "remote_apply" == await session.fetchval("SHOW synchronous_commit")
        session.terminate()


async def test_a_session_receives_every_warning(
    store_config: PoolConfig, set_database: Setting
) -> None:
    """Only a WARNING reports that a standby did not confirm a commit."""
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


async def test_a_connection_knows_the_process_and_the_start_of_its_session(
    store_config: PoolConfig, connection: Any
) -> None:
    session = await connect(store_config)

    row = await connection.fetchrow(
        "SELECT pid, backend_start, application_name FROM pg_stat_activity"
        " WHERE application_name = 'forebay' AND datname = current_database()"
    )

    assert (row["pid"], row["backend_start"]) == (session.pid, session.backend_start)
    session.terminate()


async def test_every_wait_in_the_server_is_limited(store_config: PoolConfig) -> None:
    session = await connect(msgspec.structs.replace(store_config, lock_timeout_ms=1234))

    got = [
        await session.fetchval(f"SHOW {name}")
        for name in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
    ]

    assert ["1234ms", "5s", "10s"] == got
    assert "UTC" == await session.fetchval("SHOW timezone")
    session.terminate()


async def test_keys_are_sent_as_bytes_and_rows_as_the_core_encoded_them(
    store_config: PoolConfig,
) -> None:
    session = await connect(store_config)
    rows = Sender().rows(make_event("a"), make_event("b", properties={"a": 1.5}))
    written, types = Plan([rows]), session.row_types
    keys = sorted(row.event_key for row in rows.all())

    assert keys[0] == (await session.fetchval("SELECT $1::uuid", keys[0]))
    claimed = await session.fetch(
        "SELECT event_key FROM unnest($1::ledger_row_v1[])", written.ledger_rows(types.ledger_row)
    )
    assert keys == [row["event_key"] for row in claimed]
    documents = await session.fetch(
        "SELECT properties FROM unnest($1::event_row_v1[]) ORDER BY event_id",
        written.event_rows(types.event_row),
    )
    assert [None, '{"a": 1.5}'] == [row["properties"] for row in documents]
    session.terminate()


async def test_a_pool_opens_no_more_connections_than_its_limit(store_config: PoolConfig) -> None:
    pool = await open_pool(msgspec.structs.replace(store_config, connections_max=2))
    try:
        async with pool.acquire(), pool.acquire():
            with pytest.raises(TimeoutError):
                await pool.acquire(timeout=0.01)
    finally:
        pool.terminate()


async def test_a_released_connection_is_not_reset(store_config: PoolConfig) -> None:
    """A reset would cost a round trip, and the service changes nothing in a session."""
    pool = await open_pool(store_config)
    async with pool.acquire() as session:
        await session.execute("SET work_mem = '123kB'")
    async with pool.acquire() as session:
        assert "123kB" == await session.fetchval("SHOW work_mem")
    pool.terminate()


async def test_an_unreachable_server_is_an_error(store_config: PoolConfig) -> None:
    nowhere = msgspec.structs.replace(store_config, url="postgresql://postgres@127.0.0.1:1/none")

    with pytest.raises(ConnectionRefusedError):
        await open_pool(nowhere)


async def test_a_missing_database_is_an_error(store_config: PoolConfig) -> None:
    missing = msgspec.structs.replace(store_config, url=store_config.url + "_missing")

    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await open_pool(missing)


async def test_a_pool_counts_its_connections(store_config: PoolConfig) -> None:
    pool = await open_pool(store_config)

    assert PoolState(size=1, idle=1, max=store_config.connections_max) == pool_state(pool)
    pool.terminate()


async def test_the_pool_closes_no_connection_for_the_number_of_its_statements(pool: Any) -> None:
    """The pool would close it gracefully, and wait without a limit for a silent server."""
    assert all(holder._max_queries > 10**15 for holder in pool._holders)


async def test_a_value_that_asyncpg_cannot_encode_is_an_error_in_the_data(connection: Any) -> None:
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)) as caught:
        await connection.fetchval("SELECT $1::smallint", 2**40)

    assert FailureClass.DATA is classify(caught.value)


# --- lending to flushes ---


@pytest.fixture
async def pool(store_config: PoolConfig) -> AsyncIterator[Any]:
    """A pool of two connections."""
    made = await open_pool(msgspec.structs.replace(store_config, connections_max=2))
    yield made
    made.terminate()


@pytest.fixture
def connections(pool: Any) -> FlushConnections:
    return FlushConnections(pool, SystemClock(), wait_s=TIMEOUT_S)


async def pid_lent(connections: FlushConnections) -> int:
    async with connections.lend(after(TIMEOUT_S)) as connection:
        pid: int = await connection.fetchval("SELECT pg_backend_pid()")
        return pid


async def lend(connections: FlushConnections, left_s: float) -> None:
    async with connections.lend(after(left_s)):
        pass


async def test_one_flush_after_the_other_uses_the_same_connection(
    connections: FlushConnections,
) -> None:
    assert 1 == len({await pid_lent(connections) for _ in range(3)})


async def test_concurrent_flushes_use_different_connections(connections: FlushConnections) -> None:
    async with (
        connections.lend(after(TIMEOUT_S)) as one,
        connections.lend(after(TIMEOUT_S)) as other,
    ):
        assert one.pid != other.pid


async def test_a_connection_is_kept_after_an_error_of_the_server(
    connections: FlushConnections,
) -> None:
    before = await pid_lent(connections)

    with pytest.raises(asyncpg.DivisionByZeroError):
        async with connections.lend(after(TIMEOUT_S)) as connection:
            await connection.execute("SELECT 1 / 0")

    assert before == await pid_lent(connections)
    assert 1 == connections.idle


async def test_a_connection_is_replaced_after_any_other_error(
    connections: FlushConnections,
) -> None:
    before = await pid_lent(connections)

    with pytest.raises(ValueError, match="own"):
        async with connections.lend(after(TIMEOUT_S)):
            raise ValueError("own")

    assert before != await pid_lent(connections)


async def test_a_cancel_never_leaves_a_flush_in_the_transaction_of_another(
    connections: FlushConnections,
) -> None:
    async def begin() -> None:
        async with connections.lend(after(TIMEOUT_S)) as connection:
            await connection.execute("BEGIN")
            await connection.execute("SELECT pg_sleep(10)")

    for delay_s in (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.02):
        beginning = asyncio.create_task(begin())
        await asyncio.sleep(delay_s)
        beginning.cancel()
        await asyncio.gather(beginning, return_exceptions=True)

        async with connections.lend(after(TIMEOUT_S)) as connection:
            assert not connection.is_in_transaction()


async def test_a_connection_left_in_a_transaction_is_replaced(
    connections: FlushConnections,
) -> None:
    async with connections.lend(after(TIMEOUT_S)) as connection:
        left = connection.pid
        await connection.execute("BEGIN")

    assert left != await pid_lent(connections)


async def test_a_waiting_flush_gets_the_next_free_connection(
    connections: FlushConnections, pool: Any
) -> None:
    async with pool.acquire():
        async with connections.lend(after(TIMEOUT_S)):
            waiting = asyncio.create_task(pid_lent(connections))
            await asyncio.sleep(0)
            assert not waiting.done()
        async with asyncio.timeout(TIMEOUT_S / 2):
            assert await waiting


async def test_a_closed_connection_goes_back_to_the_pool_which_opens_another(
    connections: FlushConnections, pool: Any
) -> None:
    async with pool.acquire(), connections.lend(after(TIMEOUT_S)) as torn_down:
        torn_down.terminate()

        async with asyncio.timeout(TIMEOUT_S), pool.acquire() as connection:
            assert 1 == await connection.fetchval("SELECT 1")


async def test_a_connection_that_the_server_ends_while_idle_is_replaced(
    connections: FlushConnections, pool: Any, connection: Any
) -> None:
    ended = await pid_lent(connections)
    await connection.execute("SELECT pg_terminate_backend($1, 5000)", ended)
    async with pool.acquire() as other:
        await other.fetchval(
            "SELECT 1"
        )  # until then the client detects that the first session has ended

    assert 0 == connections.idle
    assert ended != await pid_lent(connections)


@pytest.mark.parametrize(("left_s", "wait_s"), [(0.01, TIMEOUT_S), (TIMEOUT_S, 0.01)])
async def test_the_wait_for_a_connection_is_limited_and_no_connection_is_lost(
    pool: Any, left_s: float, wait_s: float
) -> None:
    connections = FlushConnections(pool, SystemClock(), wait_s=wait_s)
    async with pool.acquire(), pool.acquire():
        with pytest.raises(TimeoutError):
            await lend(connections, left_s)

    assert await pid_lent(connections)
    async with pool.acquire() as left:
        assert 1 == await left.fetchval("SELECT 1")


async def test_past_the_deadline_no_connection_is_lent(
    connections: FlushConnections,
) -> None:
    await pid_lent(connections)

    with pytest.raises(TimeoutError, match="deadline"):
        await lend(connections, 0)

    assert 1 == connections.idle


async def test_a_use_past_its_deadline_ends_and_its_connection_is_replaced(
    connections: FlushConnections,
) -> None:
    before = await pid_lent(connections)
    began = time.monotonic()

    with pytest.raises(asyncpg.ConnectionDoesNotExistError):
        async with connections.lend(after(0.1)) as connection:
            await connection.execute("SELECT pg_sleep(30)")

    assert time.monotonic() - began < TIMEOUT_S
    assert 0 == connections.idle
    assert before != await pid_lent(connections)
