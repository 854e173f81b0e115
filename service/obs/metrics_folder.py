"""
The folder through which the workers share their metrics with the parent process.

The parent creates the folder, and removes it at the end. Each process writes files of its own,
which prometheus_client maps into memory.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable that names the folder; prometheus_client reads it when it is imported."""
_PREFIX: Final = "forebay-metrics-"
_LOCK: Final = "lock"
# A younger folder may belong to a parent that has not locked it yet.
_AGE_MIN_S: Final = 60.0
# prometheus_client never makes a file smaller than 64 KiB. The counters have space for every code
# with every key that has a label, the histograms for every endpoint with every status.
_FILE_BYTES: Final = {
    "counter": 512 << 10,
    "gauge_livesum": 64 << 10,
    "gauge_livemostrecent": 64 << 10,
    "histogram": 512 << 10,
}


class FolderError(Exception):
    """The folder for metrics cannot be created; the message says what to do."""


@contextlib.contextmanager
def metrics_folder() -> Iterator[Path]:
    """
    Create a folder for the duration of the block, and remove the folders of killed parents.

    A parent locks its folder, and the kernel releases the lock when the process ends. Folders
    younger than 60 s are left alone.

    Raises
    ------
    FolderError
        No temporary folder can be written.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock_file = (folder / _LOCK).open("w")
    except OSError as error:
        raise FolderError(
            f"no temporary folder can be written ({error.strerror}): set TMPDIR, or mount /tmp"
        ) from None
    try:
        with lock_file as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _remove_abandoned(folder.parent)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def allocate_files(folder: Path, owner: str) -> None:
    """
    Create the files of *owner*, a process id or another name, with all of their disk space.

    If the disk is full when a page is written for the first time, the kernel ends the process with
    SIGBUS. Therefore the space is allocated first.

    Raises
    ------
    OSError
        There is not enough space; no file is left.
    """
    paths = {folder / f"{kind}_{owner}.db": size for kind, size in _FILE_BYTES.items()}
    try:
        for path, size in paths.items():
            with path.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, size)
    except OSError:
        for path in paths:
            path.unlink(missing_ok=True)
        raise


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or removed by another parent
            status = folder.stat()
            is_ours = status.st_uid == os.getuid()
            if is_ours and time.time() - status.st_mtime >= _AGE_MIN_S and not _is_locked(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_locked(folder: Path) -> bool:
    try:
        with (folder / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:  # from a release without locks
        return False
    except BlockingIOError:
        return True
    return False
