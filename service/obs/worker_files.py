"""Metrics files of the workers: read together, and merged when a worker has ended."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from service.obs.metric_files import take_room

_ADDED_UP: Final = ("counter", "histogram", "summary")
# Takes the place of a process id in the name of a file.
_ENDED: Final = "ended"


class WorkerFiles:
    """
    Collects the metrics of all workers, those that have ended included.

    Each worker writes files of its own. When it has ended, its counts are added to one file for all
    that have ended, so there are no more files than workers; its gauges go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = MultiProcessCollector(None, path=str(folder))  # type: ignore[no-untyped-call]
        # Between two steps of a merge the counts would be there twice, or not at all.
        self._lock = threading.Lock()
        # Without room, counts of ended workers are not kept: to write there would end this process.
        with contextlib.suppress(OSError):
            take_room(folder, _ENDED)

    def collect(self) -> Iterator[Metric]:
        """Return every metric."""
        with self._lock:
            yield from list(self._files.collect())  # type: ignore[no-untyped-call]

    def worker_ended(self, pid: int) -> None:
        """Add the counts of an ended worker to those of the others that have ended."""
        with self._lock:
            for path in self._folder.glob(f"*_{pid}.db"):
                kind = path.name.partition("_")[0]
                total = self._folder / f"{kind}_{_ENDED}.db"
                if kind in _ADDED_UP and total.exists():
                    _add(path, total)
                path.unlink()


def _add(path: Path, total_path: Path) -> None:
    total = MmapedDict(str(total_path))  # type: ignore[no-untyped-call]
    try:
        values = MmapedDict.read_all_values_from_file(str(path))  # type: ignore[no-untyped-call]
        for key, value, timestamp, _ in values:
            total.write_value(key, total.read_value(key)[0] + value, timestamp)  # type: ignore[no-untyped-call]
    finally:
        total.close()  # type: ignore[no-untyped-call]
