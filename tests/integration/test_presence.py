"""A worker's presence: its number, and what it hears of keys."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from provision.keys import NewKey
from service.store.pool import PoolConfig
from service.store.presence import Presence
from tests.conftest import MakeTenant

# Of this database alone: the server may serve another test's.
LOCKS = """
    SELECT objid::int
    FROM pg_locks
    JOIN pg_database ON pg_database.oid = pg_locks.database
    WHERE locktype = 'advisory' AND granted AND datname = current_database()
    ORDER BY objid
"""


class Witness:
    """Writes down what a presence tells."""

    def __init__(self) -> None:
        self._told: asyncio.Queue[tuple[str, object]] = asyncio.Queue()

    def present(self, worker: int) -> None:
        self._told.put_nowait(("present", worker))

    def absent(self) -> None:
        self._told.put_nowait(("absent", None))

    def key_changed(self, key_id: str) -> None:
        self._told.put_nowait(("changed", key_id))

    async def next(self) -> tuple[str, object]:
        return await self._told.get()

    @property
    def is_silent(self) -> bool:
        return self._told.empty()


Join = Callable[[int], Awaitable[tuple[Presence, Witness]]]


@pytest.fixture
async def join(store_config: PoolConfig) -> AsyncIterator[Join]:
    joined: list[Presence] = []

    async def start(first_number: int) -> tuple[Presence, Witness]:
        witness = Witness()
        presence = Presence(store_config, witness, first_number)
        joined.append(presence)
        await presence.start()
        return presence, witness

    yield start
    for presence in joined:
        await presence.stop()


async def held(connection: Any) -> list[int]:
    return [row[0] for row in await connection.fetch(LOCKS)]


async def marked(witness: Witness, connection: Any) -> list[tuple[str, object]]:
    """Return what is told until a mark that we send ourselves, which comes last."""
    await connection.execute("SELECT pg_notify('forebay_keys', 'mark')")
    told: list[tuple[str, object]] = []
    while (one := await witness.next()) != ("changed", "mark"):
        told.append(one)
    return told


async def test_a_number_is_leased_and_only_that_one(join: Join, connection: Any) -> None:
    _, witness = await join(77)

    assert ("present", 77) == await witness.next()
    assert [77] == await held(connection)


async def test_two_presences_never_have_the_same_number(join: Join, connection: Any) -> None:
    numbers = [(await (await join(5))[1].next())[1] for _ in range(3)]

    assert [5, 6, 7] == numbers == await held(connection)


async def test_after_the_last_number_comes_the_first(join: Join) -> None:
    numbers = [(await (await join(1023))[1].next())[1] for _ in range(2)]

    assert [1023, 0] == numbers


async def test_without_a_free_number_there_is_no_presence(join: Join, connection: Any) -> None:
    presence, witness = await join(3)
    await presence.stop()
    await witness.next()
    await connection.execute(
        "SELECT pg_advisory_lock(252439457, number) FROM generate_series(0, 1023) AS number"
    )

    with pytest.raises(RuntimeError, match="all 1024 worker numbers are taken"):
        await join(0)


async def test_a_stopped_presence_gives_its_number_up(join: Join) -> None:
    presence, _ = await join(9)

    await presence.stop()
    await presence.stop()

    # The server hears of it a moment later.
    while ("present", 9) != await (await join(9))[1].next():
        pass


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
    join: Join, tenant: NewKey, connection: Any, change: str
) -> None:
    _, witness = await join(0)
    await witness.next()

    await connection.execute(change)

    assert [("changed", tenant.key_id)] == await marked(witness, connection)


async def test_a_new_key_is_heard_of(join: Join, make_tenant: MakeTenant, connection: Any) -> None:
    _, witness = await join(0)
    await witness.next()

    key = await make_tenant()

    assert [("changed", key.key_id)] == await marked(witness, connection)


@pytest.mark.usefixtures("tenant")
async def test_the_use_of_a_key_is_no_news(join: Join, connection: Any) -> None:
    _, witness = await join(0)
    await witness.next()

    await connection.execute("UPDATE api_keys SET last_used_at = now()")

    assert [] == await marked(witness, connection)


async def test_a_lost_session_is_absence_until_there_is_a_new_one(
    join: Join, tenant: NewKey, connection: Any
) -> None:
    _, witness = await join(40)
    await witness.next()

    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'forebay' AND datname = current_database()"
    )

    assert ("absent", None) == await witness.next()
    kind, number = await witness.next()
    assert "present" == kind
    assert [number] == await held(connection)
    await connection.execute("UPDATE api_keys SET revoked_at = now()")
    assert [("changed", tenant.key_id)] == await marked(witness, connection)


async def test_stopping_in_the_midst_of_coming_back_ends_it(join: Join, connection: Any) -> None:
    presence, witness = await join(0)
    await witness.next()
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'forebay'"
        " AND datname = current_database()"
    )
    assert ("absent", None) == await witness.next()

    await presence.stop()

    assert witness.is_silent
