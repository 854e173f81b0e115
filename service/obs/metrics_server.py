"""`/metrics` for all workers: reads their files, and merges the files of ended workers."""

import contextlib
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, start_http_server
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


class MetricsServer:
    """
    Serves `/metrics` from a thread of the parent process.

    Each worker writes files of its own. When it has ended, its counts are added to one file for all
    ended workers, so that there are no more files than workers; its gauges are removed.
    """

    def __init__(self, host: str, port: int, folder: Path) -> None:
        """Listen on *host* and *port*; raise OSError if the port is taken."""
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
        self._server, _thread = start_http_server(port, host, registry=registry)

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
