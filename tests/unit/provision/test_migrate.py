"""
Migration files: their rules, and how the runner reads them.

If these tests fail: an upgrade applies wrong statements, or does not detect an edited file.
"""

import hashlib
from pathlib import Path

import pytest

from provision.errors import ProvisionError
from provision.migrate import (
    FOLDER,
    Checksum,
    Migration,
    Schema,
    pending,
    read_migrations,
    require_unchanged,
)

FIRST = Migration("0001", "0001_first.sql", "aa", "", is_breaking=False)
SECOND = Migration("0002", "0002_second.sql", "bb", "", is_breaking=False)


def test_numbers_are_unique_and_without_gaps() -> None:
    versions = [migration.version for migration in read_migrations()]

    assert [f"{number:04}" for number in range(1, len(versions) + 1)] == versions


def test_every_file_begins_with_its_reason_and_has_no_down_migration() -> None:
    for migration in read_migrations():
        text = (FOLDER / migration.name).read_text()
        up, _, down = text.partition("-- migrate:down")

        assert text.startswith("-- "), migration.name
        assert "-- migrate:up\n" in up, migration.name
        assert all(line.startswith("--") for line in down.split("\n")[1:] if line), migration.name


def test_a_file_declares_that_it_is_breaking(tmp_path: Path) -> None:
    (tmp_path / "0001_calm.sql").write_text("-- Why.\n-- migrate:up\n-- breaking\nSELECT 1;\n")
    (tmp_path / "0002_harsh.sql").write_text("-- Why.\n-- breaking\n\n-- migrate:up\nSELECT 1;\n")

    calm, harsh = read_migrations(tmp_path)

    assert not calm.is_breaking
    assert harsh.is_breaking


def test_a_file_declares_that_it_runs_without_a_transaction(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("-- Why.\n-- migrate:up\nSELECT 1;\n")
    (tmp_path / "0002_b.sql").write_text("-- Why.\n-- migrate:up transaction:false\nSELECT 1;\n")

    assert [True, False] == [file.is_transaction for file in read_migrations(tmp_path)]


def test_the_checksum_is_the_sha_256_of_the_files_bytes(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_bytes(b"-- migrate:up\r\nSELECT 1;\r\n")

    assert (
        hashlib.sha256(b"-- migrate:up\r\nSELECT 1;\r\n").hexdigest()
        == read_migrations(tmp_path)[0].sha256
    )


def test_a_file_with_another_kind_of_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1_first.sql").write_text("-- migrate:up\n")

    with pytest.raises(ProvisionError, match=r"1_first\.sql is not named like a migration"):
        read_migrations(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "SELECT 1;\n", "-- migrate:up\n\n-- migrate:down\nSELECT 1;\n"]
)
def test_a_file_without_statements_to_apply_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "0001_a.sql").write_text(text)

    with pytest.raises(ProvisionError, match=r"0001_a\.sql (needs one line|has no statement)"):
        read_migrations(tmp_path)


def test_statements_are_those_between_up_and_down(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text(
        "-- Why.\n-- migrate:up\nSELECT 1;\n-- migrate:down\nSELECT 2;\n"
    )

    assert "SELECT 1;" == read_migrations(tmp_path)[0].sql


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match="no migrations in"):
        read_migrations(tmp_path)


def test_a_file_that_is_not_applied_is_pending() -> None:
    assert [SECOND] == pending([FIRST, SECOND], Schema(frozenset({"0001"}), {}))


def test_an_edited_file_is_named() -> None:
    schema = Schema(frozenset({"0001"}), {"0001": Checksum("other", is_breaking=False)})

    with pytest.raises(ProvisionError, match=r"migrations/0001_first\.sql was edited"):
        require_unchanged([FIRST], schema)


def test_a_newer_schema_is_accepted_unless_it_is_breaking() -> None:
    applied = frozenset({"0001", "0002"})
    first = {"0001": Checksum("aa", is_breaking=False)}

    require_unchanged([FIRST], Schema(applied, first | {"0002": Checksum("x", is_breaking=False)}))
    with pytest.raises(ProvisionError, match="0002, which is marked as breaking"):
        require_unchanged(
            [FIRST], Schema(applied, first | {"0002": Checksum("x", is_breaking=True)})
        )
