"""
Every metric, declared once. Labels come from closed sets: never a path, an id or a key.

A worker gathers what it counts and writes it down a little later, many values at once, to files in
the folder that PROMETHEUS_MULTIPROC_DIR names (set before this module is imported). The process
that started the workers reads all of them for `/metrics`.
"""

import asyncio
import atexit
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.metrics_core import Metric

from service.obs import log as logs
from service.obs import metric_files
from service.obs.worker_files import WorkerFiles

log = structlog.get_logger()

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS: Final = (1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000)
# Long enough to gather a burst, short enough for a scrape to wait until all is written down.
_GATHER_S: Final = 0.02
_SCRAPE_DELAY_S: Final = 2 * _GATHER_S


class _Histogram(Histogram):
    """Takes many values for little more than the price of one."""

    def observe_all(self, amounts: list[float]) -> None:
        """Observe each of *amounts*, which are left in order."""
        amounts.sort()
        self._sum.inc(sum(amounts))
        counted = 0
        for bound, bucket in zip(self._upper_bounds, self._buckets, strict=True):
            up_to = bisect_right(amounts, bound)
            if up_to > counted:
                bucket.inc(up_to - counted)
                counted = up_to


_UNSHARED: Final = metric_files.reserve()

EVENTS: Final = Counter("forebay_events_total", "Events by outcome.", ["outcome"])
REQUEST_SECONDS: Final = _Histogram(
    "forebay_request_duration_seconds",
    "From the first byte seen to the answer sent, by endpoint and status.",
    ["endpoint", "status"],
    buckets=_SECONDS,
)
FLUSH_SECONDS: Final = _Histogram(
    "forebay_flush_duration_seconds", "Storing a batch, retries included.", buckets=_SECONDS
)
FLUSH_ROWS: Final = _Histogram("forebay_flush_rows", "Rows of a batch.", buckets=_ROWS)
FLUSH_FAULTS: Final = Counter(
    "forebay_flush_faults_total", "Failed tries to store a batch, by class of fault.", ["fault"]
)
QUEUE_ROWS: Final = Gauge(
    "forebay_queue_rows", "Rows that wait to be stored.", multiprocess_mode="livesum"
)
QUARANTINE_DROPPED: Final = Counter(
    "forebay_quarantine_dropped_total", "Refused events over a key's budget: answered, not kept."
)

STORE_UNAVAILABLE: Final = Gauge(
    "forebay_store_unavailable_workers",
    "Workers that cannot store events, by cause and by the setting or table it is about.",
    ["cause", "subject"],
    multiprocess_mode="livesum",
)

BACKGROUND_FAILURES: Final = Counter(
    "forebay_background_task_failures_total",
    "Background tasks that ended by themselves and were started again, by task.",
    ["task"],
)
PARTITIONS_AHEAD: Final = Gauge(
    "forebay_partitions_ahead_days",
    "Days after today whose events can be stored: 7, or less where partitions cannot be made.",
    multiprocess_mode="livemostrecent",
)
PARTITION_FAILURES: Final = Counter(
    "forebay_partition_failures_total",
    "Day partitions that could not be made, counted at each try, by table.",
    ["table"],
)
LOG_LINES_DROPPED: Final = Counter(
    "forebay_log_lines_dropped_total", "Log lines that were not written, by cause.", ["cause"]
)


class Metrics:
    """
    The measures of one worker.

    To count is to append to a list. What was counted is handed over together a little later, where
    there is a loop to do it; without one, at once.
    """

    def __init__(self) -> None:
        self._requests: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
        self._events: defaultdict[str, int] = defaultdict(int)
        self._flush_rows: list[float] = []
        self._flush_seconds: list[float] = []
        self._queued_rows: int | None = None
        self._is_due = False
        if _UNSHARED is not None:
            log.warning("metrics_not_shared", error=_UNSHARED.strerror)
        atexit.register(self.hand_over)  # a worker that ends has no later

    def request_answered(self, endpoint: str, status: int, duration_s: float) -> None:
        """Count one request."""
        self._requests[endpoint, status].append(duration_s)
        if not self._is_due:
            self._hand_over_soon()

    def events_ended(self, outcome: str, events: int) -> None:
        """Count events that ended alike."""
        self._events[outcome] += events
        if not self._is_due:
            self._hand_over_soon()

    def batch_flushed(self, rows: int, queued_rows: int, duration_s: float) -> None:
        """Count one flush, however it ended."""
        self._flush_rows.append(rows)
        self._flush_seconds.append(duration_s)
        self._queued_rows = queued_rows
        if not self._is_due:
            self._hand_over_soon()

    def flush_failed(self, fault: str) -> None:
        """Count one failed try."""
        FLUSH_FAULTS.labels(fault).inc()

    def quarantine_dropped(self, events: int) -> None:
        """Count refused events that were not kept."""
        QUARANTINE_DROPPED.inc(events)

    def store_unavailable(self, cause: str, subject: str, *, is_so: bool) -> None:
        """Note that this worker cannot store events for a cause, or that the cause is over."""
        STORE_UNAVAILABLE.labels(cause, subject).set(is_so)

    def background_task_failed(self, task: str) -> None:
        """Count one background task that ended and is started again."""
        BACKGROUND_FAILURES.labels(task).inc()

    def partitions_topped_up(self, days_ahead: int, failed_tables: list[str]) -> None:
        """Set the days ahead, and count one failure for each of *failed_tables*."""
        PARTITIONS_AHEAD.set(days_ahead)
        for table in failed_tables:
            PARTITION_FAILURES.labels(table).inc()

    def hand_over(self) -> None:
        """Write down what was gathered."""
        self._is_due = False
        requests, self._requests = self._requests, defaultdict(list)
        for (endpoint, status), seconds in requests.items():
            REQUEST_SECONDS.labels(endpoint, str(status)).observe_all(seconds)
        events, self._events = self._events, defaultdict(int)
        for outcome, count in events.items():
            EVENTS.labels(outcome).inc(count)
        if self._queued_rows is not None:
            FLUSH_ROWS.observe_all(self._flush_rows)
            FLUSH_SECONDS.observe_all(self._flush_seconds)
            QUEUE_ROWS.set(self._queued_rows)
            self._flush_rows, self._flush_seconds, self._queued_rows = [], [], None
        _count_dropped_lines()

    def _hand_over_soon(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.hand_over()
            return
        self._is_due = True
        loop.call_later(_GATHER_S, self.hand_over)


def _count_dropped_lines() -> None:
    for cause, lines in logs.take_dropped().items():
        LOG_LINES_DROPPED.labels(cause).inc(lines)


class MetricsServer:
    """Serves `/metrics` for all workers from a thread of this process."""

    def __init__(self, host: str, port: int, folder: Path) -> None:
        """OSError: the port is taken."""
        self._files = WorkerFiles(folder)
        registry = CollectorRegistry()
        registry.register(self)
        self._server, _thread = start_http_server(port, host, registry=registry)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_port)

    def collect(self) -> Iterable[Metric]:
        """Return every metric, for one scrape."""
        # What was answered before the question belongs in the answer, and may still be gathered.
        time.sleep(_SCRAPE_DELAY_S)
        _count_dropped_lines()  # of this process
        return self._files.collect()

    def worker_ended(self, pid: int) -> None:
        """Merge the ended worker's counters into the totals and remove its files and gauges."""
        self._files.worker_ended(pid)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
