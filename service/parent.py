"""
A worker's connection to its parent: the listening socket, the signals, the end of the parent.

If the parent exits or is killed, its workers exit too. multiprocessing gives each worker the read
end of a pipe; it becomes readable when the parent has exited.
"""

import asyncio
import contextlib
import math
import multiprocessing
import os
import select
import signal
import socket
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any, Final

import structlog

log = structlog.get_logger()

# How long a worker may take to end after its drain timeout before it is killed, in seconds.
KILL_GRACE_S: Final = 5.0
# Tells a worker to accept no connections, and to close each one after its next answer.
LEAVE: Final = signal.SIGUSR1
# Sent with SIGTERM, which the HTTP server handles: tells a worker to end connections that have no
# request in progress.
STOP: Final = signal.SIGUSR2


class Link:
    """What a worker gets from its parent: the listening socket, and a pipe for its reports."""

    def __init__(self, listener: int, ready: Connection) -> None:
        """Take the descriptor of the listening socket, and the write end of the pipe."""
        self._listener = listener
        self._identity = _identity(listener)
        self._ready = ready

    def __reduce__(self) -> Any:
        """Pickle the link so that the process that unpickles it inherits both descriptors."""
        return _inherited, (DupFd(self._listener), self._ready)

    def place(self) -> tuple[socket.AddressFamily, int]:
        """Return family and port of the listening socket."""
        with socket.socket(fileno=os.dup(self._listener)) as listener:
            return listener.family, int(listener.getsockname()[1])

    def say_ready(self) -> None:
        """Tell the parent that this worker accepts requests."""
        try:
            self._ready.send_bytes(b"ready")
        except BrokenPipeError:  # the parent has ended; `_watch` handles that
            self._ready.close()
        else:
            os.set_blocking(self._ready.fileno(), False)

    def report(self, message: bytes) -> None:
        """Send a report to the parent, unless the parent has stopped reading."""
        if not self._ready.closed:
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                self._ready.send_bytes(message)

    def stop_accepting(self) -> None:
        """
        Accept no further connections; the accepted ones are served. Other workers accept the rest.

        Granian itself cannot do this: when it stops, it closes connections whose request is
        incomplete. Therefore the listening socket is removed from Granian's epoll. On a system
        without /proc this method changes nothing.
        """
        # A worker that is stopping has closed the socket. Its descriptor may be a connection now.
        if _identity(self._listener) != self._identity:
            return
        for queue in _event_queues(self._listener):
            # Duplicated, because select.epoll closes its descriptor.
            with contextlib.suppress(OSError), select.epoll.fromfd(os.dup(queue)) as events:
                events.unregister(self._listener)


def _inherited(listener: Any, ready: Connection) -> Link:
    return Link(listener.detach(), ready)


def _identity(descriptor: int) -> tuple[int, int] | None:
    """Return device and inode of an open file; None if the descriptor is closed."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _event_queues(watched: int) -> list[int]:
    """Return the epoll descriptors of this process that watch the descriptor *watched*."""
    found = []
    with contextlib.suppress(OSError):
        for entry in Path("/proc/self/fdinfo").iterdir():
            with contextlib.suppress(OSError):
                lines = entry.read_text().splitlines()
                watches = [line.split()[1] for line in lines if line.startswith("tfd:")]
                if str(watched) in watches:
                    found.append(int(entry.name))
    return found


def exit_with_parent() -> None:
    """From now on exit at once when the parent ends: a starting worker has no requests."""
    _watch(partial(os._exit, 1))


def drain_with_parent(timeout_s: float) -> None:
    """From now on, when the parent ends, finish the requests (*timeout_s* at most) and exit."""
    _watch(partial(_drain, timeout_s))


def _watch(end: Callable[[], None]) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        # An event loop has one reader per descriptor, so a second call replaces the first.
        asyncio.get_running_loop().add_reader(parent.sentinel, end)


def _drain(timeout_s: float) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - `_watch` found a parent
    asyncio.get_running_loop().remove_reader(parent.sentinel)
    # If this worker hangs, no parent kills it. SIGALRM from the kernel kills it instead.
    signal.alarm(math.ceil(timeout_s + KILL_GRACE_S))
    # The parent stops a worker by the same signals.
    for number in (STOP, signal.SIGTERM):
        os.kill(os.getpid(), number)
    log.error("parent_gone", pid=os.getpid())
