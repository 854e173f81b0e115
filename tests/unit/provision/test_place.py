"""Where the embedded server's data and programs go."""

import os
import stat
from pathlib import Path

import pytest

from provision.errors import ProvisionError
from provision.place import find_place, make_folder, mapped_home

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the server's user is another for root")


@pytest.fixture
def roots_folder(tmp_path: Path) -> Path:
    return tmp_path / "roots"


def test_the_same_folder_is_always_mapped_to_the_same_home(tmp_path: Path) -> None:
    once = mapped_home(tmp_path / "clone" / ".forebay")
    again = mapped_home(tmp_path / "elsewhere" / ".." / "clone" / ".forebay")

    assert once == again


def test_two_folders_are_mapped_to_two_homes(tmp_path: Path) -> None:
    assert mapped_home(tmp_path / "one") != mapped_home(tmp_path / "two")


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)

    make_folder(closed)

    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@needs_root
def test_below_a_closed_folder_data_and_programs_go_to_roots_folder(
    tmp_path: Path, roots_folder: Path
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)

    place = find_place(closed / ".forebay", roots_folder)

    assert mapped_home(closed / ".forebay", roots_folder) == place.home
    assert stat.S_IMODE(roots_folder.stat().st_mode) == 0o711
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@needs_root
def test_a_roots_folder_that_others_may_write_to_is_refused(
    tmp_path: Path, roots_folder: Path
) -> None:
    roots_folder.mkdir()
    roots_folder.chmod(0o777)

    with pytest.raises(ProvisionError, match="only root may write to"):
        find_place(tmp_path / ".forebay", roots_folder)


@needs_root
def test_a_roots_folder_of_somebody_else_is_refused(tmp_path: Path, roots_folder: Path) -> None:
    roots_folder.mkdir()
    os.chown(roots_folder, 54_321, 54_321)

    with pytest.raises(ProvisionError, match="only root may write to"):
        find_place(tmp_path / ".forebay", roots_folder)


@needs_root
def test_a_link_in_the_place_of_roots_folder_is_refused(tmp_path: Path, roots_folder: Path) -> None:
    (tmp_path / "target").mkdir()
    roots_folder.symlink_to(tmp_path / "target")

    with pytest.raises(ProvisionError, match="only root may write to"):
        find_place(tmp_path / ".forebay", roots_folder)


@needs_root
def test_data_that_was_closed_off_later_is_not_silently_replaced(
    tmp_path: Path, roots_folder: Path
) -> None:
    (tmp_path / ".forebay" / "postgres" / "data").mkdir(parents=True)

    with pytest.raises(ProvisionError, match="cannot be reached"):
        find_place(tmp_path / ".forebay", roots_folder)
