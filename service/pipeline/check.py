"""Checks, ids and hashes of the events of a request, by the native core."""

import secrets
from collections.abc import Sequence
from typing import Final

import msgspec

from service import _native
from service.clock import moment
from service.model import Outcome, Payload, RejectedRow, Verdict
from service.pipeline.quarantine import QuarantineBudget
from service.reasons import Reason, RefusedError

_GZIP_START: Final = b"\x1f\x8b"
# The codes of the core are names of reasons. The import fails if a code has no reason.
_REASONS: Final = {code: Reason(code) for code in _native.violation_codes()}


class Arrival(msgspec.Struct, frozen=True):
    """What all events of one request have in common. `received_at_us`: microseconds since 1970."""

    tenant_id: int
    workspace_id: int
    key_id: str
    request_id: int
    schema_version: str
    received_at_us: int


class Checked(msgspec.Struct, frozen=True):
    """
    A payload for the store, and the verdicts of the events that were rejected, by input index.

    `has_rows`: there is something to store.
    """

    payload: Payload
    rejected: dict[int, Verdict]
    has_rows: bool

    def complete(self, stored: Sequence[Verdict]) -> Sequence[Verdict]:
        """Return the verdicts of all events in input order, given the verdicts of the store."""
        if not self.rejected:
            return stored
        from_store = iter(stored)
        indexes = range(len(stored) + len(self.rejected))
        return [self.rejected.get(index) or next(from_store) for index in indexes]


def scan(body: bytes, event_type: str | None, events_max: int) -> _native.Scan:
    """
    Split a body into events, and check each of them; *event_type* is None for a batch.

    Raises
    ------
    RefusedError
        The body is not valid, so that none of its events can be used.
    """
    if event_type is None:
        scanned = _native.scan_batch(body, events_max)
    else:
        scanned = _native.scan_event(body, event_type)
    if isinstance(scanned, _native.Malformed):
        if body.startswith(_GZIP_START):
            raise RefusedError(
                Reason.INVALID_ENCODING,
                "The body begins as gzip does (bytes 1f 8b), not as JSON: send it with"
                " Content-Encoding: gzip, and compressed once.",
                field="Content-Encoding",
            )
        details = {"field": scanned.field, "limit": scanned.limit, "actual": scanned.actual}
        details["offset"] = scanned.offset
        given = {name: value for name, value in details.items() if value is not None}
        raise RefusedError(_REASONS[scanned.code], scanned.message, **given)
    return scanned


def random_row_ids() -> _native.RowIds:
    """Return the row ids of one worker, with a random start and a random secret."""
    return _native.RowIds(secrets.randbits(63), secrets.token_bytes(32))


class Checker:
    """Turns scanned events into rows. One per worker: it assigns the ids of the worker's rows."""

    def __init__(
        self, budget: QuarantineBudget, ids: _native.RowIds, clock_skew_min_us: int
    ) -> None:
        """*clock_skew_min_us*: of an earlier `sentAt`, before the time of an event is corrected."""
        self._budget = budget
        self._ids = ids
        self._clock_skew_min_us = clock_skew_min_us

    def check(self, scanned: _native.Scan, arrival: Arrival) -> Checked:
        """Make the rows of the valid events; the others are quarantined, within the budget."""
        events, violations = scanned.rows(self._ids, arrival, self._clock_skew_min_us)
        if not violations:
            rows = len(events)
            payload = Payload(events, [], events.size_bytes, rows or 1, arrival.key_id)
            return Checked(payload, {}, rows > 0)
        quarantined = [
            _rejected_row(row_id, violation, arrival)
            for _, row_id, violation in violations
            if self._budget.take(arrival.key_id, len(violation.payload))
        ]
        size_bytes = events.size_bytes + sum(len(row.payload) for row in quarantined)
        verdicts = {index: _verdict(violation) for index, _, violation in violations}
        rows = len(events) + len(quarantined)
        payload = Payload(events, quarantined, size_bytes, rows or 1, arrival.key_id)
        return Checked(payload, verdicts, rows > 0)


def _verdict(violation: _native.Violation) -> Verdict:
    return Verdict(
        violation.event_id,
        Outcome.REJECTED,
        _REASONS[violation.code],
        _storable(violation.field),
        _storable(violation.message),
    )


def _rejected_row(row_id: int, violation: _native.Violation, arrival: Arrival) -> RejectedRow:
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
        key_id=arrival.key_id,
    )


def _storable(text: str | None) -> str | None:
    """Replace NUL, which PostgreSQL cannot store in a text column."""
    return None if text is None else text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
