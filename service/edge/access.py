"""What is known of one request when it has been answered: its log line and its measures."""

from typing import Any, Final

import msgspec
import structlog

from service.edge.replies import Counts
from service.model import Outcome
from service.obs.metrics import Metrics

log = structlog.get_logger()


class Access(msgspec.Struct):
    """
    Filled in as the request goes its way. Never holds a key, a payload or a raw path.

    `endpoint` is from the closed set of routes; `size_bytes` counts the decoded body.
    """

    request_id: str
    method: str
    endpoint: str = "unknown"
    traceparent: str | None = None
    tenant_id: int | None = None
    workspace_id: int | None = None
    key_id: str | None = None
    schema_version: str | None = None
    types: dict[str, int] | None = None
    counts: Counts | None = None
    size_bytes: int | None = None


class AccessLog:
    """Writes one line per request and counts it."""

    def __init__(self, metrics: Metrics, *, is_on: bool) -> None:
        self._metrics = metrics
        self._is_on = is_on

    def answered(self, access: Access, status: int, code: str | None, duration_s: float) -> None:
        """Record how *access* ended."""
        self._metrics.request_answered(access.endpoint, status, duration_s)
        counts = {} if access.counts is None else msgspec.structs.asdict(access.counts)
        for name, events in counts.items():
            if events:
                self._metrics.events_ended(_OUTCOMES[name], events)
        if not self._is_on:
            return
        fields: dict[str, Any] = {
            name: value
            for name in _LOGGED
            if (value := getattr(access, name)) is not None and value != {}
        }
        fields |= counts
        if code is not None:
            fields["code"] = code
        # A probe that finds all well is no news; there is one every few seconds.
        is_news = access.endpoint not in _PROBES or status != _OK
        write = log.info if is_news else log.debug
        write("request", status=status, duration_ms=round(duration_s * 1000, 3), **fields)


_OK: Final = 200
_PROBES: Final = frozenset({"health", "health_live", "health_ready"})
_OUTCOMES: Final = {
    "accepted": Outcome.ACCEPTED,
    "duplicates": Outcome.DUPLICATE,
    "conflicts": Outcome.CONFLICT,
    "rejected": Outcome.REJECTED,
}
_LOGGED: Final = tuple(name for name in Access.__struct_fields__ if name != "counts")
