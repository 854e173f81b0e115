"""Checks, ids and hashes of a payload. The door to the native core."""

import secrets
from collections.abc import Sequence
from typing import Final

import msgspec

from service import _native
from service.clock import moment
from service.model import Outcome, Payload, RejectedRow, Verdict
from service.pipeline.quarantine import QuarantineBudget
from service.reasons import Reason, Refusal

# The core's codes are our reasons: building this fails at import when the two sides differ.
_REASONS: Final = {code: Reason(code) for code in _native.violation_codes()}


class Arrival(msgspec.Struct, frozen=True):
    """What is true for every event of one request; its time is microseconds since 1970."""

    tenant_id: int
    workspace_id: int
    key_id: str
    request_id: int
    schema_version: str
    received_at_us: int


class Checked(msgspec.Struct, frozen=True):
    """
    A payload ready for the store, and the verdicts known already, by place in the input.

    `has_rows`: there is something to store.
    """

    payload: Payload
    refused: dict[int, Verdict]
    has_rows: bool

    def complete(self, stored: Sequence[Verdict]) -> Sequence[Verdict]:
        """Return all verdicts in the order of the input, given the store's."""
        if not self.refused:
            return stored
        from_store = iter(stored)
        places = range(len(stored) + len(self.refused))
        return [self.refused.get(place) or next(from_store) for place in places]


def scan(body: bytes, event_type: str | None, events_max: int) -> _native.Scan:
    """
    Check the grammar of a body and cut it into events; *event_type* is None for a batch.

    Raises
    ------
    Refusal
        The body as a whole cannot be used.
    """
    if event_type is None:
        scanned = _native.scan_batch(body, events_max)
    else:
        scanned = _native.scan_event(body, event_type)
    if isinstance(scanned, _native.Malformed):
        details = {"field": scanned.field, "limit": scanned.limit, "actual": scanned.actual}
        details["offset"] = scanned.offset
        given = {name: value for name, value in details.items() if value is not None}
        raise Refusal(_REASONS[scanned.code], scanned.message, **given)
    return scanned


def random_row_ids() -> _native.RowIds:
    """Return the row ids of one worker, with a random start and a random secret."""
    return _native.RowIds(secrets.randbits(63), secrets.token_bytes(32))


class Checker:
    """Turns scanned events into rows. One per worker: it hands out the ids of its rows."""

    def __init__(self, budget: QuarantineBudget, ids: _native.RowIds) -> None:
        self._budget = budget
        self._ids = ids

    def check(self, scanned: _native.Scan, arrival: Arrival) -> Checked:
        """Check every event of a request."""
        events, refused = scanned.rows(self._ids, arrival)
        if not refused:
            rows = len(events)
            return Checked(Payload(events, [], events.size_bytes, rows or 1), {}, rows > 0)
        rejected = [
            _rejected(row_id, violation, arrival)
            for _, row_id, violation in refused
            if self._budget.take(arrival.key_id)
        ]
        size_bytes = events.size_bytes + sum(len(row.payload) for row in rejected)
        verdicts = {place: _verdict(violation) for place, _, violation in refused}
        rows = len(events) + len(rejected)
        return Checked(Payload(events, rejected, size_bytes, rows or 1), verdicts, rows > 0)


def _verdict(violation: _native.Violation) -> Verdict:
    return Verdict(
        violation.event_id,
        Outcome.REJECTED,
        _REASONS[violation.code],
        _storable(violation.field),
        _storable(violation.message),
    )


def _rejected(row_id: int, violation: _native.Violation, arrival: Arrival) -> RejectedRow:
    return RejectedRow(
        id=row_id,
        tenant_id=arrival.tenant_id,
        workspace_id=arrival.workspace_id,
        event_id=violation.event_id,
        code=_REASONS[violation.code],
        field=_storable(violation.field),
        message=_storable(violation.message) or "",
        payload=violation.payload,
        request_id=arrival.request_id,
        received_at=moment(arrival.received_at_us),
    )


def _storable(text: str | None) -> str | None:
    """Return *text* without the one character that a text column cannot hold."""
    return None if text is None else text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
