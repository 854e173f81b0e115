"""
`provision migrate` on a real database.

If these tests fail: an upgrade stops half-way, applies a file twice, or accepts an edited file.
"""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from provision.errors import ProvisionError
from provision.migrate import FOLDER, migrate, read_migrations

from .conftest import command_environment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(FOLDER, tmp_path / "migrations")


async def fetch(url: str, query: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        connection.terminate()


def test_four_processes_at_once_apply_each_file_once(bare_database_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "provision", "migrate", "--json"],
            env=command_environment(DATABASE_URL=bare_database_url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    outputs = [process.communicate() for process in processes]

    names = [migration.name for migration in read_migrations()]
    assert [0, 0, 0, 0] == [process.returncode for process in processes], outputs
    assert 3 == sum(output == '{"applied":[]}\n' for output, _ in outputs)
    assert 1 == sum(all(name in output for name in names) for output, _ in outputs)
    recorded = asyncio.run(fetch(bare_database_url, "SELECT count(*) FROM schema_checksums"))
    assert [(len(names),)] == recorded


async def test_a_second_run_applies_nothing(database_url: str) -> None:
    assert [] == await migrate(database_url)


async def test_an_edited_file_stops_everything_and_is_named(
    database_url: str, folder: Path
) -> None:
    edited = folder / read_migrations(folder)[1].name
    edited.write_text(edited.read_text() + "-- one more line\n")
    (folder / "9999_later.sql").write_text("-- migrate:up\nCREATE TABLE later ();\n")

    with pytest.raises(ProvisionError, match=f"migrations/{edited.name} was edited"):
        await migrate(database_url, folder)

    assert [(None,)] == await fetch(database_url, "SELECT to_regclass('later')::text")


async def test_a_breaking_file_is_recorded_as_such(database_url: str, folder: Path) -> None:
    (folder / "9999_harsh.sql").write_text(
        "-- Why.\n-- breaking\n\n-- migrate:up\nSELECT 1;\n\n-- migrate:down\n"
    )

    assert ["9999_harsh.sql"] == await migrate(database_url, folder)

    breaking = "SELECT version FROM schema_checksums WHERE is_breaking"
    assert [("9999",)] == await fetch(database_url, breaking)


async def test_an_older_release_refuses_a_schema_that_is_newer_and_breaking(
    database_url: str, folder: Path
) -> None:
    (folder / "9999_harsh.sql").write_text(
        "-- breaking\n-- migrate:up\nSELECT 1;\n\n-- migrate:down\n"
    )
    await migrate(database_url, folder)

    with pytest.raises(ProvisionError, match="9999, which is marked as breaking"):
        await migrate(database_url)


async def test_an_older_release_leaves_a_newer_compatible_schema_unchanged(
    database_url: str, folder: Path
) -> None:
    (folder / "9999_kind.sql").write_text("-- migrate:up\nSELECT 1;\n\n-- migrate:down\n")
    await migrate(database_url, folder)

    assert [] == await migrate(database_url)


async def test_a_file_that_fails_leaves_nothing_behind_and_is_named(
    database_url: str, folder: Path
) -> None:
    (folder / "9999_bad.sql").write_text(
        "-- migrate:up\nCREATE TABLE half ();\nSELECT 1 / 0;\n\n-- migrate:down\n"
    )

    with pytest.raises(ProvisionError, match=r"9999_bad\.sql.*division by zero"):
        await migrate(database_url, folder)

    assert [(None,)] == await fetch(database_url, "SELECT to_regclass('half')::text")


async def test_a_missing_checksum_of_an_applied_file_is_recorded_by_the_next_run(
    database_url: str,
) -> None:
    await fetch(database_url, "DELETE FROM schema_checksums WHERE version = '0003' RETURNING 1")

    assert [] == await migrate(database_url)

    recorded = await fetch(database_url, "SELECT version FROM schema_checksums ORDER BY 1")
    assert [(migration.version,) for migration in read_migrations()] == recorded


async def test_the_schema_that_the_url_names_first_is_created(bare_database_url: str) -> None:
    await migrate(f"{bare_database_url}?search_path=analytics,public")

    tables = "SELECT DISTINCT schemaname::text FROM pg_tables WHERE tablename IN "
    found = await fetch(
        bare_database_url, tables + "('schema_migrations', 'schema_checksums', 'events')"
    )
    assert [("analytics",)] == found


async def test_versions_of_another_application_in_the_table_do_not_matter(
    bare_database_url: str,
) -> None:
    """Ruby on Rails and dbmate use a table of the same name and form."""
    await fetch(bare_database_url, "CREATE TABLE schema_migrations (version varchar PRIMARY KEY);")
    await fetch(
        bare_database_url, "INSERT INTO schema_migrations VALUES ('20240101120000') RETURNING 1"
    )

    applied = await migrate(bare_database_url)

    assert [migration.name for migration in read_migrations()] == applied


async def test_a_number_below_the_newest_applied_one_is_refused(
    database_url: str, folder: Path
) -> None:
    newest = read_migrations(folder)[-1]
    await fetch(database_url, "DELETE FROM schema_checksums WHERE version = '0003' RETURNING 1")
    await fetch(database_url, "DELETE FROM schema_migrations WHERE version = '0003' RETURNING 1")

    with pytest.raises(ProvisionError, match=f"lower number.*{newest.version}"):
        await migrate(database_url, folder)


async def test_a_schema_that_was_added_to_the_search_path_later_does_not_hide_what_is_applied(
    database_url: str, folder: Path
) -> None:
    """The default search path begins with a schema named as the role."""
    await fetch(database_url, "CREATE SCHEMA later")
    url = f"{database_url}?search_path=later,public"
    (folder / "9999_more.sql").write_text("-- migrate:up\nCREATE TABLE more ();\n")

    assert ["9999_more.sql"] == await migrate(url, folder)
    assert [] == await migrate(url, folder)
