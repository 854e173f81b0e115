"""
A release is migrated while the release before it serves.

If these tests fail: an upgrade without downtime fails events, or starts on a schema that it cannot
use.
"""

import asyncio
import re
import shutil
from pathlib import Path
from typing import Any, Final

import asyncpg

from provision.migrate import FOLDER, migrate
from tests.acceptance.conftest import MakeService
from tests.acceptance.ledger import load
from tests.acceptance.site import Site

# Of each request, at five times the second that is promised at the 99th percentile.
DEADLINE_S: Final = 5 * 1.0
READ_S: Final = 2.0


def next_release(folder: Path) -> Path:
    """
    Copy the migrations, with four more as the rules in migrations/README.md allow them.

    The last also drops what only the release before the running one has used.
    """
    shutil.copytree(FOLDER, folder)
    (types,) = FOLDER.glob("*_versioned_row_types.sql")
    (event_type,) = re.findall(r"CREATE TYPE event_row_v1 AS \(.*?^\);", types.read_text(), _BLOCK)
    functions = {
        "9001_column.sql": "ALTER TABLE events ADD COLUMN source text NOT NULL DEFAULT 'web';",
        "9002_row_type.sql": event_type.replace("_v1", "_v2").replace(
            "\n);", ",\n    source text\n);"
        ),
        "9004_function.sql": (
            "CREATE FUNCTION event_partition_gaps_v2(from_day date) RETURNS date LANGUAGE sql"
            " RETURN from_day;\nDROP TYPE event_row;\nDROP TYPE ledger_row;\n"
            "DROP FUNCTION ensure_event_partitions(date, date);"
        ),
    }
    for name, text in functions.items():
        (folder / name).write_text(f"-- Why.\n-- migrate:up\n{text}\n\n-- migrate:down\n")
    (folder / "9003_index.sql").write_text(
        "-- Why.\n-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY of_times"
        " ON event_deduplication (received_at);\n\n-- migrate:down\n"
    )
    return folder


_BLOCK: Final = re.MULTILINE | re.DOTALL


async def test_a_migration_below_the_running_previous_release_fails_no_event(
    site: Site, tmp_path: Path, connection: Any
) -> None:
    """Also beside a transaction that has read `events`, which the new column has to wait for."""
    folder = next_release(tmp_path / "migrations")
    key = await site.make_key()
    reader = await asyncpg.connect(site.database_url)
    await reader.execute("BEGIN; SELECT FROM events")
    told: list[str] = []
    async with load(site, key, connections=8) as ledger:
        await ledger.until_acked(300)
        migrating = asyncio.create_task(migrate(site.database_url, folder, say=told.append))
        await asyncio.sleep(READ_S)
        assert not migrating.done()
        await reader.execute("COMMIT")
        applied = await migrating
        await ledger.until_acked(300)

    assert [
        "9001_column.sql",
        "9002_row_type.sql",
        "9003_index.sql",
        "9004_function.sql",
    ] == applied
    assert any(f"pid {reader.get_server_pid()}," in text for text in told)
    assert ({200}, {}) == (set(ledger.statuses), dict(ledger.faults))
    assert max(ledger.latencies_s) < DEADLINE_S
    assert [] == site.service.log_lines("flush_try_failed")
    await ledger.check(site, key)
    sources = await connection.fetch("SELECT DISTINCT source FROM events")
    assert ["web"] == [row["source"] for row in sources]
    reader.terminate()


async def test_a_worker_that_starts_on_the_newer_schema_serves(
    make_service: MakeService, database_url: str, tmp_path: Path
) -> None:
    await migrate(database_url, next_release(tmp_path / "migrations"))
    service = make_service()

    await service.start()

    site = Site(service, database_url)
    key = await site.make_key()
    async with load(site, key, connections=2) as ledger:
        await ledger.until_acked(20)
    assert {200} == set(ledger.statuses)


async def test_a_breaking_migration_stops_the_release_before(
    make_service: MakeService, database_url: str, tmp_path: Path
) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "migrations")
    (folder / "9001_more.sql").write_text(
        "-- Why.\n-- breaking\n\n-- migrate:up\nSELECT 1;\n\n-- migrate:down\n"
    )
    await migrate(database_url, folder)

    complaint = await make_service().complaint()

    assert "its version 9001 does not fit this service" in complaint


async def test_a_release_is_not_started_on_the_schema_of_the_one_before(
    make_service: MakeService, bare_database_url: str, tmp_path: Path
) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "migrations")
    *_, newest = sorted(folder.glob("*.sql"))
    newest.unlink()
    await migrate(bare_database_url, folder)

    assert "run provision migrate" in await make_service(bare_database_url).complaint()
