"""Checks, ids and hashes of a payload. The door to the native core."""

from collections import Counter
from datetime import datetime
from typing import Final

import msgspec

from service import _native
from service.clock import unix_ms
from service.content import RawEvent, as_object, decode_event, document
from service.model import (
    ApiKey,
    EventRow,
    Outcome,
    Payload,
    RejectedRow,
    Verdict,
)
from service.pipeline.context import merge_context
from service.pipeline.quarantine import QuarantineBudget
from service.pipeline.times import InvalidTimeError, corrected, event_times, read_time
from service.reasons import Reason, Refusal

# It is stored with every event of the batch, so it must not multiply a request's size.
BATCH_CONTEXT_BYTES_MAX: Final = 32 * 1024

# The core's codes are our reasons: building this fails at import when the two sides differ.
_REASONS: Final = {code: Reason(code) for code in _native.violation_codes()}


class Arrival(msgspec.Struct, frozen=True):
    """What is true for every event of one request."""

    key: ApiKey
    request_id: int
    schema_version: str
    received_at: datetime


class Checked(msgspec.Struct, frozen=True):
    """
    A payload ready for the store, and the verdicts known already.

    `verdicts` has one place per input; those of `payload.events`, in order, are still None.
    """

    payload: Payload
    verdicts: list[Verdict | None]
    types: dict[str, int]

    def complete(self, stored: list[Verdict]) -> list[Verdict]:
        """Return all verdicts in the order of the input, given the store's."""
        from_store = iter(stored)
        return [verdict or next(from_store) for verdict in self.verdicts]


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


class Checker:
    """Turns scanned events into rows. One per worker: it hands out the ids of its rows."""

    def __init__(self, budget: QuarantineBudget) -> None:
        self._budget = budget
        self._ids: _native.RowIds | None = None

    def lease(self, worker: int) -> None:
        """Give out row ids under this worker number."""
        self._ids = _native.RowIds(worker)

    def release(self) -> None:
        """Stop giving out row ids: the worker number is no longer ours."""
        self._ids = None

    def check(self, scanned: _native.Scan, arrival: Arrival, size_bytes: int) -> Checked:
        """
        Check every event of a request.

        Raises
        ------
        Refusal
            The envelope is at fault, or this worker holds no number to make ids with.
        """
        if self._ids is None:
            raise Refusal(Reason.STORE_UNAVAILABLE)
        ids = self._ids.take(unix_ms(arrival.received_at), len(scanned.events))
        envelope = _envelope(scanned, arrival)
        events: list[EventRow] = []
        rejected: list[RejectedRow] = []
        verdicts: list[Verdict | None] = []
        types: Counter[str] = Counter()
        for row_id, item in zip(ids, scanned.events, strict=True):
            result = envelope.row(row_id, item)
            if isinstance(result, EventRow):
                events.append(result)
                verdicts.append(None)
                types[result.raw.type] += 1
                continue
            verdicts.append(
                Verdict(
                    result.event_id, Outcome.REJECTED, result.code, result.field, result.message
                )
            )
            if self._budget.take(arrival.key.key_id):
                rejected.append(result)
        # The batch's context is in each of its rows: it counts as often as it is held.
        shared_bytes = len(scanned.context or b"") * max(len(events) - 1, 0)
        return Checked(Payload(events, rejected, size_bytes + shared_bytes), verdicts, types)


def _envelope(scanned: _native.Scan, arrival: Arrival) -> "_Envelope":
    if scanned.context is not None and len(scanned.context) > BATCH_CONTEXT_BYTES_MAX:
        actual = len(scanned.context)
        raise Refusal(
            Reason.INVALID_FIELD,
            f"context of the batch has {actual} bytes; at most {BATCH_CONTEXT_BYTES_MAX} may"
            " be shared by all of its events.",
            field="context",
            limit=BATCH_CONTEXT_BYTES_MAX,
            actual=actual,
        )
    try:
        sent_at = read_time("sentAt", scanned.sent_at)
    except InvalidTimeError as error:
        raise Refusal(Reason.INVALID_TIMESTAMP, str(error), field=error.field) from None
    return _Envelope(arrival=arrival, sent_at=sent_at, context=scanned.context)


class _Envelope(msgspec.Struct, frozen=True):
    """What the events of one request share."""

    arrival: Arrival
    sent_at: datetime | None
    context: bytes | None

    def row(self, row_id: int, item: _native.Event | _native.Violation) -> EventRow | RejectedRow:
        if isinstance(item, _native.Violation):
            place = (row_id, item.event_id, item.payload)
            return self._rejected(place, _REASONS[item.code], item.field, item.message)
        try:
            raw = decode_event(item.content)
        except msgspec.DecodeError as error:
            # The core has checked the types already; where the two differ it costs one event.
            place = (row_id, item.event_id, item.content)
            return self._rejected(place, Reason.INVALID_EVENT, None, str(error))
        try:
            return self._accepted(row_id, item, raw)
        except InvalidTimeError as error:
            place = (row_id, item.event_id, as_object(raw, item.event_id, item.sent_at))
            return self._rejected(place, Reason.INVALID_TIMESTAMP, error.field, str(error))

    def _accepted(self, row_id: int, item: _native.Event, raw: RawEvent) -> EventRow:
        key, received_at = self.arrival.key, self.arrival.received_at
        sent_at = read_time("sentAt", item.sent_at) or self.sent_at
        given, original = event_times(raw)
        event_id = item.event_id or _native.base36_encode(row_id)
        return EventRow(
            id=row_id,
            tenant_id=key.tenant_id,
            workspace_id=key.workspace_id,
            key_id=key.key_id,
            event_key=_native.event_key(event_id),
            payload_hash=_native.content_hash(key.workspace_id, item.content),
            event_id=event_id,
            raw=raw,
            properties=document(raw.properties),
            traits=document(raw.traits),
            context=merge_context(self.context, document(raw.context)),
            extra=document(raw.extra),
            schema_version=self.arrival.schema_version,
            request_id=self.arrival.request_id,
            original_timestamp=original,
            sent_at=sent_at,
            received_at=received_at,
            timestamp=corrected(given, sent_at, received_at),
        )

    def _rejected(
        self, place: tuple[int, str | None, bytes], code: Reason, field: str | None, message: str
    ) -> RejectedRow:
        row_id, event_id, payload = place
        key = self.arrival.key
        return RejectedRow(
            id=row_id,
            tenant_id=key.tenant_id,
            workspace_id=key.workspace_id,
            event_id=event_id,
            code=code,
            field=_storable(field),
            message=_storable(message) or "",
            payload=payload,
            request_id=self.arrival.request_id,
            received_at=self.arrival.received_at,
        )


def _storable(text: str | None) -> str | None:
    """Return *text* without the one character that a text column cannot hold."""
    return None if text is None else text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
