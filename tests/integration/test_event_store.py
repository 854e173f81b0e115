"""Flushes on a real PostgreSQL: what is stored, what is answered, whoever else is in the flush."""

import json
import random
from asyncio import gather
from collections import Counter
from datetime import timedelta

import msgspec
import pytest

from service.model import Outcome
from service.reasons import Reason
from service.store.faults import Fault
from tests.doubles import (
    NOON,
    FixedClock,
    Sender,
    always,
    make_body,
    make_event,
    make_key,
    make_payload,
)
from tests.integration.conftest import Database, MakeStore, StoreBench

EVERYTHING = {
    "type": "track",
    "event": "Signed Up",
    "event_id": "e1",
    "name": "n",
    "category": "c",
    "user_id": "u",
    "anonymous_id": "a",
    "group_id": "g",
    "previous_id": "p",
    "properties": {"amount": 1.5, "text": "\u00e9\U0001f600", "list": [None, True]},
    "traits": {"t": {}},
    "context": {"library": {"name": "x"}},
    "timestamp": "2026-03-01T11:00:00.123456Z",
    "sentAt": "2026-03-01T12:00:01Z",
    "plan": "pro",
}


# What the tests have PostgreSQL refuse.
IS_POISON = "event = 'poison'"


# --- what is stored ---


