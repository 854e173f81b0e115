"""
`/metrics` and `/health` for all workers, from the parent process.

It reads the metrics files of all workers, and merges the files of ended workers.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path
from socket import AF_INET6
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from service.obs.metrics import WRITE_DELAY_S, count_dropped_lines
from service.obs.metrics_folder import allocate_files

_ADDED_UP: Final = ("counter", "histogram", "summary")
# In a file name, in place of the process id.
_ENDED: Final = "ended"
# A worker writes what it has counted after WRITE_DELAY_S.
_SCRAPE_DELAY_S: Final = 2 * WRITE_DELAY_S


class _Server(ThreadingMixIn, WSGIServer):
    """Serves each connection in a thread."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: the client has ended its connection, or has sent no request in time."""


class _Server6(_Server):
    address_family = AF_INET6


class _Handler(WSGIRequestHandler):
    """Writes no log lines; ends a connection without a request."""

    timeout = 10.0

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base
        """Do nothing."""


class MetricsServer:
    """
    Serves `/metrics` and `/health` from threads of the parent process.

    Each worker writes files of its own. When it has ended, its counts are added to one file for all
    ended workers, so that there are no more files than workers; its gauges are removed.
    """

    def __init__(
        self,
        host: str,
        port: int,
        folder: Path,
        health: Callable[[str], tuple[int, bytes] | None] = lambda _path: None,
    ) -> None:
        """
        Listen on *host* and *port*; raise OSError if the port is taken.

        *health* returns status and JSON for a path, None if the path is not one of its own.
        """
        self._folder = folder
        self._files = MultiProcessCollector(None, path=str(folder))  # type: ignore[no-untyped-call]
        # A scrape during a merge would count an ended worker twice, or not at all.
        self._lock = threading.Lock()
        # OSError: the disk is full. The counts of ended workers are lost then, because a write to a
        # file without allocated space can end this process.
        with contextlib.suppress(OSError):
            allocate_files(folder, _ENDED)
        registry = CollectorRegistry()
        registry.register(self)
        self._health = health
        self._metrics = make_wsgi_app(registry)
        kind = _Server6 if ":" in host else _Server
        self._server = make_server(host, port, self._answer, kind, _Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_port)

    def collect(self) -> Iterable[Metric]:
        """Return every metric, for one scrape."""
        # Requests that were answered before the scrape must be in it.
        time.sleep(_SCRAPE_DELAY_S)
        count_dropped_lines()  # of this process
        with self._lock:
            return list(self._files.collect())  # type: ignore[no-untyped-call]

    def worker_ended(self, pid: int) -> None:
        """Add the counts of an ended worker to the totals, and remove its files."""
        with self._lock:
            for path in self._folder.glob(f"*_{pid}.db"):
                kind = path.name.partition("_")[0]
                total = self._folder / f"{kind}_{_ENDED}.db"
                if kind in _ADDED_UP and total.exists():
                    _add(path, total)
                path.unlink()

    def _answer(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        health = self._health(environ["PATH_INFO"])
        if health is None:
            metrics: Iterable[bytes] = self._metrics(environ, start_response)
            return metrics
        status, body = health
        start_response(
            f"{status} {HTTPStatus(status).phrase}",
            [("Content-Type", "application/json"), ("Content-Length", str(len(body)))],
        )
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def _add(path: Path, total_path: Path) -> None:
    total = MmapedDict(str(total_path))  # type: ignore[no-untyped-call]
    try:
        values = MmapedDict.read_all_values_from_file(str(path))  # type: ignore[no-untyped-call]
        for key, value, timestamp, _ in values:
            total.write_value(key, total.read_value(key)[0] + value, timestamp)  # type: ignore[no-untyped-call]
    finally:
        total.close()  # type: ignore[no-untyped-call]
