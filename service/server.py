"""
The HTTP server: Granian's workers, on listening sockets that outlive them.

By itself a worker of Granian makes its own listening socket, and the kernel resets the connections
that wait in it when the worker ends. Here the parent makes one for each place of a worker, and a
worker hands it to its successor. See docs/decisions/0021-worker-processes.md.
"""

import contextlib
import multiprocessing
import os
import socket
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Final

from granian._granian import ListenerSpec
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.mp import MPServer

from service.config import Config
from service.memory import configure_allocator
from service.parent import Link
from service.workers import Workers

_BACKLOG: Final = 2048
# `socket.fromfd` requires these arguments.
_TCP: Final = (socket.AF_INET, socket.SOCK_STREAM)
# This timeout also closes idle keep-alive connections, so it must exceed the load balancer's idle
# timeout.
_HEADER_TIMEOUT_MS: Final = 75_000
# Sends Granian's log records through our JSON handler; by default Granian writes plain text.
_LOGS_AS_OURS: Final = {"loggers": {"_granian": {"propagate": True}}}


class _Server(MPServer):
    """Granian's server with our worker loop (`Workers`)."""

    workers_of_ours: Workers

    def _serve(self, spawn_target: Any, _loader: Any) -> None:
        self._ssp, self._sso = None, None
        self._spawn_target = spawn_target
        self._listeners: dict[int, Any] = {}
        self.workers_of_ours.run(self)

    def make(self, number: int, ready: Connection) -> BaseProcess:
        """Make a worker process, on the listening socket of its predecessor if there is one."""
        if number not in self._listeners:
            # Bound here; it listens when its first worker is ready.
            spec = ListenerSpec(self.bind_addr, self.bind_port, self.backlog)
            self._listeners[number] = spec.build()
        listener = self._shd = self._listeners[number]
        loader = partial(_load, Link(listener.get_fd(), ready))
        process: BaseProcess = self._spawn_worker(number, self._spawn_target, loader).inner
        return process

    def refuse(self, number: int) -> None:
        """
        Shut the listening socket of a place down, so that clients reach the other places.

        Closing the parent's descriptor is not enough: workers have the socket open too. The socket
        stays bound, and the next worker that is ready listens on it again.
        """
        listener = self._listeners.get(number)
        if listener is not None:
            # OSError: no descriptor is free; it is retried when the next worker ends.
            with contextlib.suppress(OSError), socket.fromfd(listener.get_fd(), *_TCP) as shut:
                # A socket that does not listen would stay shut down after the next `listen`.
                if shut.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    shut.shutdown(socket.SHUT_RDWR)

    def close(self, number: int) -> None:
        """Close the parent's descriptor of the listening socket of a place."""
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
        # Requests above this limit would wait uncounted in Granian; the queue's limits shed and
        # count them.
        "backpressure": _BACKLOG,
        "http1_settings": HTTP1Settings(
            header_read_timeout=_HEADER_TIMEOUT_MS, max_buffer_size=settings.read_buffer_bytes
        ),
        "log_level": LogLevels.warning,
        "log_dictconfig": _LOGS_AS_OURS,
    }


def serve(settings: Config, on_end: Callable[[int], None]) -> None:
    """Serve until told to stop; *on_end* gets the process id of each worker that has ended."""
    # Spawned workers, unlike forked ones, inherit no locks of threads and no open connections.
    multiprocessing.set_start_method("spawn", force=True)
    configure_allocator(os.environ)
    server = _Server("service.app:create", **granian_options(settings))
    server.workers_of_ours = Workers(settings.workers, settings.drain_timeout_s, on_end)
    server.serve()


def _load(link: Link) -> Any:
    """Return the application; this is called in each worker."""
    from service.app import create  # noqa: PLC0415 - the parent does not need it

    return create(link)
