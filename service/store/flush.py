"""The rows of one transaction, and how each event ended."""

from datetime import date, datetime
from typing import NamedTuple

import msgspec

from service._native import Plan, Row, Rows, is_same_content
from service.clock import moment
from service.content import as_object
from service.model import Accepted, Outcome, Payload, RejectedRow, Verdict
from service.reasons import CONFLICT_MESSAGES, Reason

Key = tuple[int, bytes]
"""(tenant_id, event_key): what the ledger holds once."""

EventPlace = tuple[int, datetime, int]
"""(tenant_id, received_at, id): the primary key of `events`. Two workers may use one id."""

Verdicts = dict[int, Verdict]
"""Verdicts by row id, of the rows that did not simply become events."""


class Held(NamedTuple):
    """Who holds a key in the ledger."""

    id: int
    payload_hash: int
    received_at: datetime


class Flush(msgspec.Struct, frozen=True):
    """Rows that go down together; `plan` has the one order that all writers use."""

    events: list[Rows]
    rejected: list[RejectedRow]
    plan: Plan

    @property
    def days(self) -> set[date]:
        """The days (UTC) whose partitions it needs."""
        arrivals = [moment(rows.received_at_us) for rows in self.events]
        return {arrival.date() for arrival in arrivals + [row.received_at for row in self.rejected]}


def flush_of(events: list[Rows], rejected: list[RejectedRow]) -> Flush:
    """Put rows together."""
    return Flush(events, rejected, Plan(events))


def verdicts_of(payload: Payload, late: Verdicts) -> Accepted | list[Verdict]:
    """Return a payload's verdicts in order: what is not in *late* is accepted."""
    events = payload.events
    if not late or late.keys().isdisjoint(events.ids):
        return Accepted(events)
    rows = zip(events.ids, Accepted(events), strict=True)
    return [late.get(row_id, accepted) for row_id, accepted in rows]


def key_of(row: Row) -> Key:
    """Return the key of *row* in the ledger."""
    return (row.tenant_id, row.event_key)


def held_by(row: Row) -> Held:
    """Return what the ledger holds when *row* was the first with its key."""
    return Held(row.id, row.payload_hash, moment(row.received_at_us))


def outcome_of(row: Row, held: Held) -> Outcome:
    """Compare *row* with the holder of its key."""
    # An id alone does not identify a row: another process may have used the same id.
    if held.id == row.id and held.received_at == moment(row.received_at_us):
        return Outcome.ACCEPTED  # an earlier try of this flush had been committed
    if is_same_content(held.payload_hash, row.payload_hash):
        return Outcome.DUPLICATE
    return Outcome.CONFLICT


def conflict_verdict(row: Row, reason: Reason) -> Verdict:
    """Return the answer for an event whose id is taken by another."""
    return Verdict(row.event_id, Outcome.CONFLICT, reason, "event_id", CONFLICT_MESSAGES[reason])


def quarantined(row: Row, reason: Reason, message: str) -> RejectedRow:
    """Return *row* as it goes into quarantine: its event written as JSON again."""
    sent_at = None if row.sent_at_us is None else moment(row.sent_at_us)
    return RejectedRow(
        id=row.id,
        tenant_id=row.tenant_id,
        workspace_id=row.workspace_id,
        event_id=row.event_id,
        code=reason,
        field=None,
        message=message,
        payload=as_object(row.content, row.event_id, sent_at),
        request_id=row.request_id,
        received_at=moment(row.received_at_us),
    )
