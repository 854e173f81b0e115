"""Connections that are kept from flush to flush."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgspec
import pytest

from service.clock import SystemClock
from service.store.connections import FlushConnections, PoolConfig, open_pool

TIMEOUT_S = 5.0
NEVER_S = 3600.0
POOLS_OWN_QUERIES_MAX = 50_000


@pytest.fixture
async def pool(store_config: PoolConfig) -> AsyncIterator[Any]:
    """A pool of two connections."""
    made = await open_pool(msgspec.structs.replace(store_config, connections_max=2))
    yield made
    made.terminate()


@pytest.fixture
def sessions(pool: Any) -> FlushConnections:
    return FlushConnections(pool, SystemClock(), wait_s=TIMEOUT_S)


def after(left_s: float) -> float:
    """Return the deadline that is so far away."""
    return time.monotonic() + left_s


async def pid_lent(sessions: FlushConnections) -> int:
    async with sessions.lend(after(TIMEOUT_S)) as session:
        pid: int = await session.fetchval("SELECT pg_backend_pid()")
        return pid


async def lend(sessions: FlushConnections, left_s: float) -> None:
    async with sessions.lend(after(left_s)):
        pass


async def test_one_flush_after_the_other_has_the_same_connection(
    sessions: FlushConnections,
) -> None:
    assert 1 == len({await pid_lent(sessions) for _ in range(3)})


async def test_two_flushes_at_once_have_two(sessions: FlushConnections) -> None:
    async with sessions.lend(after(TIMEOUT_S)) as one, sessions.lend(after(TIMEOUT_S)) as other:
        assert one.pid != other.pid


async def test_one_that_brought_an_error_of_the_server_is_kept(sessions: FlushConnections) -> None:
    before = await pid_lent(sessions)

    with pytest.raises(asyncpg.DivisionByZeroError):
        async with sessions.lend(after(TIMEOUT_S)) as session:
            await session.execute("SELECT 1 / 0")

    assert before == await pid_lent(sessions)
    assert 1 == sessions.idle


async def test_one_whose_use_ended_otherwise_is_not_kept(sessions: FlushConnections) -> None:
    before = await pid_lent(sessions)

    with pytest.raises(ValueError, match="own"):
        async with sessions.lend(after(TIMEOUT_S)):
            raise ValueError("own")

    assert before != await pid_lent(sessions)


async def test_a_cancel_never_leaves_a_flush_in_the_transaction_of_another(
    sessions: FlushConnections,
) -> None:
    async def begin() -> None:
        async with sessions.lend(after(TIMEOUT_S)) as session:
            await session.execute("BEGIN")
            await session.execute("SELECT pg_sleep(10)")

    for delay_s in (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.02):
        beginning = asyncio.create_task(begin())
        await asyncio.sleep(delay_s)
        beginning.cancel()
        await asyncio.gather(beginning, return_exceptions=True)

        async with sessions.lend(after(TIMEOUT_S)) as session:
            assert not session.is_in_transaction()


async def test_one_that_is_left_in_a_transaction_is_not_kept(sessions: FlushConnections) -> None:
    async with sessions.lend(after(TIMEOUT_S)) as session:
        left = session.pid
        await session.execute("BEGIN")

    assert left != await pid_lent(sessions)


async def test_who_waits_for_a_connection_gets_the_next_that_is_free(
    sessions: FlushConnections, pool: Any
) -> None:
    async with pool.acquire():
        async with sessions.lend(after(TIMEOUT_S)):
            waiting = asyncio.create_task(pid_lent(sessions))
            await asyncio.sleep(0)
            assert not waiting.done()
        async with asyncio.timeout(TIMEOUT_S / 2):
            assert await waiting


async def test_one_that_has_served_long_is_not_closed_on_its_way_to_who_waits(
    sessions: FlushConnections, pool: Any
) -> None:
    """A pool that closes it waits for the server to hang up, and nothing bounds that wait."""
    async with pool.acquire():
        async with sessions.lend(after(NEVER_S)) as session:
            for _ in range(POOLS_OWN_QUERIES_MAX):
                await session.execute("SELECT")
            waiting = asyncio.create_task(pid_lent(sessions))
            await asyncio.sleep(0)

        assert session.pid == await waiting


async def test_one_that_was_torn_down_goes_back_and_others_can_have_its_place(
    sessions: FlushConnections, pool: Any
) -> None:
    async with pool.acquire(), sessions.lend(after(TIMEOUT_S)) as torn_down:
        torn_down.terminate()

        async with asyncio.timeout(TIMEOUT_S), pool.acquire() as session:
            assert 1 == await session.fetchval("SELECT 1")


async def test_one_that_the_server_ends_while_it_is_kept_is_replaced(
    sessions: FlushConnections, pool: Any, connection: Any
) -> None:
    ended = await pid_lent(sessions)
    await connection.execute("SELECT pg_terminate_backend($1, 5000)", ended)
    async with pool.acquire() as other:
        await other.fetchval("SELECT 1")  # by then the end of the first has been heard of

    assert 0 == sessions.idle
    assert ended != await pid_lent(sessions)


@pytest.mark.parametrize(("left_s", "wait_s"), [(0.01, TIMEOUT_S), (TIMEOUT_S, 0.01)])
async def test_the_wait_for_a_connection_is_bounded_and_loses_none(
    pool: Any, left_s: float, wait_s: float
) -> None:
    sessions = FlushConnections(pool, SystemClock(), wait_s=wait_s)
    async with pool.acquire(), pool.acquire():
        with pytest.raises(TimeoutError):
            await lend(sessions, left_s)

    assert await pid_lent(sessions)
    async with pool.acquire() as left:
        assert 1 == await left.fetchval("SELECT 1")


async def test_past_the_deadline_none_is_lent_and_what_is_kept_stays(
    sessions: FlushConnections,
) -> None:
    await pid_lent(sessions)

    with pytest.raises(TimeoutError, match="deadline"):
        await lend(sessions, 0)

    assert 1 == sessions.idle


async def test_a_use_that_outlasts_its_deadline_ends_with_its_session(
    sessions: FlushConnections,
) -> None:
    before = await pid_lent(sessions)
    began = time.monotonic()

    with pytest.raises(asyncpg.ConnectionDoesNotExistError):
        async with sessions.lend(after(0.1)) as session:
            await session.execute("SELECT pg_sleep(30)")

    assert time.monotonic() - began < TIMEOUT_S
    assert 0 == sessions.idle
    assert before != await pid_lent(sessions)
