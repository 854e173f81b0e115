"""
The HTTP server: Granian's workers, with listening sockets that the parent process opens.

By default each Granian worker opens its own listening socket, and when the worker ends, the kernel
resets the connections that the worker has not accepted. Here the parent opens one listening socket
for each worker slot, and the next worker of the slot uses the same socket. See
docs/decisions/0021-worker-processes.md.
"""

import contextlib
import math
import multiprocessing
import os
import socket
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Final

import msgspec
from granian._granian import ListenerSpec
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.mp import MPServer

from service.config import Config
from service.file_limit import raise_file_limit
from service.memory import configure_allocator
from service.obs import key_labels
from service.parent import Link
from service.pipeline import rate_limits
from service.shared_memory import SharedMemory
from service.workers import Workers

_BACKLOG: Final = 2048
# `socket.fromfd` requires these arguments.
_TCP: Final = (socket.AF_INET, socket.SOCK_STREAM)
# Sends Granian's log records to our JSON handler; by default Granian writes plain text.
_LOGS_AS_OURS: Final = {"loggers": {"_granian": {"propagate": True}}}


class _Server(MPServer):
    """Granian's server with our worker loop (`Workers`)."""

    workers_of_ours: Workers

    def _serve(self, spawn_target: Any, _loader: Any) -> None:
        self._ssp, self._sso = None, None
        self._spawn_target = spawn_target
        self._listeners: dict[int, Any] = {}
        self._shared = SharedMemory(rate_limits.MEMORY_BYTES + key_labels.MEMORY_BYTES)
        self.workers_of_ours.run(self)

    def make(self, number: int, ready: Connection) -> BaseProcess:
        """Create a worker process with the listening socket of its slot."""
        if number not in self._listeners:
            # The socket is bound here. It listens when its first worker is ready.
            spec = ListenerSpec(self.bind_addr, self.bind_port, self.backlog)
            self._listeners[number] = spec.build()
        listener = self._shd = self._listeners[number]
        loader = partial(_load, Link(listener.get_fd(), ready), self._shared)
        process: BaseProcess = self._spawn_worker(number, self._spawn_target, loader).inner
        return process

    def refuse(self, number: int) -> None:
        """
        Shut down the listening socket of a slot, so that clients reach the other slots.

        It is not enough to close the parent's descriptor, because workers have the socket open too.
        The socket stays bound, and the next worker that is ready listens on it again.
        """
        listener = self._listeners.get(number)
        if listener is not None:
            # OSError: no descriptor is free. The method is called again when another worker ends.
            with contextlib.suppress(OSError), socket.fromfd(listener.get_fd(), *_TCP) as shut:
                # A socket that does not listen would stay shut down after the next `listen`.
                if shut.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    shut.shutdown(socket.SHUT_RDWR)

    def close(self, number: int) -> None:
        """Close the parent's descriptor of the listening socket of a slot."""
        listener = self._listeners.pop(number, None)
        if listener is not None:
            os.close(listener.get_fd())


def granian_options(settings: Config) -> dict[str, Any]:
    """Return the options of the HTTP server."""
    return {
        "address": settings.host,
        "port": settings.port,
        "interface": Interfaces.ASGI,
        "workers": settings.workers,
        "loop": Loops.uvloop,
        "http": HTTPModes.http1,
        "websockets": False,
        "backlog": _BACKLOG,
        # Connections of a worker. At this limit Granian accepts none; `Connections` keeps room.
        "backpressure": settings.connections_max,
        "http1_settings": HTTP1Settings(
            # Granian closes idle connections at this timeout.
            header_read_timeout=math.ceil(settings.idle_timeout_s * 1000),
            max_buffer_size=settings.read_buffer_bytes,
        ),
        "log_level": LogLevels.warning,
        "log_dictconfig": _LOGS_AS_OURS,
    }


def serve(
    settings: Config, on_end: Callable[[int], None], on_report: Callable[[int, bytes], None]
) -> None:
    """
    Serve until SIGTERM or SIGINT.

    *on_end* gets the process id of each worker that has ended; *on_report* gets the process id of a
    worker and its report.
    """
    connections_max = raise_file_limit(settings.connections_max)
    settings = msgspec.structs.replace(settings, connections_max=connections_max)
    # Spawned workers, unlike forked ones, inherit no locks of threads and no open connections.
    multiprocessing.set_start_method("spawn", force=True)
    configure_allocator(os.environ)
    server = _Server("service.app:create", **granian_options(settings))
    server.workers_of_ours = Workers(settings.workers, settings.drain_timeout_s, on_end, on_report)
    server.serve()


def _load(link: Link, shared: Any) -> Any:
    """Return the application; this is called in each worker, where *shared* is a mapping."""
    from service.app import create  # noqa: PLC0415 - the parent does not need it

    return create(link, shared)
