"""The connection that listens for changed keys: what it hears, its loss and its return."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from provision.keys import NewKey
from service.store.connections import PoolConfig
from service.store.keys import KeyListener
from service.supervisor import Supervisor
from tests.acceptance.proxy import Line, proxied
from tests.acceptance.running import until
from tests.conftest import MakeTenant

END_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name = 'forebay' AND datname = current_database()"
)
ALL = "all keys"


class Witness:
    """A cache that writes down what it has to forget."""

    def __init__(self) -> None:
        self._told: asyncio.Queue[str] = asyncio.Queue()

    def forget(self, key_id: str) -> None:
        self._told.put_nowait(key_id)

    def forget_all(self) -> None:
        self._told.put_nowait(ALL)

    async def next(self) -> str:
        return await self._told.get()


Listen = Callable[..., Awaitable[Witness]]


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    made = Supervisor(lambda _: None, pause_min_s=0.01)
    yield made
    await made.stop()


@pytest.fixture
async def listen(store_config: PoolConfig, supervisor: Supervisor) -> Listen:
    """Start a listener, and return what it tells once it listens."""

    async def start(**changes: Any) -> Witness:
        witness = Witness()
        config = msgspec.structs.replace(store_config, **changes)
        supervisor.start("key_changes", KeyListener(config, witness).run)
        assert ALL == await witness.next()
        return witness

    return start


async def marked(witness: Witness, connection: Any) -> list[str]:
    """Return what is told until a mark that we send ourselves, which comes last."""
    await connection.execute("SELECT pg_notify('forebay_keys', 'mark')")
    told: list[str] = []
    while (one := await witness.next()) != "mark":
        told.append(one)
    return told


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE api_keys SET revoked_at = now()",
        "UPDATE api_keys SET expires_at = now()",
        "UPDATE tenants SET disabled_at = now()",
        "DELETE FROM api_keys",
    ],
)
async def test_a_change_of_a_key_is_heard(
    listen: Listen, tenant: NewKey, connection: Any, change: str
) -> None:
    witness = await listen()

    await connection.execute(change)

    assert [tenant.key_id] == await marked(witness, connection)


async def test_a_new_key_is_heard_of(
    listen: Listen, make_tenant: MakeTenant, connection: Any
) -> None:
    witness = await listen()

    key = await make_tenant()

    assert [key.key_id] == await marked(witness, connection)


@pytest.mark.usefixtures("tenant")
async def test_the_use_of_a_key_is_no_news(listen: Listen, connection: Any) -> None:
    witness = await listen()

    await connection.execute("UPDATE api_keys SET last_used_at = now()")

    assert [] == await marked(witness, connection)


async def test_after_a_lost_connection_all_keys_are_forgotten_once_it_listens_again(
    listen: Listen, tenant: NewKey, connection: Any
) -> None:
    """A change while nobody listened is missed; what was cached then must go."""
    witness = await listen()

    async with connection.transaction():
        # The end is told at once, the change at the commit: nobody listens then.
        await connection.execute("UPDATE api_keys SET revoked_at = now()")
        await connection.execute(END_SESSIONS)

    assert ALL == await witness.next()
    await connection.execute("UPDATE api_keys SET expires_at = now()")
    assert [tenant.key_id] == await marked(witness, connection)


async def test_a_server_that_fell_silent_is_noticed(
    listen: Listen, supervisor: Supervisor, store_config: PoolConfig, connection: Any
) -> None:
    """Nothing tells of it: the listener has to ask."""
    async with proxied(store_config.url) as proxy:
        witness = await listen(url=proxy.url, tcp_timeout_ms=400, connect_timeout_s=0.4)
        proxy.set_line(Line.SILENT)
        await has_failed(supervisor)
        proxy.set_line(Line.CUT)  # what the silence holds back
        proxy.set_line(Line.OPEN)

        assert ALL == await witness.next()
        assert [] == await marked(witness, connection)


async def test_a_database_that_is_away_at_the_start_is_waited_for(
    supervisor: Supervisor, store_config: PoolConfig, connection: Any
) -> None:
    witness = Witness()
    async with proxied(store_config.url) as proxy:
        proxy.set_line(Line.CUT)
        config = msgspec.structs.replace(store_config, url=proxy.url)
        supervisor.start("key_changes", KeyListener(config, witness).run)
        await has_failed(supervisor)
        proxy.set_line(Line.OPEN)

        assert ALL == await witness.next()
        assert [] == await marked(witness, connection)


async def test_stopping_in_the_midst_of_coming_back_ends_it(
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
    """Return when the listener has ended at least once."""

    async def has_ended() -> bool:
        return supervisor.report()["key_changes"].restarts > 0

    await until(has_ended, 10, "the listener has ended")
