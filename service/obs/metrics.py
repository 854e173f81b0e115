"""
Every metric, declared once. Label values are from closed sets: no paths and no secrets.

A worker collects its counts in memory and writes many of them at once, to files in the folder that
PROMETHEUS_MULTIPROC_DIR names (set before this module is imported). The parent process reads the
files of all workers for `/metrics`.
"""

import asyncio
import atexit
import os
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import Counter, Gauge, Histogram, values

from service.obs import log as logs
from service.obs.metrics_folder import FOLDER_VARIABLE, allocate_files

log = structlog.get_logger()

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS: Final = (1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000)
WRITE_DELAY_S: Final = 0.02
"""How long counts stay in memory, in seconds. A scrape waits for longer than that."""


class _Histogram(Histogram):
    """
    A histogram that observes many values at little more than the cost of one.

    Uses internals of prometheus_client (docs/decisions/0026-library-internals.md).
    """

    def observe_all(self, amounts: list[float]) -> None:
        """Observe each of *amounts*, and sort the list."""
        amounts.sort()
        self._sum.inc(sum(amounts))
        counted = 0
        for bound, bucket in zip(self._upper_bounds, self._buckets, strict=True):
            up_to = bisect_right(amounts, bound)
            if up_to > counted:
                bucket.inc(up_to - counted)
                counted = up_to


