"""
Health endpoints: the full report, liveness and readiness; and the index.

They are public: they name no process, no connection and no address.
"""

import time
from collections.abc import Callable

import msgspec

from service.edge import replies
from service.edge.replies import Reply
from service.model import WorkerState
from service.supervisor import TaskReport


class DatabaseReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether the worker can store events, and the round trip time of its last probe."""

    status: str
    cause: str | None = None
    message: str | None = None
    latency_ms: float | None = None


class _Report(msgspec.Struct, frozen=True):
    status: str
    version: str
    uptime_s: float
    database: DatabaseReport
    quarantine: dict[str, str]
    background: dict[str, TaskReport]


class Probes:
    """Answers the health endpoints."""

    def __init__(
        self,
        *,
        database: Callable[[], DatabaseReport],
        background: Callable[[], dict[str, TaskReport]],
        is_quarantine_full: Callable[[], bool],
        state: WorkerState,
        version: str,
    ) -> None:
        """*database* returns the last known state, without a query; *background* the tasks."""
        self._database = database
        self._background = background
        self._is_quarantine_full = is_quarantine_full
        self._state = state
        self._version = version
        self._started = time.monotonic()

    async def health(self) -> Reply:
        """Return the full report; 503 when this worker cannot store events."""
        database = self._database()
        is_ready = self._is_ready(database)
        report = _Report(
            status="ok" if is_ready else "unavailable",
            version=self._version,
            uptime_s=round(time.monotonic() - self._started, 3),
            database=database,
            quarantine={"status": "full" if self._is_quarantine_full() else "ok"},
            background=self._background(),
        )
        return replies.report(200 if is_ready else 503, report)

    async def live(self) -> Reply:
        """Return 200."""
        return replies.report(200, {"status": "alive"})

    async def ready(self) -> Reply:
        """Return 200 if this worker can take requests, else 503."""
        database = self._database()
        if self._is_ready(database):
            return replies.report(200, {"status": "ready"})
        unready = {"status": "not ready", "reason": database.cause or "starting"}
        if database.message is not None:
            unready["message"] = database.message
        if self._state.is_draining:
            unready = {"status": "not ready", "reason": "draining"}
        return replies.report(503, unready)

    async def index(self) -> Reply:
        """Return the paths of the service."""
        return replies.report(
            200,
            {
                "service": "forebay",
                "version": self._version,
                "send": ["/v1/track", "/v1/identify", "/v1/batch"],
                "health": ["/health", "/health/live", "/health/ready"],
                "docs": "docs/ in the source, beginning with README.md",
            },
        )

    def _is_ready(self, database: DatabaseReport) -> bool:
        return database.status == "ok" and not self._state.is_draining
