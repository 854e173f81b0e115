"""Locks of a `forebay dev` folder, and the service that a killed `forebay dev` left behind."""

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from provision.errors import ProvisionError

_OWN: Final = "lock"
# The service holds this lock too; the file contains the service's process id.
_SERVICE: Final = "service.lock"
_STOP_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.05
_PID_BYTES: Final = 20


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[int]:
    """
    Keep a second `forebay dev` off the folder; lend the lock that the service is to inherit.

    Locks go with the processes that hold them, however those end.

    Raises
    ------
    ProvisionError
        Another one runs on this folder.
    """
    with _opened(folder / _OWN) as own, _opened(folder / _SERVICE) as service:
        if not (_is_taken(own) and _is_taken(service)):
            raise ProvisionError(
                f"another `forebay dev` runs on {folder}: stop it, "
                "or choose another folder with --data-dir"
            )
        os.ftruncate(service, 0)
        yield service


def name_service(lock: int, pid: int) -> None:
    """Write down which process inherited the lock."""
    os.pwrite(lock, str(pid).encode(), 0)


def stop_leftover(folder: Path) -> None:
    """Stop the service that a killed `forebay dev` left on this folder: it would hold the ports."""
    if not (folder / _SERVICE).exists():
        return
    with _opened(folder / _OWN) as own, _opened(folder / _SERVICE) as service:
        if not _is_taken(own) or _is_taken(service):
            return  # a `forebay dev` runs, or nothing is left over
        # Empty if `forebay dev` was killed before it wrote the process id.
        pid = os.pread(service, _PID_BYTES, 0)
        if pid:
            _stop(int(pid), service)


def _stop(pid: int, lock: int) -> None:
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        if _is_taken(lock):
            return
        time.sleep(_POLL_S)
    os.killpg(pid, signal.SIGKILL)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_taken(lock: int) -> bool:
    """Take the lock, and return whether it is ours now."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
