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


class HealthReport(msgspec.Struct, frozen=True):
    """The full report on a worker."""

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
        """Return the full report; 503 when this worker cannot take requests."""
        report = self.report()
        return replies.report(200 if report.status == "ok" else 503, report)

    def report(self) -> HealthReport:
        """Return the full report."""
        return HealthReport(
            status="ok" if self.unreadiness() is None else "unavailable",
            version=self._version,
            uptime_s=round(time.monotonic() - self._started, 3),
            database=self._database(),
            quarantine={"status": "full" if self._is_quarantine_full() else "ok"},
            background=self._background(),
        )

    def unreadiness(self) -> str | None:
        """Return why this worker cannot take requests; None if it can."""
        if self._state.is_draining:
            return "draining"
        database = self._database()
        return None if database.status == "ok" else database.cause or "starting"

    async def live(self) -> Reply:
        """Return 200."""
        return replies.report(200, {"status": "alive"})

    async def ready(self) -> Reply:
        """Return 200 if this worker can take requests, else 503."""
        reason = self.unreadiness()
        if reason is None:
            return replies.report(200, {"status": "ready"})
        unready = {"status": "not ready", "reason": reason}
        message = self._database().message
        if message is not None and not self._state.is_draining:
            unready["message"] = message
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
