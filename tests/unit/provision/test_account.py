"""As whom the embedded server runs, and where that user may go."""

import os
from pathlib import Path

import pytest

from provision.account import Account, may_enter, may_read, server_account

STRANGER = Account(uid=54_321, gid=54_321)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    return made


def test_an_ordinary_user_runs_the_server_as_itself(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("we are root")

    assert server_account(tmp_path / "data").uid == os.geteuid()


def test_root_runs_the_server_as_nobody(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("we are not root")

    account = server_account(tmp_path / "data")

    assert account.uid != 0
    assert {"user": account.uid, "group": account.gid, "extra_groups": [], "cwd": "/"} == (
        account.popen_arguments
    )


def test_root_runs_the_server_as_the_owner_of_data_that_is_there(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a folder away")
    os.chown(folder, STRANGER.uid, STRANGER.gid)

    assert server_account(folder) == STRANGER


def test_a_closed_folder_anywhere_above_stops_a_stranger(folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir(mode=0o755)
    folder.chmod(0o700)

    assert not may_enter(inner, STRANGER)


def test_the_owner_enters_where_others_may_not(folder: Path) -> None:
    folder.chmod(0o700)

    assert may_enter(folder, Account(os.geteuid(), os.getegid()))


def test_the_owners_class_counts_even_when_others_may_more(folder: Path) -> None:
    folder.chmod(0o011)

    assert not may_enter(folder, Account(os.geteuid(), os.getegid()))


def test_a_missing_file_cannot_be_read(tmp_path: Path) -> None:
    assert not may_read(tmp_path / "missing", Account(os.geteuid(), os.getegid()))


def test_a_closed_file_cannot_be_read_by_a_stranger() -> None:
    assert may_read(Path("/etc/passwd"), STRANGER)
    assert not may_read(Path("/etc/shadow"), STRANGER)
