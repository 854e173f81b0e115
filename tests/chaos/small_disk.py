"""A small tmpfs, mounted for one test."""

import errno
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

_SIZE_MIB: Final = 96
_BALLAST: Final = "ballast"


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Mount a small tmpfs; skip the test if that is not permitted."""
    folder = Path(tempfile.mkdtemp(prefix="forebay-tests-disk-"))
    mount = shutil.which("mount")
    try:
        if mount is None:
            pytest.skip("no program to mount a disk with")
        mounting = [mount, "-t", "tmpfs", "-o", f"size={_SIZE_MIB}m,mode=755", "tmpfs", str(folder)]
        done = subprocess.run(mounting, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting a disk is not allowed here: {done.stderr.strip()}")
        try:
            yield folder
        finally:
            subprocess.run(["umount", folder], check=True)
    finally:
        folder.rmdir()


def fill(disk: Path) -> None:
    """Write a file until no space is left."""
    with (disk / _BALLAST).open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65_536))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def make_room(disk: Path) -> None:
    """Remove the file of `fill`."""
    (disk / _BALLAST).unlink()
