"""
The judgement of rows that were not inserted, and the verdicts of a payload.

If these tests fail: a sender gets the wrong status for an event, and does not send an event again
that is not stored.
"""

import json
from datetime import timedelta

import msgspec
import pytest

from service.model import AcceptedVerdicts, Outcome, Verdict
from service.reasons import CONFLICT_MESSAGES, Reason
from service.store.ledger import LedgerEntry
from service.store.outcomes import (
    conflict_verdict,
    ledger_entry,
    outcome_of,
    quarantined,
    verdicts_of,
)
from tests.doubles import NOON, Sender, make_event

HASH_VERSION_BITS = 4
OTHERS = Verdict("x", Outcome.CONFLICT)


@pytest.fixture
def sender() -> Sender:
    return Sender()


def test_verdicts_are_in_the_order_of_the_payload(sender: Sender) -> None:
    payload = sender.payload(*map(make_event, "abc"))
    verdicts = {
        payload.events.ids[1]: Verdict("b", Outcome.DUPLICATE),
        7: Verdict("x", Outcome.CONFLICT),
    }

    assert [
        Verdict("a", Outcome.ACCEPTED),
        Verdict("b", Outcome.DUPLICATE),
        Verdict("c", Outcome.ACCEPTED),
    ] == verdicts_of(payload, verdicts)


@pytest.mark.parametrize("of_others", [{}, {7: OTHERS}])
def test_a_payload_without_verdicts_of_its_own_is_accepted_as_a_whole(
    sender: Sender, of_others: dict[int, Verdict]
) -> None:
    payload = sender.payload(make_event('"\\'), make_event("é"))

    verdicts = verdicts_of(payload, of_others)

    assert isinstance(verdicts, AcceptedVerdicts)
    assert [Verdict('"\\', Outcome.ACCEPTED), Verdict("é", Outcome.ACCEPTED)] == [*verdicts]
    assert msgspec.json.encode([*verdicts]) == verdicts.to_json()


def test_a_row_that_has_its_own_ledger_entry_was_stored_by_an_earlier_attempt(
    sender: Sender,
) -> None:
    row = sender.row("a")

    assert outcome_of(row, ledger_entry(row)) is Outcome.ACCEPTED


@pytest.mark.parametrize("microseconds", [-1, 1])
def test_a_row_with_the_same_id_that_was_received_at_another_time_is_another_row(
    sender: Sender, microseconds: int
) -> None:
    row = sender.row("a")
    entry = ledger_entry(row)
    received_at = entry.received_at + timedelta(microseconds=microseconds)

    same = entry._replace(received_at=received_at)
    other = same._replace(payload_hash=entry.payload_hash ^ 1)

    assert outcome_of(row, same) is Outcome.DUPLICATE
    assert outcome_of(row, other) is Outcome.CONFLICT


def test_the_same_content_is_a_duplicate_and_other_content_a_conflict(sender: Sender) -> None:
    row, same, other = sender.row("a"), sender.row("a"), sender.row("a", plan="pro")

    assert outcome_of(same, ledger_entry(row)) is Outcome.DUPLICATE
    assert outcome_of(other, ledger_entry(row)) is Outcome.CONFLICT


def test_a_hash_of_another_version_is_a_duplicate_never_a_conflict(sender: Sender) -> None:
    row = sender.row("a")
    version_bits = (row.payload_hash >> (64 - HASH_VERSION_BITS)) ^ 1
    body = row.payload_hash & (2 ** (64 - HASH_VERSION_BITS) - 1)

    entry = LedgerEntry(row.id + 1, (version_bits << (64 - HASH_VERSION_BITS)) | (body ^ 1), NOON)

    assert outcome_of(row, entry) is Outcome.DUPLICATE


def test_a_conflict_names_the_field_and_the_reason(sender: Sender) -> None:
    verdict = conflict_verdict(sender.row("a"), Reason.CONTENT_DIFFERS)

    assert ("a", Outcome.CONFLICT, "event_id") == (verdict.event_id, verdict.status, verdict.field)
    assert CONFLICT_MESSAGES[Reason.CONTENT_DIFFERS] == verdict.message


def test_a_quarantined_event_can_be_sent_again(sender: Sender) -> None:
    sent = make_event("a", properties={"p": 1}, plan="pro", sent_at="2026-03-01T12:00:00Z")
    row = sender.rows(sent).all()[0]

    rejected = quarantined(row, Reason.CONTENT_DIFFERS, "It differs.")

    assert sent == json.loads(rejected.payload)
    shared = ("id", "tenant_id", "workspace_id", "event_id", "request_id")
    assert {name: getattr(row, name) for name in shared} == {
        name: getattr(rejected, name) for name in shared
    }
    assert NOON == rejected.received_at
