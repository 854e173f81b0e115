"""
Folders of the embedded PostgreSQL.

If these tests fail: `forebay dev` as root does not start, loses the data of its last run, or makes
a private folder readable.
"""

import os
import stat
from pathlib import Path

import pytest

from provision.errors import ProvisionError
from provision.postgres_files import find_files, home_below_root_folder, make_folder

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's server has another user")


@pytest.fixture
def root_folder(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    return folder


def test_a_folder_has_one_home_below_the_root_folder(tmp_path: Path) -> None:
    once = home_below_root_folder(tmp_path / "clone" / ".forebay")
    again = home_below_root_folder(tmp_path / "elsewhere" / ".." / "clone" / ".forebay")

    assert once == again
    assert once != home_below_root_folder(tmp_path / "other" / ".forebay")


def test_an_existing_folder_keeps_its_mode(closed: Path) -> None:
    make_folder(closed)

    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@needs_root
def test_the_home_for_a_closed_folder_is_below_the_root_folder(
    closed: Path, root_folder: Path
) -> None:
    files = find_files(closed / ".forebay", None, root_folder)

    assert home_below_root_folder(closed / ".forebay", root_folder) == files.home
    assert stat.S_IMODE(root_folder.stat().st_mode) == 0o711
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@needs_root
def test_data_in_a_folder_that_was_closed_later_is_not_replaced(
    closed: Path, root_folder: Path
) -> None:
    (closed / ".forebay" / "postgres" / "data").mkdir(parents=True)

    with pytest.raises(ProvisionError, match="cannot reach its data"):
        find_files(closed / ".forebay", None, root_folder)
