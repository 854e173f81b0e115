"""
Locks that a child process inherits: they find a child whose parent was killed.

The kernel frees such a lock when the last process that has it ends. A process id could also be that
of a zombie, or of a later program.
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
    """Lend a descriptor of the file, not locked yet."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Take the lock and return True; return False when another process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def take_over(descriptor: int, stop: Callable[[], None], timeout_s: float) -> bool:
    """
    Take the lock, from a process that an earlier start has left as well.

    *stop* asks that process to stop. Return False when it has the lock after *timeout_s* seconds.
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
