"""What is known of one request when it has been answered: its log line and its measures."""

from datetime import UTC, datetime
from typing import Final

import msgspec
import structlog

from service.edge.replies import Counts
from service.model import Outcome
from service.obs import log as logs
from service.obs.metrics import Metrics

log = structlog.get_logger()


class Access(msgspec.Struct, kw_only=True, omit_defaults=True):
    """
    Filled in as the request goes its way; then it is the log line, with its fields in this order.

    Never holds a key, a payload or a raw path. `endpoint` is from the closed set of routes;
    `size_bytes` counts the decoded body.
    """

    status: int = 0
    duration_ms: float = -1.0
    request_id: str
    method: str
    endpoint: str
    traceparent: str | None = None
    tenant_id: int | None = None
    workspace_id: int | None = None
    key_id: str | None = None
    schema_version: str | None = None
    types: dict[str, int] | None = None
    counts: Counts | None = None
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
            access.status = status
            access.duration_ms = int(duration_s * 1_000_000) / 1000
            access.code = code
            self._write(access)

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

    def _write(self, access: Access) -> None:
        _spread_counts(access)
        # A probe that finds all well is no news; there is one every few seconds.
        is_news = access.endpoint not in _PROBES or access.status != _OK
        if is_news and self._lines is not None:
            access.event, access.level, access.timestamp = "request", "info", datetime.now(UTC)
            self._lines.add(_ENCODER.encode(access) + b"\n")
            return
        fields = msgspec.structs.asdict(access)
        known = {name: value for name, value in fields.items() if value is not None}
        (log.info if is_news else log.debug)("request", **known)


def _spread_counts(access: Access) -> None:
    counts, access.counts = access.counts, None
    access.types = access.types or None
    if counts is not None:
        access.accepted, access.duplicates = counts.accepted, counts.duplicates
        access.conflicts, access.rejected = counts.conflicts, counts.rejected


_OK: Final = 200
_PROBES: Final = frozenset({"health", "health_live", "health_ready"})
_ENCODER: Final = msgspec.json.Encoder()
