"""
At the deadline of a use the connection is closed, then its task cancelled: a lost connection.

If these tests fail: senders get no answer while a flush hangs on a silent connection, or a commit
is cancelled and an acknowledged event is not stored.
"""

import asyncio
import importlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from service.clock import Clock, SystemClock
from service.config import Config
from service.store.connections import Connection, connections_per_worker, pool_config
from tests.simulation.loop import SeededLoop
from tests.simulation.simulation import LoopClock

Close = Callable[["asyncio.Future[None]"], None]
CLOCK = SystemClock()


def close_ends_statement(statement: "asyncio.Future[None]") -> None:
    statement.set_exception(ConnectionError("closed"))


def close_between_two_messages(statement: "asyncio.Future[None]") -> None:
    statement.set_exception(AttributeError("'NoneType' has no attribute 'bind_execute'"))


def close_ends_nothing(_: "asyncio.Future[None]") -> None:
    """Like a connection whose buffers are full."""


def connection_is_lost(_: "asyncio.Future[None]") -> None:
    raise asyncpg.InterfaceError("it was released back to the pool")


class SilentConnection(Connection):
    """A connection without a server, on which a statement ends only when *close* ends it."""

    def __init__(self, close: Close, clock: Clock = CLOCK) -> None:
        self._close = close
        self._statement = asyncio.get_running_loop().create_future()
        self.is_torn_down = False
        self.borrowed(self, clock)

    def is_closed(self) -> bool:
        return True

    def add_log_listener(self, callback: Any) -> None:
        pass

    def terminate(self) -> None:
        self.is_torn_down = True
        self._close(self._statement)

    async def statement(self) -> None:
        await self._statement


async def use(
    connection: Connection, left_s: float, work: Awaitable[None], clock: Clock = CLOCK
) -> None:
    connection.begin_use(clock.monotonic() + left_s)
    try:
        await work
    except BaseException as error:
        connection.end_use(error)
        raise
    connection.end_use(None)


async def test_a_use_that_ends_in_time_leaves_the_connection_open() -> None:
    connection = SilentConnection(close_ends_statement)

    await use(connection, 0.0, asyncio.sleep(0))
    await asyncio.sleep(0.01)

    assert not connection.is_torn_down


async def test_at_the_deadline_the_connection_is_closed_and_its_statement_ends() -> None:
    connection = SilentConnection(close_ends_statement)

    with pytest.raises(ConnectionError, match="closed"):
        await use(connection, 0.0, connection.statement())

    assert connection.is_torn_down


@pytest.mark.parametrize("close", [close_ends_nothing, connection_is_lost])
def test_a_statement_that_the_close_does_not_end_is_cancelled_a_second_later(close: Close) -> None:
    loop = SeededLoop(random.Random(1), is_in_order=True)
    clock = LoopClock(loop)

    async def go() -> tuple[bool, float]:
        connection = SilentConnection(close, clock)
        began = clock.monotonic()
        with pytest.raises(ConnectionResetError, match="silent"):
            await use(connection, 5.0, connection.statement(), clock)
        return connection.is_torn_down, clock.monotonic() - began

    task = loop.create_task(go())
    loop.run(lambda: None, lambda: None)

    assert (True, 6.0) == task.result()
    assert 0 == task.cancelling()


async def test_a_task_cancelled_by_another_task_is_cancelled() -> None:
    connection = SilentConnection(close_ends_nothing)
    task = asyncio.create_task(use(connection, 3600, connection.statement()))
    await asyncio.sleep(0)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert not connection.is_torn_down


async def test_a_close_between_two_messages_of_a_statement_is_a_lost_connection() -> None:
    connection = SilentConnection(close_between_two_messages)

    with pytest.raises(ConnectionResetError):
        await use(connection, 0.0, connection.statement())


async def test_an_error_of_the_caller_is_not_reported_as_a_lost_connection() -> None:
    async def fail() -> None:
        raise AttributeError("ours")

    with pytest.raises(AttributeError, match="ours"):
        await use(SilentConnection(close_ends_nothing), 3600, fail())


def test_a_worker_opens_its_pool_and_its_listener() -> None:
    settings = Config(flushes_max=4)

    expected = pool_config(settings, "postgresql://").connections_max + 1
    assert expected == connections_per_worker(settings)


def test_the_private_api_of_asyncpg_is_there() -> None:
    """Decision 0025: raise the upper bound of asyncpg in pyproject.toml only if this passes."""
    settings = importlib.import_module("asyncpg.protocol.protocol").ConnectionSettings

    assert callable(settings.add_python_codec)
    assert callable(asyncpg.Connection.get_settings)
