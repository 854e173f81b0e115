"""
PgBouncer between Forebay and PostgreSQL: refused if it shares sessions, used otherwise.

If these tests fail: behind a pooler requests hang because the timeouts of the service do not apply,
and sessions of other clients get these timeouts.
"""

import asyncio
import re
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from provision.database import connected
from provision.errors import ProvisionError
from provision.migrate import migrate
from service.config import Config
from service.store.connections import connect, open_pool, pool_config
from service.store.errors import connect_reason
from service.store.pooler import PoolerError, is_pooled, require_session_pooling
from service.store.schema import check_database
from tests.pgbouncer import pgbouncer

DEPLOY = Path(__file__).parents[2] / "docs/how-to/deploy.md"
_LINE = re.search(r"^ignore_startup_parameters = (.*)$", DEPLOY.read_text(), re.MULTILINE)
IGNORE = _LINE[1] if _LINE else ""
SHARING = ["transaction", "statement"]


async def test_without_a_pooler_none_is_found(database_url: str, connection: Any) -> None:
    assert not await is_pooled(connection)
    await require_session_pooling(connection, partial(asyncpg.connect, database_url))


@pytest.mark.parametrize(("mode", "round_robin"), [("transaction", 0), ("statement", 1)])
async def test_a_pooler_that_shares_sessions_is_refused_by_the_service(
    database_url: str, mode: str, round_robin: int
) -> None:
    options = {"ignore_startup_parameters": IGNORE, "server_round_robin": round_robin}
    with pgbouncer(database_url, mode, **options) as url:
        for _ in range(2):
            with pytest.raises(PoolerError, match="shares sessions"):
                await check_database(pool_config(Config(), url), 1)


async def test_a_pooler_that_shares_sessions_is_refused_while_other_clients_use_it(
    database_url: str,
) -> None:
    """Other clients use and release sessions meanwhile."""
    with pgbouncer(database_url, "transaction", ignore_startup_parameters=IGNORE) as url:
        others = [await asyncpg.connect(url, statement_cache_size=0) for _ in range(3)]
        busy = [asyncio.create_task(_keep_busy(other)) for other in others]
        try:
            for _ in range(5):
                with pytest.raises(PoolerError, match="shares sessions"):
                    await check_database(pool_config(Config(), url), 1)
        finally:
            for task in busy:
                task.cancel()
            await asyncio.gather(*busy, return_exceptions=True)
            for other in others:
                other.terminate()


async def test_a_refused_pooler_keeps_no_setting_of_the_service(database_url: str) -> None:
    options = {"ignore_startup_parameters": IGNORE, "default_pool_size": 1}
    with pgbouncer(database_url, "transaction", **options) as url:
        with pytest.raises(PoolerError):
            await check_database(pool_config(Config(), url), 1)
        left = await _copied(url, "SELECT current_setting('statement_timeout')")

    assert "0" == left


async def test_the_message_names_every_parameter_that_the_pooler_has_to_ignore(
    database_url: str,
) -> None:
    config = pool_config(Config(), database_url)
    with pgbouncer(database_url, "session") as url:
        with pytest.raises(asyncpg.PostgresError) as caught:
            await check_database(pool_config(Config(), url), 1)
        reason = connect_reason(caught.value, config.server_settings)

    assert f"PgBouncer needs ignore_startup_parameters = {IGNORE}" in reason


async def test_in_session_mode_every_setting_of_the_service_is_applied(database_url: str) -> None:
    ignore = f"{IGNORE}, synchronous_commit, search_path"
    with pgbouncer(database_url, "session", ignore_startup_parameters=ignore) as url:
        config = pool_config(Config(), f"{url}?synchronous_commit=remote_apply&search_path=public")
        await check_database(config, 1)
        pool = await open_pool(config)
        try:
            async with pool.acquire() as session:
                assert await is_pooled(session.itself)
                rows = await session.fetch(
                    "SELECT name, source, setting FROM pg_settings WHERE lower(name) = ANY($1)",
                    [*config.server_settings, "synchronous_commit", "search_path"],
                )
                pid = await session.fetchval("SELECT pg_backend_pid()")
                assert pid == session.itself.pid
        finally:
            pool.terminate()

    found = {row["name"].lower(): (row["source"], row["setting"]) for row in rows}
    assert {"session", "client"} >= {source for source, _ in found.values()}, found
    assert ("session", "remote_apply") == found["synchronous_commit"]
    assert ("session", "public") == found["search_path"]
    assert "5000" == found["statement_timeout"][1]


async def test_a_reload_does_not_change_settings_applied_through_the_pooler(
    database_url: str, connection: Any
) -> None:
    ignore = f"{IGNORE}, synchronous_commit"
    with pgbouncer(database_url, "session", ignore_startup_parameters=ignore) as url:
        session = await connect(pool_config(Config(), f"{url}?synchronous_commit=on"))
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
        await connection.execute("SELECT pg_reload_conf()")

        assert "on" == await session.fetchval("SHOW synchronous_commit")
        session.terminate()


async def test_a_pooler_with_one_session_is_refused(database_url: str) -> None:
    options = {"ignore_startup_parameters": IGNORE, "default_pool_size": 1}
    with (
        pgbouncer(database_url, "session", **options) as url,
        pytest.raises(PoolerError, match=r"no second session in time.*default_pool_size"),
    ):
        await check_database(pool_config(Config(connect_timeout_s=30), url), 1)


async def test_the_parameter_options_is_refused_behind_a_pooler(database_url: str) -> None:
    with (
        pgbouncer(database_url, "session", ignore_startup_parameters=IGNORE) as url,
        pytest.raises(PoolerError, match="parameter options of DATABASE_URL"),
    ):
        await connect(pool_config(Config(), f"{url}?options=-c%20jit%3Doff"))


@pytest.mark.parametrize("mode", SHARING)
async def test_a_pooler_that_shares_sessions_is_refused_by_the_commands(
    bare_database_url: str, mode: str
) -> None:
    with pgbouncer(bare_database_url, mode) as url:
        for _ in range(2):
            with pytest.raises(ProvisionError, match="shares sessions"):
                await migrate(url)
        async with connected(bare_database_url) as direct:
            locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
            assert 0 == await direct.fetchval(locks)


async def test_in_session_mode_the_commands_work(bare_database_url: str) -> None:
    with pgbouncer(bare_database_url, "session", ignore_startup_parameters=IGNORE) as url:
        assert await migrate(url)
        assert [] == await migrate(url)
        async with connected(url) as connection:
            assert "UTC" == await connection.fetchval("SHOW timezone")


async def _keep_busy(connection: Any) -> None:
    while True:
        await _ask(connection, "SELECT 1 FROM pg_sleep(0.002)")


async def _copied(url: str, query: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return await _ask(connection, query)
    finally:
        connection.terminate()


async def _ask(connection: Any, query: str) -> str:
    """Query by COPY, because prepared statements fail behind a pooler that shares sessions."""
    answer = bytearray()

    async def take(data: bytes) -> None:
        answer.extend(data)

    await connection.copy_from_query(query, output=take)
    return answer.decode().strip()
