"""The plan of a flush, and the judgement of who did not come first."""

import json
import random

import msgspec
import pytest

from service.model import Outcome
from service.reasons import CONFLICT_MESSAGES, Reason
from service.store.flush import (
    Held,
    conflict_verdict,
    held_by,
    key_of,
    outcome_of,
    plan,
    quarantined,
)
from service.testing import NOON, Sender, make_event, make_key

HASH_VERSION_BITS = 4


@pytest.fixture
def sender() -> Sender:
    return Sender()


def test_rows_are_sorted_by_tenant_and_by_the_bytes_of_their_key() -> None:
    senders = [Sender(make_key(tenant_id=tenant), worker=tenant) for tenant in (10, 9, 2)]
    rows = [row for sender in senders for row in sender.rows(*map(make_event, "abcdefgh"))]
    random.Random(1).shuffle(rows)

    keys = [key_of(row) for row in plan(rows, []).firsts]

    assert sorted(keys) == keys
    assert [2] * 8 + [9] * 8 + [10] * 8 == [tenant for tenant, _ in keys]


def test_the_first_to_arrive_goes_first_and_its_twins_stay_in_order(sender: Sender) -> None:
    first, second, third = (sender.row("a", plan=number) for number in range(3))
    other = sender.row("b")

    planned = plan([first, other, second, third], [])

    assert {first.id, other.id} == {row.id for row in planned.firsts}
    assert [second, third] == planned.twins


def test_the_same_id_in_two_tenants_is_no_twin(sender: Sender) -> None:
    elsewhere = Sender(make_key(tenant_id=2), worker=8).row("a")

    assert [] == plan([sender.row("a"), elsewhere], []).twins


def test_rejected_rows_go_along(sender: Sender) -> None:
    rejected = sender.check({"type": "nope"}).payload.rejected

    assert rejected == plan([], rejected).rejected


def test_a_row_that_holds_its_key_was_stored_by_an_earlier_try(sender: Sender) -> None:
    row = sender.row("a")

    assert outcome_of(row, held_by(row)) is Outcome.ACCEPTED


def test_the_same_content_is_a_duplicate_and_another_a_conflict(sender: Sender) -> None:
    row, same, other = sender.row("a"), sender.row("a"), sender.row("a", plan="pro")

    assert outcome_of(same, held_by(row)) is Outcome.DUPLICATE
    assert outcome_of(other, held_by(row)) is Outcome.CONFLICT


def test_a_hash_of_another_version_is_a_duplicate_never_a_conflict(sender: Sender) -> None:
    row = sender.row("a")
    version_bits = (row.payload_hash >> (64 - HASH_VERSION_BITS)) ^ 1
    body = row.payload_hash & (2 ** (64 - HASH_VERSION_BITS) - 1)

    held = Held(row.id + 1, (version_bits << (64 - HASH_VERSION_BITS)) | (body ^ 1), NOON)

    assert outcome_of(row, held) is Outcome.DUPLICATE


def test_a_conflict_names_the_id_and_says_what_became_of_it(sender: Sender) -> None:
    verdict = conflict_verdict(sender.row("a"), Reason.CONTENT_DIFFERS)

    assert ("a", Outcome.CONFLICT, "event_id") == (verdict.event_id, verdict.status, verdict.field)
    assert CONFLICT_MESSAGES[Reason.CONTENT_DIFFERS] == verdict.message


def test_what_goes_into_quarantine_can_be_sent_again(sender: Sender) -> None:
    sent = make_event("a", properties={"p": 1}, plan="pro", sent_at="2026-03-01T12:00:00Z")
    row = sender.rows(sent)[0]

    kept = quarantined(row, Reason.CONTENT_DIFFERS, "It differs.")

    assert sent == json.loads(kept.payload)
    shared = set(kept.__struct_fields__) & set(row.__struct_fields__)
    assert {"id", "tenant_id", "workspace_id", "event_id", "request_id", "received_at"} == shared
    fields = msgspec.structs.asdict
    assert {name: fields(row)[name] for name in shared} == {
        name: fields(kept)[name] for name in shared
    }