async def test_a_row_holds_what_was_sent(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    payload = sender.payload(EVERYTHING)

    assert [["accepted"]] == await store.statuses(payload)

    (row,) = await database.events()
    texts = ("type", "event", "event_id", "name", "category", "user_id", "anonymous_id")
    for name in (*texts, "group_id", "previous_id"):
        assert EVERYTHING[name] == row[name]
    for name in ("properties", "traits", "context"):
        assert EVERYTHING[name] == json.loads(row[name])
    assert {"plan": "pro"} == json.loads(row["extra"])
    assert (1, 1, "1.0", 1) == (
        row["tenant_id"],
        row["workspace_id"],
        row["schema_version"],
        row["request_id"],
    )
    assert payload.events.ids == [row["id"]]
    happened = NOON - timedelta(hours=1) + timedelta(microseconds=123_456)
    assert (happened, happened - timedelta(seconds=1)) == (
        row["original_timestamp"],
        row["timestamp"],
    )
    assert (NOON, NOON + timedelta(seconds=1)) == (row["received_at"], row["sent_at"])


async def test_what_is_absent_is_null(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await store.write(sender.payload({"type": "page"}))

    (row,) = await database.events()
    absent = {name for name, value in row.items() if value is None}
    documents = {"properties", "traits", "context", "extra"}
    ids = {"event", "name", "category", "user_id", "anonymous_id", "group_id", "previous_id"}
    assert documents | ids | {"original_timestamp", "sent_at"} == absent


async def test_every_event_has_a_ledger_row_that_points_to_it(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await store.write(sender.payload(make_event("a"), make_event("b"), make_event()))

    joined = await database.connection.fetchval(
        "SELECT count(*) FROM events JOIN event_deduplication AS held USING (tenant_id, id)"
        " WHERE held.event_key = event_key(events.event_id) AND tenant_id = 1"
        " AND held.received_at = events.received_at"
    )
    assert (3, 3) == (joined, await database.ledger_rows())


async def test_an_empty_flush_is_nothing(store: StoreBench, sender: Sender) -> None:
    assert [[]] == await store.write(sender.payload())


async def test_rejected_rows_are_kept_as_they_are(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    payload = sender.payload(make_event("a"), {"type": "nope", "event_id": "b"})

    assert [["accepted"]] == await store.statuses(payload)

    (row,) = await database.rejected()
    assert msgspec.structs.asdict(payload.rejected[0]) == dict(row)


# --- verdicts ---


async def test_an_event_sent_again_is_a_duplicate(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await store.write(sender.payload(make_event("a")))

    assert [["duplicate", "accepted"]] == await store.statuses(
        sender.payload(make_event("a"), make_event("b"))
    )
    assert ["a", "b"] == await database.event_ids()
    assert [] == await database.rejected()


async def test_another_content_under_the_same_id_is_a_conflict_and_kept_apart(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await store.write(sender.payload(make_event("a", plan="free")))
    changed = sender.payload(make_event("a", plan="pro"))

    ((verdict,),) = await store.write(changed)

    assert (Outcome.CONFLICT, Reason.CONTENT_DIFFERS) == (verdict.status, verdict.code)
    assert [{"plan": "free"}] == [json.loads(row["extra"]) for row in await database.events()]
    (kept,) = await database.rejected()
    assert ("a", "content_differs") == (kept["event_id"], kept["code"])
    assert make_event("a", plan="pro") == json.loads(kept["payload"])


async def test_twins_in_one_flush_are_judged_by_the_first(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    payloads = [
        sender.payload(make_event("a"), make_event("b")),
        sender.payload(make_event("a", plan="pro")),
        sender.payload(make_event("a")),
    ]

    assert [["accepted", "accepted"], ["conflict"], ["duplicate"]] == await store.statuses(
        *payloads
    )
    assert ["a", "b"] == await database.event_ids()
    assert 1 == len(await database.rejected())


async def test_twins_of_a_stored_event_are_judged_by_it(store: StoreBench, sender: Sender) -> None:
    await store.write(sender.payload(make_event("a", plan="pro")))

    payload = sender.payload(make_event("a"), make_event("a", plan="pro"), make_event("a"))

    assert [["conflict", "duplicate", "conflict"]] == await store.statuses(payload)


async def test_an_id_used_in_another_workspace_of_the_tenant_is_a_conflict(
    store: StoreBench, sender: Sender
) -> None:
    elsewhere = Sender(make_key(workspace_id=2))
    await store.write(sender.payload(make_event("a")))

    ((stored, twin),) = await store.write(
        elsewhere.payload(make_event("a"), make_event("a", plan="pro"))
    )

    assert [Reason.ID_USED_IN_OTHER_WORKSPACE] * 2 == [stored.code, twin.code]


async def test_twins_of_two_workspaces_in_one_flush_conflict_too(
    store: StoreBench, sender: Sender
) -> None:
    elsewhere = Sender(make_key(workspace_id=2))

    got = await store.write(sender.payload(make_event("a")), elsewhere.payload(make_event("a")))

    assert [None, Reason.ID_USED_IN_OTHER_WORKSPACE] == [own[0].code for own in got]


async def test_the_same_id_in_two_tenants_is_two_events(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    other = Sender(make_key(tenant_id=2))

    got = await store.statuses(sender.payload(make_event("a")), other.payload(make_event("a")))

    assert [["accepted"], ["accepted"]] == got
    assert ["a", "a"] == await database.event_ids()


async def test_a_conflict_over_the_budget_is_answered_but_not_kept(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    store.keep = always(False)
    await store.write(sender.payload(make_event("a")))

    assert [["conflict"]] == await store.statuses(sender.payload(make_event("a", plan="pro")))
    assert [] == await database.rejected()


# --- again ---


async def test_rows_that_had_been_committed_are_accepted_again_and_stored_once(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await store.write(sender.payload(make_event("d")))
    payload = sender.payload(
        make_event("a"),
        make_event("a"),
        make_event("a", plan="pro"),
        make_event(),
        {"type": "nope"},
        make_event("d"),
    )

    first = await store.write(payload)
    again = await store.write(payload)

    assert first == again
    assert ["accepted", "duplicate", "conflict", "accepted", "duplicate"] == [
        verdict.status for verdict in again[0]
    ]
    assert 3 == len(await database.events())
    assert 2 == len(await database.rejected())


async def test_two_writers_of_the_same_keys_never_deadlock_and_store_each_once(
    store: StoreBench, make_store: MakeStore, database: Database
) -> None:
    benches = [store, await make_store(), await make_store()]
    senders = [Sender() for _ in range(3)]
    chance = random.Random(7)

    for number in range(12):
        payloads = []
        for one in senders:
            events = [make_event(f"{number}-{key}") for key in range(35)]
            chance.shuffle(events)
            payloads.append(one.payload(*events))
        got = await gather(
            *(bench.statuses(own) for bench, own in zip(benches, payloads, strict=True))
        )
        outcomes = Counter(status for own in got for statuses in own for status in statuses)
        assert {"accepted": 35, "duplicate": 70} == outcomes

    assert [] == [fault for bench in benches for fault in bench.faults]
    assert 12 * 35 == await database.ledger_rows() == len(await database.events())


async def test_keys_reach_the_ledger_in_one_order_however_their_events_came(
    store: StoreBench, database: Database
) -> None:
    await database.connection.execute(
        """
        CREATE TABLE arrivals (place bigserial, tenant_id bigint, event_key uuid);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO arrivals (tenant_id, event_key) VALUES (NEW.tenant_id, NEW.event_key);
            RETURN NEW;
        END $$;
        CREATE TRIGGER noted BEFORE INSERT ON event_deduplication
            FOR EACH ROW EXECUTE FUNCTION note();
        """
    )
    senders = [Sender(make_key(tenant_id=tenant)) for tenant in (10, 9, 2)]

    await store.write(*(one.payload(*map(make_event, "abcdefgh")) for one in senders))

    arrived = await database.connection.fetch(
        "SELECT tenant_id, event_key FROM arrivals ORDER BY place"
    )
    keys = [(row["tenant_id"], row["event_key"].bytes) for row in arrived]
    assert sorted(keys) == keys
    assert {(tenant, 8) for tenant in (2, 9, 10)} <= set(Counter(key[0] for key in keys).items())


# --- poison ---


@pytest.mark.parametrize("place", [0, 3, 6])
async def test_a_row_that_postgresql_refuses_costs_only_itself(
    store: StoreBench, database: Database, place: int
) -> None:
    await database.refuse(IS_POISON)
    senders = [Sender(make_key(tenant_id=tenant)) for tenant in range(1, 8)]
    events = [make_event(f"e{number}") for number in range(7)]
    events[place]["event"] = "poison"
    payloads = [one.payload(event) for one, event in zip(senders, events, strict=True)]
    rejected = senders[0].payload({"type": "nope"}).rejected
    payloads[-1] = make_payload(payloads[-1].events, rejected)

    got = await store.write(*payloads)

    (bad,) = got.pop(place)
    assert (Outcome.REJECTED, Reason.STORE_REFUSED) == (bad.status, bad.code)
    assert ["accepted"] * 6 == [own[0].status for own in got]
    expected = [f"e{number}" for number in range(7) if number != place]
    assert expected == sorted(await database.event_ids())
    kept = {row["code"]: row for row in await database.rejected()}
    assert {"invalid_type", "store_refused"} == set(kept)
    assert f"e{place}" == kept["store_refused"]["event_id"]
    assert 6 == await database.ledger_rows()


async def test_the_rows_of_one_request_share_its_poison_no_more_than_those_of_many(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await database.refuse(IS_POISON)
    names = ["a", "poison", "b", "c", "poison", "d", "e"]
    events = [make_event(f"{number}", event=name) for number, name in enumerate(names)]

    (got,) = await store.statuses(sender.payload(*events, {"type": "nope"}))

    assert ["rejected" if name == "poison" else "accepted" for name in names] == got
    assert ["0", "2", "3", "5", "6"] == sorted(await database.event_ids())
    kept = Counter(row["code"] for row in await database.rejected())
    assert {"invalid_type": 1, "store_refused": 2} == kept


async def test_a_poisoned_row_is_kept_as_it_was_sent(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await database.refuse(IS_POISON)
    event = EVERYTHING | {"event": "poison"}
    await store.write(sender.payload(event))

    (kept,) = await database.rejected()
    was_sent = json.loads(kept["payload"])
    assert event["sentAt"] == was_sent.pop("sent_at")
    assert {name: value for name, value in event.items() if name != "sentAt"} == was_sent
    assert (1, 1, "e1", NOON) == tuple(
        kept[name] for name in ("tenant_id", "workspace_id", "event_id", "received_at")
    )


async def test_a_poisoned_row_is_kept_only_within_the_budget(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await database.refuse(IS_POISON)
    store.keep = always(False)

    assert [["rejected"]] == await store.statuses(sender.payload(make_event("a", event="poison")))
    assert [] == await database.rejected()


@pytest.mark.parametrize(
    "refuse",
    [
        "ADD CHECK (event <> 'poison')",
        # What is no number cannot be read as one, and 0 divides nothing.
        "ADD CHECK (event <> 'poison' OR event::int > 0)",
        "ADD CHECK (1 / (event <> 'poison')::int = 1)",
        "ALTER user_id SET NOT NULL",
        "ALTER name TYPE varchar(6)",
    ],
)
async def test_whatever_postgresql_refuses_is_isolated_even_if_quarantine_refuses_it_too(
    store: StoreBench, sender: Sender, database: Database, refuse: str
) -> None:
    await database.connection.execute(f"ALTER TABLE events {refuse}")
    await database.connection.execute(
        "ALTER TABLE rejected_events ADD CHECK (code <> 'store_refused')"
    )
    bad = make_event("bad", event="poison", name="longer than six", user_id=None, anonymous_id="a")

    got = await store.statuses(sender.payload(make_event("first"), bad, make_event("last")))

    assert [["accepted", "rejected", "accepted"]] == got
    assert ["first", "last"] == await database.event_ids()
    assert {Fault.DATA} == set(store.faults)


async def test_a_text_that_no_column_can_hold_costs_its_request_alone(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    """The edge knows its versions, so that no such one comes: the store asks nobody to trust."""
    bad = sender.check_body(make_body([make_event("bad")]), schema_version="\x00").payload

    got = await store.statuses(
        sender.payload(make_event("a")), bad, sender.payload(make_event("b"))
    )

    assert [["accepted"], ["rejected"], ["accepted"]] == got
    assert ["a", "b"] == await database.event_ids()


async def test_a_twin_takes_the_place_of_a_poisoned_first(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await database.refuse(IS_POISON)
    events = [make_event("a", event="poison"), *map(make_event, "aab")]

    got = await store.statuses(sender.payload(*events))

    assert [["rejected", "accepted", "duplicate", "accepted"]] == got
    assert ["a", "b"] == await database.event_ids()


async def test_the_answer_about_poison_names_no_part_of_the_database(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await database.refuse(IS_POISON)

    ((verdict,),) = await store.write(sender.payload(make_event("a", event="poison")))

    assert "PostgreSQL refused to store this event." == verdict.message


# --- partitions ---


@pytest.mark.parametrize("is_rejected", [False, True])
async def test_a_day_without_a_partition_gets_one_and_the_flush_goes_again(
    store: StoreBench, database: Database, is_rejected: bool
) -> None:
    later = Sender(clock=FixedClock(NOON + timedelta(days=5)))
    events = [make_event("a"), {"type": "nope"}] if is_rejected else [make_event("a")]

    assert [["accepted"]] == await store.statuses(later.payload(*events))

    assert [Fault.PARTITION] == store.faults
    assert ["a"] == await database.event_ids()
    assert int(is_rejected) == len(await database.rejected())


async def test_days_on_both_sides_of_midnight_go_down_together(
    store: StoreBench, database: Database
) -> None:
    clock = FixedClock(NOON + timedelta(days=3, hours=11, minutes=59, seconds=59))
    crossing = Sender(clock=clock)
    before = crossing.payload(make_event("a"))
    clock.advance(2)

    got = await store.statuses(before, crossing.payload(make_event("b"), make_event("a")))

    assert [["accepted"], ["accepted", "duplicate"]] == got
    assert ["a", "b"] == await database.event_ids()
