"""The log line and the metrics of an answered request."""

import re
from datetime import datetime
from typing import Final

import msgspec
import structlog

from service.obs import log as logs
from service.obs.metrics import Metrics
from service.pipeline.ingest import Counts, Request

log = structlog.get_logger()

# Other values are not logged: they could contain a key.
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class _Line(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """The log line, with the fields in this order. Contains no key, no payload and no raw path."""

    status: int
    duration_ms: float
    request_id: str
    method: str
    endpoint: str
    traceparent: str | None = None
    tenant_id: int | None = None
    workspace_id: int | None = None
    key_id: str | None = None
    schema_version: str | None = None
    types: dict[str, int] | None = None
    size_bytes: int | None = None
    accepted: int | None = None
    duplicates: int | None = None
    conflicts: int | None = None
    rejected: int | None = None
    code: str | None = None
    event: str | None = None
    level: str | None = None
    timestamp: datetime | None = None


class AccessLog:
    """Logs one line per request, and counts requests and events."""

    def __init__(self, metrics: Metrics, *, is_on: bool) -> None:
        self._metrics = metrics
        self._is_on = is_on
        self._lines = logs.info_lines()

    def answered(self, request: Request, status: int, code: str | None, duration_s: float) -> None:
        """Log and count *request* with its answer; *duration_s* in seconds."""
        self._metrics.request_answered(request.endpoint, status, duration_s)
        if code is not None:
            self._metrics.request_refused(code)
        if request.counts is not None:
            self._count(request.counts)
        if self._is_on:
            self._write(_line(request, status, code, duration_s))

    def _count(self, counts: Counts) -> None:
        ended = self._metrics.events_ended
        if counts.accepted:
            ended("accepted", counts.accepted)
        if counts.duplicates:
            ended("duplicate", counts.duplicates)
        if counts.conflicts:
            ended("conflict", counts.conflicts)
        if counts.rejected:
            ended("rejected", counts.rejected)

    def _write(self, line: _Line) -> None:
        # Successful probes arrive every few seconds; they are logged at level debug.
        is_info = line.endpoint not in _PROBES or line.status != _OK
        if is_info and self._lines is not None:
            line.event, line.level = "request", "info"
            self._lines.add(line)
            return
        fields = msgspec.structs.asdict(line)
        known = {name: value for name, value in fields.items() if value is not None}
        (log.info if is_info else log.debug)("request", **known)


def _line(request: Request, status: int, code: str | None, duration_s: float) -> _Line:
    line = _Line(
        status=status,
        duration_ms=int(duration_s * 1_000_000) / 1000,
        request_id=request.id_text,
        method=request.method,
        endpoint=request.endpoint,
        traceparent=None if request.traceparent is None else _traceparent(request.traceparent),
        schema_version=request.schema_version or None,
        size_bytes=None if request.body_bytes < 0 else request.body_bytes,
        code=code,
    )
    if request.key is not None:
        key = request.key.key
        line.tenant_id, line.workspace_id, line.key_id = key.tenant_id, key.workspace_id, key.key_id
    if request.payload is not None:
        line.types = request.payload.events.types or None
    if (counts := request.counts) is not None:
        line.accepted, line.duplicates = counts.accepted, counts.duplicates
        line.conflicts, line.rejected = counts.conflicts, counts.rejected
    return line


def _traceparent(value: bytes) -> str | None:
    return value.decode("ascii") if _TRACEPARENT.fullmatch(value) else None


_OK: Final = 200
_PROBES: Final = frozenset({"health", "health_live", "health_ready"})
