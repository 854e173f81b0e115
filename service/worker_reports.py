"""
Health of the service as a whole, for the port of the metrics.

Workers report to the parent process once a second, so that a probe is answered at any time: also
when clients have all connections of the workers.
"""

import select
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

REPORT_INTERVAL_S: Final = 1.0
# A longer message to a pipe that is nearly full may be written in part. 4 bytes are its length.
_REPORT_BYTES_MAX: Final = select.PIPE_BUF - 4
# A worker that has not reported for this long does not run its event loop.
_SILENCE_MAX_S: Final = 10.0


class WorkerReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a worker reports: whether it can take requests, and what `/health` says."""

    reason: str | None
    """Why it cannot take requests; None if it can."""
    health: msgspec.Raw

    def encoded(self) -> bytes:
        """Return the report as a message to the parent, without `health` if that is too long."""
        message = msgspec.json.encode(self)
        if len(message) > _REPORT_BYTES_MAX:
            message = msgspec.json.encode(WorkerReport(self.reason, msgspec.Raw(b"null")))
        return message


Answer = tuple[int, bytes]
"""Status and JSON of an answer."""

_HeardReport = tuple[float, WorkerReport]


class WorkerReports:
    """The last report of each worker that is running. May be used by several threads."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._heard: dict[int, _HeardReport] = {}
        self._lock = threading.Lock()

    def hear(self, pid: int, message: bytes) -> None:
        """Keep the report of a worker."""
        report = msgspec.json.decode(message, type=WorkerReport)
        with self._lock:
            self._heard[pid] = self._monotonic(), report

    def forget(self, pid: int) -> None:
        """Remove the report of a worker that has ended."""
        with self._lock:
            self._heard.pop(pid, None)

    def answer(self, path: str) -> tuple[int, bytes] | None:
        """Return status and JSON for a probe; None if the path is not one of `/health`."""
        make = {
            "/health": self._health,
            "/health/live": self._live,
            "/health/ready": self._ready,
        }.get(path)
        return None if make is None else make()

    def _live(self) -> tuple[int, bytes]:
        """503 when every worker that was ready is silent. A restart helps only then."""
        reasons = self._reasons()
        if reasons and all(reason == "silent" for reason in reasons.values()):
            return _answer(503, {"status": "not alive", "reason": "no worker reports"})
        return _answer(200, {"status": "alive"})

    def _ready(self) -> tuple[int, bytes]:
        """200 when at least one worker can take requests."""
        reasons = self._reasons().values()
        if None in reasons:
            return _answer(200, {"status": "ready"})
        # The most frequent one.
        known = [reason for reason in reasons if reason is not None] or ["starting"]
        reason = max(known, key=known.count)
        return _answer(503, {"status": "not ready", "reason": reason})

    def _health(self) -> tuple[int, bytes]:
        with self._lock:
            heard = dict(self._heard)
        reasons = self._reasons()
        status, _ = self._ready()
        workers = [
            {
                "pid": pid,
                "reason": reasons.get(pid),
                "reported_s_ago": round(self._monotonic() - at, 3),
                "health": report.health,
            }
            for pid, (at, report) in sorted(heard.items())
        ]
        is_ok = status == 200  # noqa: PLR2004 - the status of HTTP
        return _answer(status, {"status": "ok" if is_ok else "unavailable", "workers": workers})

    def _reasons(self) -> dict[int, str | None]:
        """Return why each worker cannot take requests; None if it can."""
        now = self._monotonic()
        with self._lock:
            return {
                pid: "silent" if now - at > _SILENCE_MAX_S else report.reason
                for pid, (at, report) in self._heard.items()
            }


def _answer(status: int, content: dict[str, Any]) -> tuple[int, bytes]:
    return status, msgspec.json.encode(content)
