"""Scans bodies with the core alone: each event becomes a row or a violation."""

from datetime import UTC, datetime
from typing import Final, NamedTuple

from service import _native
from service._native import Malformed, Row, Scan, Violation

NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLOCK_SKEW_MIN_US: Final = 0


class Arrival(NamedTuple):
    """The data that all events of a request have in common."""

    tenant_id: int = 1
    workspace_id: int = 1
    key_id: str = "key"
    request_id: int = 1
    schema_version: str = "1.0"
    received_at_us: int = int(NOON.timestamp()) * 1_000_000


def scan(body: str | bytes, event_type: str | None = None, events_max: int = 50) -> Scan:
    """Scan a batch, or one event of an endpoint; the body must be JSON."""
    body = body.encode() if isinstance(body, str) else body
    if event_type is None:
        scanned = _native.scan_batch(body, events_max)
    else:
        scanned = _native.scan_event(body, event_type)
    assert isinstance(scanned, Scan), scanned
    return scanned


def malformed(body: str | bytes) -> Malformed:
    """Scan a batch that the core must refuse as a whole."""
    scanned = _native.scan_batch(body.encode() if isinstance(body, str) else body, 50)
    assert isinstance(scanned, Malformed)
    return scanned


def judge(scanned: Scan) -> list[Row | Violation]:
    """Return a row or a violation for each event, in the order of the body."""
    rows, refused = scanned.rows(_native.RowIds(0, bytes(32)), Arrival(), CLOCK_SKEW_MIN_US)
    verdicts: list[Row | Violation] = [*rows.all()]
    for index, _, violation in refused:
        verdicts.insert(index, violation)
    return verdicts


def judge_batch(body: str) -> list[Row | Violation]:
    return judge(scan(body))
