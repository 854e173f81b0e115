"""
The plan of a flush: the order of its rows, and duplicates within it.

If these tests fail: two writers deadlock and senders get 503, or a later one of duplicates in a
flush is stored instead of the first.
"""

import random
from datetime import timedelta
from hashlib import sha256

import pytest

from service._native import Plan
from service.store.outcomes import flush_of
from tests.doubles import NOON, Sender, always, make_event, make_key
from tests.pgcopy import read_copy


@pytest.fixture
def sender() -> Sender:
    return Sender()


def test_rows_are_sorted_by_tenant_and_by_the_bytes_of_their_key() -> None:
    senders = [Sender(make_key(tenant_id=tenant)) for tenant in (10, 9, 2)]
    made = [sender.rows(*map(make_event, "abcdefgh")) for sender in senders]
    parts = [rows.part(place, place + 1) for rows in made for place in range(len(rows))]
    random.Random(1).shuffle(parts)

    rows = read_copy(Plan(parts).copy_data([]))

    keys = [(row["tenant_id"], sha256(row["event_id"].encode()).digest()[:16]) for row in rows]
    assert sorted(keys) == keys
    assert [2] * 8 + [9] * 8 + [10] * 8 == [tenant for tenant, _ in keys]


def test_the_first_of_duplicates_is_inserted_and_the_others_stay_in_order(sender: Sender) -> None:
    first, second, third = (sender.rows(make_event("a", plan=number)) for number in range(3))
    other = sender.rows(make_event("b"))

    plan = Plan([first, other, second, third])

    assert (2, True) == (len(plan), plan.has_duplicates)
    assert {*first.ids, *other.ids} == {row["id"] for row in read_copy(plan.copy_data([]))}
    assert [*second.ids, *third.ids] == [row.id for row in plan.not_inserted([])]


def test_duplicates_in_one_request_are_found_too(sender: Sender) -> None:
    rows = sender.rows(make_event("a"), make_event("b"), make_event("a", plan="pro"))

    plan = Plan([rows])

    assert rows.ids[2:] == [row.id for row in plan.not_inserted([])]
    assert set(rows.ids[:2]) == {row["id"] for row in read_copy(plan.copy_data([]))}


def test_the_same_id_in_two_tenants_is_not_a_duplicate(sender: Sender) -> None:
    elsewhere = Sender(make_key(tenant_id=2))

    plan = Plan([sender.rows(make_event("a")), elsewhere.rows(make_event("a"))])

    assert (2, False) == (len(plan), plan.has_duplicates)


def test_rows_not_inserted_are_not_copied_and_come_before_duplicates(sender: Sender) -> None:
    rows = sender.rows(*map(make_event, "abc"))
    duplicate = sender.rows(make_event("b"))
    plan = Plan([rows, duplicate])
    not_inserted = [rows.ids[1], rows.ids[2]]

    assert [rows.ids[0]] == [row["id"] for row in read_copy(plan.copy_data(not_inserted))]
    judged = plan.not_inserted(not_inserted)
    assert sorted(not_inserted) == sorted(row.id for row in judged[:2])
    assert duplicate.ids == [row.id for row in judged[2:]]
    assert {"b", "c"} == {row.event_id for row in judged}


def test_each_row_has_the_key_and_tenant_of_its_sender() -> None:
    senders = [Sender(make_key(tenant_id=tenant)) for tenant in (2, 1)]
    parts = [sender.rows(make_event("a"), make_event("a")) for sender in senders]

    judged = Plan(parts).not_inserted([])

    assert [sender.key.key_id for sender in senders] == [row.key_id for row in judged]
    assert [2, 1] == [row.tenant_id for row in judged]


def test_a_flush_knows_the_days_of_its_rows(sender: Sender) -> None:
    today = sender.payload(make_event("a"))
    sender.clock.advance(24 * 3_600)
    tomorrow = sender.check({"type": "nope"}).payload

    flush = flush_of([today.events, tomorrow.events], tomorrow.rejected, always(True))

    assert {NOON.date(), NOON.date() + timedelta(days=1)} == flush.days
