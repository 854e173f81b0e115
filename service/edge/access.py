"""What is known of one request when it has been answered: its log line and its measures."""

import re
from datetime import datetime
from typing import Final

import msgspec
import structlog

from service.edge.replies import Counts
from service.model import ApiKey, Outcome, Payload
from service.obs import log as logs
from service.obs.metrics import Metrics

log = structlog.get_logger()

# Only what has this form is logged: somebody will put a key there one day, as anywhere.
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class Access(msgspec.Struct, kw_only=True):
    """
    Filled in as the request goes its way.

    `endpoint` is from the closed set of routes; `size_bytes` counts the decoded body.
    """

    request_id: str
    method: str
    endpoint: str
    traceparent: bytes | None = None
    key: ApiKey | None = None
    schema_version: str | None = None
    payload: Payload | None = None
    counts: Counts | None = None
    size_bytes: int | None = None


class _Line(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """The log line, with its fields in this order. Never holds a key, a payload or a raw path."""

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
    """Writes one line per request and counts it."""

    def __init__(self, metrics: Metrics, *, is_on: bool) -> None:
        self._metrics = metrics
        self._is_on = is_on
        self._lines = logs.info_lines()

    def answered(self, access: Access, status: int, code: str | None, duration_s: float) -> None:
        """Record how *access* ended."""
        self._metrics.request_answered(access.endpoint, status, duration_s)
        if access.counts is not None:
            self._count(access.counts)
        if self._is_on:
            self._write(_line(access, status, code, duration_s))

    def _count(self, counts: Counts) -> None:
        ended = self._metrics.events_ended
        if counts.accepted:
            ended(Outcome.ACCEPTED, counts.accepted)
        if counts.duplicates:
            ended(Outcome.DUPLICATE, counts.duplicates)
        if counts.conflicts:
            ended(Outcome.CONFLICT, counts.conflicts)
        if counts.rejected:
            ended(Outcome.REJECTED, counts.rejected)

    def _write(self, line: _Line) -> None:
        # A probe that finds all well is no news; there is one every few seconds.
        is_news = line.endpoint not in _PROBES or line.status != _OK
        if is_news and self._lines is not None:
            line.event, line.level = "request", "info"
            self._lines.add(line)
            return
        fields = msgspec.structs.asdict(line)
        known = {name: value for name, value in fields.items() if value is not None}
        (log.info if is_news else log.debug)("request", **known)


def _line(access: Access, status: int, code: str | None, duration_s: float) -> _Line:
    line = _Line(
        status=status,
        duration_ms=int(duration_s * 1_000_000) / 1000,
        request_id=access.request_id,
        method=access.method,
        endpoint=access.endpoint,
        traceparent=_traceparent(access.traceparent),
        schema_version=access.schema_version,
        size_bytes=access.size_bytes,
        code=code,
    )
    if (key := access.key) is not None:
        line.tenant_id, line.workspace_id, line.key_id = key.tenant_id, key.workspace_id, key.key_id
    if access.payload is not None:
        line.types = access.payload.events.types or None
    if (counts := access.counts) is not None:
        line.accepted, line.duplicates = counts.accepted, counts.duplicates
        line.conflicts, line.rejected = counts.conflicts, counts.rejected
    return line


def _traceparent(value: bytes | None) -> str | None:
    if value is None or not _TRACEPARENT.fullmatch(value):
        return None
    return value.decode("ascii")


_OK: Final = 200
_PROBES: Final = frozenset({"health", "health_live", "health_ready"})
