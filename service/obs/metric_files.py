"""
The files through which a process shares its metrics with the parent of the workers.

prometheus_client maps them into memory. Where the disk has no room for a page that is written to
for the first time, the kernel ends the process with SIGBUS: so the room is taken before.
"""

import os
from pathlib import Path
from typing import Final

from prometheus_client import values

_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
# prometheus_client never makes a file smaller than 64 KiB. The histograms have room for every
# endpoint with every status.
_SIZES: Final = {
    "counter": 64 << 10,
    "gauge_livesum": 64 << 10,
    "gauge_livemostrecent": 64 << 10,
    "histogram": 512 << 10,
}


def reserve() -> OSError | None:
    """
    Take the room of this process's files. Call it before the first metric is declared.

    Returns the error where there is no room: this process then counts in its own memory;
    `/metrics` does not include it.
    """
    folder = os.environ.get(_FOLDER)
    if folder is None:
        return None
    try:
        take_room(Path(folder), str(os.getpid()))
    except OSError as error:
        values.ValueClass = values.MutexValue
        return error
    return None


def take_room(folder: Path, owner: str) -> None:
    """Make the files of *owner* in *folder*; OSError: there is no room, and none is made."""
    paths = {folder / f"{kind}_{owner}.db": size for kind, size in _SIZES.items()}
    try:
        for path, size in paths.items():
            with path.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, size)
    except OSError:
        for path in paths:
            path.unlink(missing_ok=True)
        raise
