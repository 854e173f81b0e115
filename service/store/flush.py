"""The rows of one transaction: sorted, with twins set apart, and how each event ended."""

from datetime import datetime
from typing import NamedTuple

import msgspec

from service._native import is_same_content
from service.content import as_object
from service.model import EventRow, Outcome, RejectedRow, Verdict
from service.reasons import CONFLICT_MESSAGES, Reason

Key = tuple[int, bytes]
"""(tenant_id, event_key): what the ledger holds once."""


class Held(NamedTuple):
    """Who holds a key in the ledger."""

    id: int
    payload_hash: int
    received_at: datetime


class Flush(msgspec.Struct, frozen=True):
    """
    Rows that go down together.

    `firsts` holds one row per key in the one order that all writers use; `twins` the further rows
    with the same keys, in their order of arrival.
    """

    firsts: list[EventRow]
    twins: list[EventRow]
    rejected: list[RejectedRow]


def plan(rows: list[EventRow], rejected: list[RejectedRow]) -> Flush:
    """Set twins apart and sort the rest."""
    firsts: dict[Key, EventRow] = {}
    twins = [row for row in rows if firsts.setdefault(key_of(row), row) is not row]
    return Flush([firsts[key] for key in sorted(firsts)], twins, rejected)


def key_of(row: EventRow) -> Key:
    """Return the key of *row* in the ledger."""
    return (row.tenant_id, row.event_key)


def held_by(row: EventRow) -> Held:
    """Return what the ledger holds when *row* was the first with its key."""
    return Held(row.id, row.payload_hash, row.received_at)


def outcome_of(row: EventRow, held: Held) -> Outcome:
    """Compare *row* with the holder of its key."""
    if held.id == row.id:
        return Outcome.ACCEPTED  # an earlier try of ours had been committed
    if is_same_content(held.payload_hash, row.payload_hash):
        return Outcome.DUPLICATE
    return Outcome.CONFLICT


def conflict_verdict(row: EventRow, reason: Reason) -> Verdict:
    """Return the answer for an event whose id is taken by another."""
    return Verdict(row.event_id, Outcome.CONFLICT, reason, "event_id", CONFLICT_MESSAGES[reason])


def quarantined(row: EventRow, reason: Reason, message: str) -> RejectedRow:
    """Return *row* as it goes into quarantine: its event written as JSON again."""
    return RejectedRow(
        id=row.id,
        tenant_id=row.tenant_id,
        workspace_id=row.workspace_id,
        event_id=row.event_id,
        code=reason,
        field=None,
        message=message,
        payload=as_object(row.raw, row.event_id, row.sent_at),
        request_id=row.request_id,
        received_at=row.received_at,
    )
