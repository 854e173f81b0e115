"""
File locks that child processes inherit. They show whether children of a killed parent still run.

The kernel releases such a lock when the last process that inherited it ends. A process id proves
less: it may belong to a zombie or to a later program.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

_POLL_S: Final = 0.02


@contextlib.contextmanager
def lock_file(path: Path) -> Iterator[int]:
    """Open the file for a `with` block and yield its descriptor, without locking it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Take the lock and return True; return False if another process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def take_over(descriptor: int, stop: Callable[[], None], timeout_s: float) -> bool:
    """
    Take the lock, and stop the process that has it if there is one.

    *stop* tells that process to stop. Return False if it has the lock after *timeout_s* seconds.
    """
    if try_lock(descriptor):
        return True
    stop()
    deadline = time.monotonic() + timeout_s
    while not try_lock(descriptor):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
