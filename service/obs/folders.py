"""The folder of the workers' metrics: made by the parent, and removed when the parent is gone."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PREFIX: Final = "forebay-metrics-"
_LOCK: Final = "lock"
# A younger folder may belong to a parent that has not locked it yet.
_AGE_MIN_S: Final = 60.0


class FolderError(Exception):
    """There is no folder for metrics; the message says what to do."""


@contextlib.contextmanager
def metrics_folder(age_min_s: float = _AGE_MIN_S) -> Iterator[Path]:
    """
    Lend a new folder for as long as the block lasts, and remove those of parents that were killed.

    A parent locks its folder, and the lock ends with the process, however it ends. Folders younger
    than *age_min_s* are left alone.

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
            _remove_abandoned(folder.parent, age_min_s)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(parent: Path, age_min_s: float) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # of another user, or removed by another start
            status = folder.stat()
            is_ours = status.st_uid == os.getuid()
            if is_ours and time.time() - status.st_mtime >= age_min_s and not _is_locked(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_locked(folder: Path) -> bool:
    try:
        with (folder / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:  # of a release that did not lock them
        return False
    except BlockingIOError:
        return True
    return False
