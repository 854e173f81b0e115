"""Health: the full report, whether the process lives, and whether it may take traffic."""

import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from service.edge import replies
from service.edge.replies import Reply
from service.supervisor import TaskReport


class DatabaseReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the database answered one round trip."""

    status: str
    latency_ms: float | None = None
    error: str | None = None
    pool: Any = None


class WorkerState(Protocol):
    """What a worker knows of itself."""

    @property
    def is_draining(self) -> bool:
        """It takes nothing new."""

    @property
    def background(self) -> dict[str, TaskReport]:
        """State of the background tasks, by name."""


class _Report(msgspec.Struct, frozen=True):
    status: str
    version: str
    uptime_s: float
    worker: dict[str, int]
    database: DatabaseReport
    background: dict[str, TaskReport]


class Probes:
    """Answers the health endpoints."""

    def __init__(
        self,
        *,
        check: Callable[[], Awaitable[DatabaseReport]],
        state: WorkerState,
        version: str,
    ) -> None:
        """*check* asks the database, within a bound, and never raises."""
        self._check = check
        self._state = state
        self._version = version
        self._started = time.monotonic()

    async def health(self) -> Reply:
        """Return the full report; 503 when this worker cannot store events."""
        database = await self._check()
        is_ready = self._is_ready(database)
        report = _Report(
            status="ok" if is_ready else "unavailable",
            version=self._version,
            uptime_s=round(time.monotonic() - self._started, 3),
            worker={"pid": os.getpid()},
            database=database,
            background=self._state.background,
        )
        return replies.report(200 if is_ready else 503, report)

    async def live(self) -> Reply:
        """Return 200: the process answers."""
        return replies.report(200, {"status": "alive"})

    async def ready(self) -> Reply:
        """Return 200 when this worker may be sent traffic."""
        if self._is_ready(await self._check()):
            return replies.report(200, {"status": "ready"})
        reason = "draining" if self._state.is_draining else "database unavailable"
        return replies.report(503, {"status": "not ready", "reason": reason})

    async def index(self) -> Reply:
        """Return what is served here."""
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
