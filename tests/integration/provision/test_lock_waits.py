"""
Migrations and partitions beside an open transaction that has read `events`, or another migrate.

If these tests fail: events are refused or delayed while an operator migrates, two migrations run at
once, or an operator waits without knowing for which session.
"""

import asyncio
import contextlib
import re
import shutil
import time
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from provision.database import connected, statement
from provision.errors import ProvisionError
from provision.lock_waits import take_migration_lock
from provision.migrate import FOLDER, migrate

HOLDER: Final = "deploy of yesterday"
PAGE: Final = Path(__file__).parents[3] / "docs/how-to/partitions.md"
DAY: Final = date(2026, 11, 21)
# Of each event, while DDL waits. The promise is 1 s at the 99th percentile of an idle machine.
DEADLINE_S: Final = 5 * 1.0
WAIT_S: Final = 3.0
INSERT: Final = (
    "INSERT INTO events (id, tenant_id, workspace_id, event_id, type, schema_version, request_id,"
    ' received_at, "timestamp") VALUES ($1, 1, 1, $2, $2, $2, 1, $3, $3)'
)
COLUMN: Final = "-- migrate:up\nALTER TABLE events ADD COLUMN source text;\n\n-- migrate:down\n"
INDEX: Final = (
    "-- migrate:up transaction:false\n"
    "CREATE INDEX CONCURRENTLY of_hashes ON event_deduplication (payload_hash);\n\n"
    "-- migrate:down\n"
)
HAS_COLUMN: Final = "SELECT source IS NULL FROM (SELECT (SELECT source FROM events LIMIT 1)) AS one"
INDEXES: Final = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('of_hashes')"
RUNNING: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%' AND state = 'active'"
    " AND datname = current_database()"
)
PARTITIONS: Final = (
    "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'events'::regclass"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(FOLDER, tmp_path / "migrations")


@pytest.fixture
async def reader(database_url: str, connection: Any) -> AsyncIterator[Any]:
    """Lend a session with an open transaction that has read `events`."""
    await connection.execute("SELECT ensure_event_partitions_v1($1, $1)", DAY)
    lent = await asyncpg.connect(database_url, server_settings={"application_name": "an analyst"})
    await lent.execute(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM events, event_deduplication"
    )
    yield lent
    lent.terminate()


@contextlib.asynccontextmanager
async def writing(url: str, day: date = DAY) -> AsyncIterator[list[float]]:
    """Store events of *day*, one after the other, and lend the seconds that each took."""
    start = datetime.combine(day, datetime.min.time(), UTC)
    writer, took_s = await asyncpg.connect(url), list[float]()

    async def write() -> None:
        while True:
            started = time.monotonic()
            await writer.execute(INSERT, len(took_s), "a", start + timedelta(seconds=len(took_s)))
            took_s.append(time.monotonic() - started)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(write())
    try:
        yield took_s
    finally:
        if task.done():
            task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        writer.terminate()
        assert took_s
        assert max(took_s) < DEADLINE_S


async def migrate_beside(reader: Any, url: str, folder: Path) -> list[str]:
    """Migrate, end the reader's transaction when it is named, and return what was said of it."""
    told: list[str] = []
    has_told = asyncio.Event()

    def say(text: str) -> None:
        if f"pid {reader.get_server_pid()}," in text:
            told.append(text)
            has_told.set()

    async with writing(url):
        migrating = asyncio.create_task(migrate(url, folder, lock_wait_s=60, say=say))
        async with asyncio.timeout(20):
            await has_told.wait()
        await reader.execute("COMMIT")
        async with asyncio.timeout(20):
            assert ["9999_more.sql"] == await migrating
    return told


@pytest.mark.parametrize("change", [COLUMN, INDEX], ids=["column", "index"])
async def test_a_migration_waits_for_a_reader_and_says_for_whom(
    database_url: str, folder: Path, reader: Any, change: str
) -> None:
    (folder / "9999_more.sql").write_text(change)

    told = await migrate_beside(reader, database_url, folder)

    assert told[0].startswith("migration 9999_more.sql waits for pid ")
    named = (
        rf"pid {reader.get_server_pid()}, an analyst, \w+, idle in transaction, transaction open"
    )
    assert re.search(named + r" for 00:00:0\d", told[0])


async def test_a_migration_that_does_not_get_its_lock_gives_up_and_leaves_nothing(
    database_url: str, folder: Path, reader: Any, connection: Any
) -> None:
    (folder / "9999_more.sql").write_text(COLUMN)

    async with writing(database_url):
        with pytest.raises(
            ProvisionError, match=f"given up after 3 s.*pid {reader.get_server_pid()}"
        ):
            await migrate(database_url, folder, lock_wait_s=WAIT_S, say=print)

    with pytest.raises(asyncpg.UndefinedColumnError):
        await connection.fetchval(HAS_COLUMN)
    await reader.execute("COMMIT")
    assert ["9999_more.sql"] == await migrate(database_url, folder)
    assert await connection.fetchval(HAS_COLUMN)


async def test_an_index_that_was_given_up_is_made_the_next_time(
    database_url: str, folder: Path, reader: Any, connection: Any
) -> None:
    (folder / "9999_more.sql").write_text(INDEX)

    async with writing(database_url):
        with pytest.raises(
            ProvisionError, match=f"given up after 3 s.*pid {reader.get_server_pid()}"
        ):
            await migrate(database_url, folder, lock_wait_s=WAIT_S, say=print)

    assert not await connection.fetchval(INDEXES)
    await reader.execute("COMMIT")
    assert ["9999_more.sql"] == await migrate(database_url, folder)
    assert await connection.fetchval(INDEXES)


async def test_an_interrupted_migration_leaves_no_statement_running(
    database_url: str, folder: Path, reader: Any, connection: Any
) -> None:
    (folder / "9999_more.sql").write_text(INDEX)
    has_told = asyncio.Event()

    migrating = asyncio.create_task(migrate(database_url, folder, say=lambda _: has_told.set()))
    async with asyncio.timeout(20):
        await has_told.wait()
    migrating.cancel()
    await asyncio.gather(migrating, return_exceptions=True)

    assert 0 == await connection.fetchval(RUNNING)
    assert not reader.is_closed()


async def test_new_partitions_do_not_wait_for_a_reader(
    database_url: str, reader: Any, connection: Any
) -> None:
    async with writing(database_url):
        rows = await connection.fetch(
            "SELECT * FROM ensure_event_partitions_v1($1, $2)",
            DAY + timedelta(days=1),
            DAY + timedelta(days=7),
        )

    assert {None} == {row["problem"] for row in rows}
    assert 14 == len(rows)
    assert not reader.is_closed()


def removal() -> dict[str, str]:
    """Return the statements that the documentation gives to remove a day, by their first words."""
    page = PAGE.read_text(encoding="utf-8")
    section = page.partition("## Remove old days")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```\w+[^\n]*\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    texts = [text.strip().replace("20250101", f"{DAY:%Y%m%d}") for text in blocks]
    names = ("set", "detach", "drop", "find", "finalize")
    return dict(zip(names, texts, strict=True))


async def test_a_day_is_removed_as_documented_while_a_transaction_has_it_in_its_snapshot(
    database_url: str, reader: Any, connection: Any
) -> None:
    tomorrow = DAY + timedelta(days=1)
    await connection.execute("SELECT ensure_event_partitions_v1($1, $1)", tomorrow)
    do = removal()
    await connection.execute(do["set"])

    async with writing(database_url, tomorrow):
        with pytest.raises(asyncpg.LockNotAvailableError):
            await connection.execute(do["detach"])
        await connection.execute("SELECT pg_sleep(0.2)")
        found = do["find"].replace("1 minute", "1 second")
        (blocker,) = await connection.fetch(found)
        await reader.execute("COMMIT")
        await connection.execute(do["finalize"])
        await connection.execute(do["drop"])

    assert (reader.get_server_pid(), "an analyst") == tuple(blocker)[:2]
    assert [f"events_{tomorrow:%Y%m%d}"] == [row[0] for row in await connection.fetch(PARTITIONS)]


async def test_no_migration_comes_between_the_two_halves_of_a_detach(
    database_url: str, folder: Path, reader: Any, connection: Any
) -> None:
    """A column that came then would be missing in the partition, and FINALIZE would fail."""
    (folder / "9999_more.sql").write_text(COLUMN)
    do = removal()
    await connection.execute(do["set"])
    with pytest.raises(asyncpg.LockNotAvailableError):
        await connection.execute(do["detach"])

    with pytest.raises(ProvisionError, match="is pending: run ALTER TABLE") as raised:
        await migrate(database_url, folder)

    await reader.execute("COMMIT")
    cure = re.search(r"ALTER TABLE .* FINALIZE", str(raised.value))
    assert cure is not None
    await connection.execute(cure[0])
    assert ["9999_more.sql"] == await migrate(database_url, folder)


@pytest.fixture
async def holder(database_url: str) -> AsyncIterator[Any]:
    """Hold the lock as a session that was left behind does."""
    connection = await asyncpg.connect(database_url, server_settings={"application_name": HOLDER})
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
    who = f"pid {pid}, application {HOLDER!r}, client 127.0.0.1, connected since 2"
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


async def test_a_lock_in_another_database_is_ignored(bare_database_url: str, holder: Any) -> None:
    del holder
    async with connected(bare_database_url) as connection:
        await take_migration_lock(connection, 0.0, print)
