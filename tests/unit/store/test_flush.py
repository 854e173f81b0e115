"""The plan of a flush, and the judgement of who did not come first."""

import json
import random
from datetime import timedelta

import msgspec
import pytest

from service._native import event_key
from service.model import Accepted, Outcome, Verdict
from service.reasons import CONFLICT_MESSAGES, Reason
from service.store.flush import (
    Held,
    conflict_verdict,
    flush_of,
    held_by,
    outcome_of,
    quarantined,
    verdicts_of,
)
from tests.doubles import NOON, Sender, make_event, make_key
from tests.pgcopy import read_copy

HASH_VERSION_BITS = 4
ANOTHERS = Verdict("x", Outcome.CONFLICT)


@pytest.fixture
def sender() -> Sender:
    return Sender()


def test_rows_are_sorted_by_tenant_and_by_the_bytes_of_their_key() -> None:
    senders = [Sender(make_key(tenant_id=tenant)) for tenant in (10, 9, 2)]
    made = [sender.rows(*map(make_event, "abcdefgh")) for sender in senders]
    parts = [rows.part(place, place + 1) for rows in made for place in range(len(rows))]
    random.Random(1).shuffle(parts)

    rows = read_copy(flush_of(parts, []).plan.copy([]))

    keys = [(row["tenant_id"], event_key(row["event_id"])) for row in rows]
    assert sorted(keys) == keys
    assert [2] * 8 + [9] * 8 + [10] * 8 == [tenant for tenant, _ in keys]


def test_the_first_to_arrive_goes_first_and_its_twins_stay_in_order(sender: Sender) -> None:
    first, second, third = (sender.rows(make_event("a", plan=number)) for number in range(3))
    other = sender.rows(make_event("b"))

    plan = flush_of([first, other, second, third], []).plan

    assert (2, True) == (len(plan), plan.has_twins)
    assert {*first.ids, *other.ids} == {row["id"] for row in read_copy(plan.copy([]))}
    assert [*second.ids, *third.ids] == [row.id for row in plan.late([])]


def test_twins_of_one_request_are_told_apart_too(sender: Sender) -> None:
    rows = sender.rows(make_event("a"), make_event("b"), make_event("a", plan="pro"))

    plan = flush_of([rows], []).plan

    assert rows.ids[2:] == [row.id for row in plan.late([])]
    assert set(rows.ids[:2]) == {row["id"] for row in read_copy(plan.copy([]))}


def test_the_same_id_in_two_tenants_is_no_twin(sender: Sender) -> None:
    elsewhere = Sender(make_key(tenant_id=2))

    plan = flush_of([sender.rows(make_event("a")), elsewhere.rows(make_event("a"))], []).plan

    assert (2, False) == (len(plan), plan.has_twins)


def test_late_rows_are_not_copied_and_go_before_twins(sender: Sender) -> None:
    rows = sender.rows(*map(make_event, "abc"))
    twin = sender.rows(make_event("b"))
    plan = flush_of([rows, twin], []).plan
    late = [rows.ids[1], rows.ids[2]]

    assert [rows.ids[0]] == [row["id"] for row in read_copy(plan.copy(late))]
    judged = plan.late(late)
    assert sorted(late) == sorted(row.id for row in judged[:2])
    assert twin.ids == [row.id for row in judged[2:]]
    assert {"b", "c"} == {row.event_id for row in judged}


def test_a_row_is_with_its_key_wherever_it_came_from() -> None:
    senders = [Sender(make_key(tenant_id=tenant)) for tenant in (2, 1)]
    parts = [sender.rows(make_event("a"), make_event("a")) for sender in senders]

    judged = flush_of(parts, []).plan.late([])

    assert [sender.key.key_id for sender in senders] == [row.key_id for row in judged]
    assert [2, 1] == [row.tenant_id for row in judged]


def test_rejected_rows_go_along(sender: Sender) -> None:
    rejected = sender.check({"type": "nope"}).payload.rejected

    assert rejected == flush_of([], rejected).rejected


def test_a_flush_knows_the_days_of_its_rows(sender: Sender) -> None:
    today = sender.payload(make_event("a"))
    sender.clock.advance(24 * 3_600)
    tomorrow = sender.check({"type": "nope"}).payload

    flush = flush_of([today.events, tomorrow.events], tomorrow.rejected)

    assert {NOON.date(), NOON.date() + timedelta(days=1)} == flush.days


def test_verdicts_stand_in_the_order_of_the_payload(sender: Sender) -> None:
    payload = sender.payload(*map(make_event, "abc"))
    late = {
        payload.events.ids[1]: Verdict("b", Outcome.DUPLICATE),
        7: Verdict("x", Outcome.CONFLICT),
    }

    assert [
        Verdict("a", Outcome.ACCEPTED),
        Verdict("b", Outcome.DUPLICATE),
        Verdict("c", Outcome.ACCEPTED),
    ] == verdicts_of(payload, late)


@pytest.mark.parametrize("late", [{}, {7: ANOTHERS}])
def test_a_payload_without_late_rows_is_accepted_as_a_whole(
    sender: Sender, late: dict[int, Verdict]
) -> None:
    payload = sender.payload(make_event('"\\'), make_event("é"))

    verdicts = verdicts_of(payload, late)

    assert isinstance(verdicts, Accepted)
    assert [Verdict('"\\', Outcome.ACCEPTED), Verdict("é", Outcome.ACCEPTED)] == [*verdicts]
    assert msgspec.json.encode([*verdicts]) == verdicts.to_json()


def test_a_row_that_holds_its_key_was_stored_by_an_earlier_try(sender: Sender) -> None:
    row = sender.row("a")

    assert outcome_of(row, held_by(row)) is Outcome.ACCEPTED


@pytest.mark.parametrize("microseconds", [-1, 1])
def test_a_row_with_the_same_id_that_arrived_at_another_time_is_not_ours(
    sender: Sender, microseconds: int
) -> None:
    row = sender.row("a")
    held = held_by(row)
    received_at = held.received_at + timedelta(microseconds=microseconds)

    same = held._replace(received_at=received_at)
    other = same._replace(payload_hash=held.payload_hash ^ 1)

    assert outcome_of(row, same) is Outcome.DUPLICATE
    assert outcome_of(row, other) is Outcome.CONFLICT


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
    row = sender.rows(sent).all()[0]

    kept = quarantined(row, Reason.CONTENT_DIFFERS, "It differs.")

    assert sent == json.loads(kept.payload)
    shared = ("id", "tenant_id", "workspace_id", "event_id", "request_id")
    assert {name: getattr(row, name) for name in shared} == {
        name: getattr(kept, name) for name in shared
    }
    assert NOON == kept.received_at
