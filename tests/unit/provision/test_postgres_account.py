"""
The system user that the embedded PostgreSQL runs as.

If these tests fail: PostgreSQL does not start when root starts Forebay, or other programs can read
its data.
"""

import os
import pwd
import stat
from pathlib import Path

import pytest

from provision.postgres_account import Account, close_home, give, initdb_account, server_account

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's server has another user")
STRANGER = Account(uid=54_321, gid=54_321)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return folder


@pytest.mark.skipif(os.geteuid() == 0, reason="root's server has another user")
def test_an_ordinary_user_runs_server_and_initdb_as_itself(tmp_path: Path) -> None:
    account = server_account(tmp_path / "data")

    assert account == (os.geteuid(), os.getegid())
    assert account == initdb_account(account)


@needs_root
def test_root_runs_the_server_as_a_user_without_a_name(tmp_path: Path) -> None:
    account = server_account(tmp_path / "data")

    with pytest.raises(KeyError):
        pwd.getpwuid(account.uid)
    assert {"user": account.uid, "group": account.gid, "extra_groups": [], "cwd": "/"} == (
        account.popen_arguments
    )


@needs_root
def test_root_runs_initdb_as_a_user_with_a_name_and_in_the_group_of_the_server(
    tmp_path: Path,
) -> None:
    account = server_account(tmp_path / "data")

    assert initdb_account(account) == (pwd.getpwnam("nobody").pw_uid, account.gid)


@needs_root
def test_root_runs_the_server_as_the_owner_of_its_data(data: Path) -> None:
    os.chown(data, *STRANGER)

    assert STRANGER == server_account(data)


@needs_root
@pytest.mark.parametrize("name", ["root", "nobody"])
def test_data_of_an_account_that_other_programs_have_get_another_owner(
    data: Path, name: str
) -> None:
    entry = pwd.getpwnam(name)
    os.chown(data, entry.pw_uid, entry.pw_gid)

    assert entry.pw_uid != server_account(data).uid


@needs_root
def test_data_are_given_with_their_content_and_no_link_is_followed(
    data: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.touch()
    (data / "base").mkdir()
    (data / "base" / "1").touch()
    (data / "link").symlink_to(outside)

    give(data, STRANGER)

    for path in (data, data / "base", data / "base" / "1"):
        assert (path.stat().st_uid, path.stat().st_gid) == STRANGER
    assert 0 == outside.stat().st_uid


@needs_root
def test_only_the_group_of_the_server_enters_the_home_that_root_has_created(tmp_path: Path) -> None:
    close_home(tmp_path, STRANGER)

    assert (0, STRANGER.gid) == (tmp_path.stat().st_uid, tmp_path.stat().st_gid)
    assert 0o710 == stat.S_IMODE(tmp_path.stat().st_mode)


@needs_root
def test_the_home_that_an_ordinary_user_has_created_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    os.chown(tmp_path, *STRANGER)

    close_home(tmp_path, STRANGER)

    assert 0o700 == stat.S_IMODE(tmp_path.stat().st_mode)