def _allocate_own_files() -> OSError | None:
    """
    Allocate the files of this process, before the first metric is declared.

    Return the error if there is no disk space: then this process counts in its own memory, and
    `/metrics` does not include it.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is None:
        return None
    try:
        allocate_files(Path(folder), str(os.getpid()))
    except OSError as error:
        values.ValueClass = values.MutexValue
        return error
    return None


_ALLOCATION_ERROR: Final = _allocate_own_files()

EVENTS: Final = Counter("forebay_events_total", "Events by outcome.", ["outcome"])
REQUEST_SECONDS: Final = _Histogram(
    "forebay_request_duration_seconds",
    "Time from the request to its answer, in seconds, by endpoint and status.",
    ["endpoint", "status"],
    buckets=_SECONDS,
)
REQUESTS_REFUSED: Final = Counter(
    "forebay_refused_requests_total", "Requests that were refused as a whole, by code.", ["code"]
)
REJECTED_EVENTS: Final = Counter(
    "forebay_rejected_events_total",
    "Rejected and conflicting events, by key and code.",
    ["key", "code"],
)
KEY_REFUSED: Final = Counter(
    "forebay_key_refused_requests_total",
    "Requests of a key that were refused as a whole, by code.",
    ["key", "code"],
)
FLUSH_SECONDS: Final = _Histogram(
    "forebay_flush_duration_seconds", "Seconds of a flush, with retries.", buckets=_SECONDS
)
FLUSH_ROWS: Final = _Histogram("forebay_flush_rows", "Rows of a flush.", buckets=_ROWS)
FLUSH_FAULTS: Final = Counter(
    "forebay_flush_faults_total", "Failed attempts to store a flush, by class.", ["fault"]
)
QUEUE_ROWS: Final = Gauge(
    "forebay_queue_rows", "Rows in the queues of all workers.", multiprocess_mode="livesum"
)
QUEUE_REFUSED: Final = Counter(
    "forebay_queue_refused_total", "Requests refused with `overloaded`, by cause.", ["cause"]
)
HEAVY_KEYS: Final = Gauge(
    "forebay_heavy_keys",
    "Keys whose events are stored apart from those of the other keys, summed over workers.",
    multiprocess_mode="livesum",
)
SCAN_WAITS: Final = Counter(
    "forebay_scan_waits_total", "Bodies that waited for their turn to be scanned."
)
BODIES_REFUSED: Final = Counter(
    "forebay_bodies_refused_total",
    "Requests refused because incomplete bodies take too much memory, by limit.",
    ["limit"],
)
QUARANTINE_DROPPED: Final = Counter(
    "forebay_quarantine_dropped_total",
    "Rejected events not stored in quarantine, by the limit that was reached.",
    ["cause"],
)
QUARANTINE_BYTES: Final = Gauge(
    "forebay_quarantine_bytes",
    "Disk space of rejected_events, measured every 5 s.",
    multiprocess_mode="livemostrecent",
)

CONNECTIONS: Final = Gauge(
    "forebay_client_connections", "Open connections of clients.", multiprocess_mode="livesum"
)
CONNECTIONS_ENDED: Final = Counter(
    "forebay_client_connections_ended_total",
    "Connections of clients that the service ended before its idle timeout, by reason.",
    ["reason"],
)
REQUESTS_OVER_LIMIT: Final = Counter(
    "forebay_requests_over_limit_total",
    "Requests refused because too many were in progress in a worker.",
)
DATABASE_CONNECTIONS: Final = Gauge(
    "forebay_database_connections",
    "Connections to the database, by state, measured every 5 s.",
    ["state"],
    multiprocess_mode="livesum",
)
KEY_LOOKUPS: Final = Counter(
    "forebay_key_lookups_total", "Keys looked up in the database, by result.", ["result"]
)
UNAUTHORIZED_DELAYED: Final = Counter(
    "forebay_unauthorized_delayed_total", "Answers 401 that were delayed."
)
WORKERS_MEMORY: Final = Gauge(
    "forebay_workers_memory_bytes",
    "Resident memory of all workers together, measured every 5 s.",
    multiprocess_mode="livesum",
)

STORE_UNAVAILABLE: Final = Gauge(
    "forebay_store_unavailable_workers",
    "Workers that cannot store events, by cause, and by the setting or table concerned.",
    ["cause", "subject"],
    multiprocess_mode="livesum",
)

BACKGROUND_FAILURES: Final = Counter(
    "forebay_background_task_failures_total",
    "Restarts of background tasks that ended by themselves, by task.",
    ["task"],
)
PARTITIONS_AHEAD: Final = Gauge(
    "forebay_partitions_ahead_days",
    "Days after today whose events can be stored: 7, or fewer if partitions are missing.",
    multiprocess_mode="livemostrecent",
)
PARTITION_FAILURES: Final = Counter(
    "forebay_partition_failures_total",
    "Failed attempts to create a day partition, by table.",
    ["table"],
)
LOG_LINES_DROPPED: Final = Counter(
    "forebay_log_lines_dropped_total", "Log lines that were not written, by cause.", ["cause"]
)


_Counts = defaultdict[str | tuple[str, str], int]
"""Counts by label, or by two labels."""


class Metrics:
    """
    Counts what happens in one worker.

    Counts are collected in memory, and written together WRITE_DELAY_S later by the event loop;
    without a loop they are written at once.
    """

    def __init__(self) -> None:
        self._requests: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
        self._refused = _Counts(int)
        self._events = _Counts(int)
        self._rejected = _Counts(int)
        self._key_refused = _Counts(int)
        self._dropped = _Counts(int)
        self._lookups = _Counts(int)
        self._counts: Final = (
            (self._refused, REQUESTS_REFUSED),
            (self._events, EVENTS),
            (self._rejected, REJECTED_EVENTS),
            (self._key_refused, KEY_REFUSED),
            (self._dropped, QUARANTINE_DROPPED),
            (self._lookups, KEY_LOOKUPS),
        )
        self._delayed = 0
        self._flush_rows: list[float] = []
        self._flush_seconds: list[float] = []
        self._queued_rows: int | None = None
        self._is_scheduled = False
        if _ALLOCATION_ERROR is not None:
            log.warning("metrics_not_shared", error=_ALLOCATION_ERROR.strerror)
        atexit.register(self.write)  # after its end the event loop calls no timer

    def request_answered(self, endpoint: str, status: int, duration_s: float) -> None:
        """Count one request."""
        self._requests[endpoint, status].append(duration_s)
        if not self._is_scheduled:
            self._schedule_write()

    def request_refused(self, code: str) -> None:
        """Count one request that was refused as a whole."""
        self._refused[code] += 1
        if not self._is_scheduled:
            self._schedule_write()

    def events_ended(self, outcome: str, events: int) -> None:
        """Count events with the same outcome."""
        self._events[outcome] += events
        if not self._is_scheduled:
            self._schedule_write()

    def events_rejected(self, key_label: str, code: str, events: int) -> None:
        """Count events of a key that were rejected or are in conflict (`key_labels`)."""
        self._rejected[key_label, code] += events
        if not self._is_scheduled:
            self._schedule_write()

    def key_refused(self, key_label: str, code: str) -> None:
        """Count one request of a key that was refused as a whole."""
        self._key_refused[key_label, code] += 1
        if not self._is_scheduled:
            self._schedule_write()

    def batch_flushed(self, rows: int, queued_rows: int, duration_s: float) -> None:
        """Count one flush, failed ones included; *duration_s* in seconds."""
        self._flush_rows.append(rows)
        self._flush_seconds.append(duration_s)
        self._queued_rows = queued_rows
        if not self._is_scheduled:
            self._schedule_write()

    def flush_failed(self, fault: str) -> None:
        """Count one failed attempt of a flush."""
        FLUSH_FAULTS.labels(fault).inc()

    def payloads_refused(self, cause: str, payloads: int) -> None:
        """Count requests that the queue refused."""
        QUEUE_REFUSED.labels(cause).inc(payloads)

    def heavy_keys_changed(self, keys: int) -> None:
        """Set the number of heavy keys of this worker."""
        HEAVY_KEYS.set(keys)

    def scan_waited(self) -> None:
        """Count one body that waited for its turn."""
        SCAN_WAITS.inc()

    def connections_swept(self, connections: int, ended: Mapping[str, int]) -> None:
        """Set the number of connections of clients, and count those that were ended."""
        CONNECTIONS.set(connections - sum(ended.values()))
        for reason, count in ended.items():
            CONNECTIONS_ENDED.labels(reason).inc(count)

    def request_over_limit(self) -> None:
        """Count one request that was refused because too many were in progress."""
        REQUESTS_OVER_LIMIT.inc()

    def quarantine_dropped(self, cause: str) -> None:
        """Count one rejected event that was not stored in quarantine."""
        self._dropped[cause] += 1
        if not self._is_scheduled:
            self._schedule_write()

    def measured(self, quarantine_bytes: int | None, *, open_: int, idle: int) -> None:
        """Set the size of the quarantine (None: unknown) and the number of connections."""
        if quarantine_bytes is not None:
            QUARANTINE_BYTES.set(quarantine_bytes)
        DATABASE_CONNECTIONS.labels("in_use").set(open_ - idle)
        DATABASE_CONNECTIONS.labels("idle").set(idle)

    def keys_looked_up(self, result: str, keys: int) -> None:
        """Count look-ups of keys with the same result."""
        self._lookups[result] += keys
        if not self._is_scheduled:
            self._schedule_write()

    def unauthorized_delayed(self) -> None:
        """Count one answer 401 that was delayed."""
        self._delayed += 1
        if not self._is_scheduled:
            self._schedule_write()

    def body_refused(self, limit: str) -> None:
        """Count one request whose body would have taken too much memory."""
        BODIES_REFUSED.labels(limit).inc()

    def memory_measured(self, resident_bytes: int) -> None:
        """Set the memory of this worker."""
        WORKERS_MEMORY.set(resident_bytes)

    def store_unavailable(self, cause: str, subject: str, *, is_so: bool) -> None:
        """Set whether this worker cannot store events for this cause."""
        STORE_UNAVAILABLE.labels(cause, subject).set(is_so)

    def background_task_failed(self, task: str) -> None:
        """Count one background task that ended and is restarted."""
        BACKGROUND_FAILURES.labels(task).inc()

    def partitions_topped_up(self, days_ahead: int, failed_tables: list[str]) -> None:
        """Set the days ahead, and count one failure for each of *failed_tables*."""
        PARTITIONS_AHEAD.set(days_ahead)
        for table in failed_tables:
            PARTITION_FAILURES.labels(table).inc()

    def write(self) -> None:
        """Write the collected counts."""
        self._is_scheduled = False
        requests, self._requests = self._requests, defaultdict(list)
        for (endpoint, status), seconds in requests.items():
            REQUEST_SECONDS.labels(endpoint, str(status)).observe_all(seconds)
        for counts, counter in self._counts:
            for labels, count in counts.items():
                values_of_labels = (labels,) if isinstance(labels, str) else labels
                counter.labels(*values_of_labels).inc(count)
            counts.clear()
        if self._delayed:
            UNAUTHORIZED_DELAYED.inc(self._delayed)
            self._delayed = 0
        if self._queued_rows is not None:
            FLUSH_ROWS.observe_all(self._flush_rows)
            FLUSH_SECONDS.observe_all(self._flush_seconds)
            QUEUE_ROWS.set(self._queued_rows)
            self._flush_rows, self._flush_seconds, self._queued_rows = [], [], None
        count_dropped_lines()

    def _schedule_write(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.write()
            return
        self._is_scheduled = True
        loop.call_later(WRITE_DELAY_S, self.write)


def count_dropped_lines() -> None:
    """Count the log lines that this process has dropped since the last call."""
    for cause, lines in logs.take_dropped().items():
        LOG_LINES_DROPPED.labels(cause).inc(lines)
