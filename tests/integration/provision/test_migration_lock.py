"""
The lock of `provision migrate`.

If these tests fail: two migrations run at once, or an operator waits without knowing for which
session.
"""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from provision.database import connected, statement
from provision.errors import ProvisionError
from provision.lock_waits import take_migration_lock

NAME = "deploy of yesterday"


@pytest.fixture
async def holder(database_url: str) -> AsyncIterator[Any]:
    """Hold the lock as a session that was left behind does."""
    connection = await asyncpg.connect(database_url, server_settings={"application_name": NAME})
    assert await connection.fetchval(statement("try_lock_migrations"))
    yield connection
    connection.terminate()


async def test_a_wait_is_bounded_and_ends_with_who_is_waited_for(
    database_url: str, holder: Any
) -> None:
    said: list[str] = []
    async with connected(database_url) as connection:
        with pytest.raises(ProvisionError) as caught:
            await take_migration_lock(connection, 0.5, said.append)

    pid = await holder.fetchval("SELECT pg_backend_pid()")
    who = f"pid {pid}, application {NAME!r}, client 127.0.0.1, connected since 2"
    assert who in str(caught.value)
    assert f"pg_terminate_backend({pid})" in str(caught.value)
    assert "longer than 0.5 s" in str(caught.value)
    assert 1 == len(said)
    assert who in said[0]


async def test_a_lock_that_is_given_up_is_taken(database_url: str, holder: Any) -> None:
    async with connected(database_url) as connection:
        said: list[str] = []

        def give_up(text: str) -> None:
            said.append(text)
            holder.terminate()

        await take_migration_lock(connection, 10.0, give_up)

    assert 1 == len(said)


async def test_a_lock_of_another_database_is_none_of_ours(
    bare_database_url: str, holder: Any
) -> None:
    del holder
    async with connected(bare_database_url) as connection:
        await take_migration_lock(connection, 0.0, print)
