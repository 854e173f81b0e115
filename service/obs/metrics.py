"""
Every metric, declared once. Labels come from closed sets: never a path, an id or a key.

The workers write to files in the folder that PROMETHEUS_MULTIPROC_DIR names (set before this
module is imported); the process that started them reads all of them for `/metrics`.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS: Final = (1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000)
_PID: Final = re.compile(r"_(\d+)\.db$")

EVENTS: Final = Counter("forebay_events_total", "Events by outcome.", ["outcome"])
REQUEST_SECONDS: Final = Histogram(
    "forebay_request_duration_seconds",
    "From the first byte seen to the answer sent, by endpoint and status.",
    ["endpoint", "status"],
    buckets=_SECONDS,
)
FLUSH_SECONDS: Final = Histogram(
    "forebay_flush_duration_seconds", "Storing a batch, retries included.", buckets=_SECONDS
)
FLUSH_ROWS: Final = Histogram("forebay_flush_rows", "Rows of a batch.", buckets=_ROWS)
FLUSH_FAULTS: Final = Counter(
    "forebay_flush_faults_total", "Failed tries to store a batch, by class of fault.", ["fault"]
)
QUEUE_ROWS: Final = Gauge(
    "forebay_queue_rows", "Rows that wait to be stored.", multiprocess_mode="livesum"
)
QUARANTINE_DROPPED: Final = Counter(
    "forebay_quarantine_dropped_total", "Refused events over a key's budget: answered, not kept."
)


class Metrics:
    """The measures of one worker, with its labels bound once."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, int], Histogram] = {}
        self._events: dict[str, Counter] = {}
        self._faults: dict[str, Counter] = {}

    def request_answered(self, endpoint: str, status: int, duration_s: float) -> None:
        """Count one request."""
        histogram = self._requests.get((endpoint, status))
        if histogram is None:
            histogram = REQUEST_SECONDS.labels(endpoint, str(status))
            self._requests[endpoint, status] = histogram
        histogram.observe(duration_s)

    def events_ended(self, outcome: str, events: int) -> None:
        """Count events that ended alike."""
        counter = self._events.get(outcome)
        if counter is None:
            counter = self._events[outcome] = EVENTS.labels(outcome)
        counter.inc(events)

    def batch_flushed(self, rows: int, queued_rows: int, duration_s: float) -> None:
        """Count one flush, however it ended."""
        FLUSH_ROWS.observe(rows)
        FLUSH_SECONDS.observe(duration_s)
        QUEUE_ROWS.set(queued_rows)

    def flush_failed(self, fault: str) -> None:
        """Count one failed try."""
        counter = self._faults.get(fault)
        if counter is None:
            counter = self._faults[fault] = FLUSH_FAULTS.labels(fault)
        counter.inc()

    def quarantine_dropped(self, events: int) -> None:
        """Count refused events that were not kept."""
        QUARANTINE_DROPPED.inc(events)


class _AllWorkers:
    """Collects the files of all workers, after those of dead ones have been set aside."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = MultiProcessCollector(None, path=str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        for path in self._folder.glob("gauge_live*.db"):
            pid = _PID.search(path.name)
            # A worker that crashed leaves its gauges, and they would be counted for ever.
            if pid is not None and not _is_alive(int(pid[1])):
                mark_process_dead(int(pid[1]), path=str(self._folder))  # type: ignore[no-untyped-call]
        yield from self._files.collect()  # type: ignore[no-untyped-call]


def serve_metrics(host: str, port: int, folder: Path) -> WSGIServer:
    """Serve `/metrics` for all workers from a thread of this process; OSError: port taken."""
    registry = CollectorRegistry()
    registry.register(_AllWorkers(folder))
    server, _thread = start_http_server(port, host, registry=registry)
    return server


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
