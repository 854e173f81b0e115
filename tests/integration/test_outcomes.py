"""
Flushes on a real PostgreSQL: what is stored, and the outcome of every event.

If these tests fail: a sender gets the wrong status for an event, an analyst finds an event twice,
changed or not at all, or one invalid event makes the events of other senders get 503.
"""

import json
import random
from asyncio import gather
from collections import Counter
from datetime import timedelta

import msgspec
import pytest

from service.model import Outcome
from service.reasons import Reason
from service.store.errors import FailureClass
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
from tests.integration.conftest import ONE_WAY, Database, MakeStore, StoreBench

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


# Condition for the events that PostgreSQL rejects in tests.
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


@ONE_WAY
async def test_absent_fields_are_null(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await store.write(sender.payload({"type": "page"}))

    (row,) = await database.events()
    nulls = {name for name, value in row.items() if value is None}
    documents = {"properties", "traits", "context", "extra"}
    ids = {"event", "name", "category", "user_id", "anonymous_id", "group_id", "previous_id"}
    assert documents | ids | {"original_timestamp", "sent_at"} == nulls


async def test_every_event_has_a_ledger_row(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await store.write(sender.payload(make_event("a"), make_event("b"), make_event()))

    joined = await database.connection.fetchval(
        "SELECT count(*) FROM events JOIN event_deduplication AS held USING (tenant_id, id)"
        " WHERE held.event_key = event_key(events.event_id) AND tenant_id = 1"
        " AND held.received_at = events.received_at"
    )
    assert (3, 3) == (joined, await database.ledger_rows())


@ONE_WAY
async def test_an_empty_flush_has_no_verdicts(store: StoreBench, sender: Sender) -> None:
    assert [[]] == await store.write(sender.payload())


@ONE_WAY
async def test_rejected_rows_are_stored_unchanged(
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


async def test_other_content_with_the_same_id_is_a_conflict_and_goes_into_quarantine(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await store.write(sender.payload(make_event("a", plan="free")))
    changed = sender.payload(make_event("a", plan="pro"))

    ((verdict,),) = await store.write(changed)

    assert (Outcome.CONFLICT, Reason.CONTENT_DIFFERS) == (verdict.status, verdict.code)
    assert [{"plan": "free"}] == [json.loads(row["extra"]) for row in await database.events()]
    (rejected,) = await database.rejected()
    assert ("a", "content_differs") == (rejected["event_id"], rejected["code"])
    assert make_event("a", plan="pro") == json.loads(rejected["payload"])


@ONE_WAY
async def test_duplicates_in_one_flush_are_compared_with_the_first(
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


@ONE_WAY
async def test_an_id_used_in_another_workspace_of_the_tenant_is_a_conflict(
    store: StoreBench, sender: Sender
) -> None:
    elsewhere = Sender(make_key(workspace_id=2))
    await store.write(sender.payload(make_event("a")))

    ((first, second),) = await store.write(
        elsewhere.payload(make_event("a"), make_event("a", plan="pro"))
    )

    assert [Reason.ID_USED_IN_OTHER_WORKSPACE] * 2 == [first.code, second.code]


@ONE_WAY
async def test_duplicates_of_two_workspaces_in_one_flush_are_a_conflict(
    store: StoreBench, sender: Sender
) -> None:
    elsewhere = Sender(make_key(workspace_id=2))

    got = await store.write(sender.payload(make_event("a")), elsewhere.payload(make_event("a")))

    assert [None, Reason.ID_USED_IN_OTHER_WORKSPACE] == [own[0].code for own in got]


@ONE_WAY
async def test_the_same_id_in_two_tenants_is_two_events(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    other = Sender(make_key(tenant_id=2))

    got = await store.statuses(sender.payload(make_event("a")), other.payload(make_event("a")))

    assert [["accepted"], ["accepted"]] == got
    assert ["a", "a"] == await database.event_ids()


@ONE_WAY
async def test_a_conflict_over_the_quarantine_budget_is_answered_and_not_stored(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    store.may_quarantine = always(False)
    await store.write(sender.payload(make_event("a")))

    assert [["conflict"]] == await store.statuses(sender.payload(make_event("a", plan="pro")))
    assert [] == await database.rejected()


@ONE_WAY
async def test_the_same_content_in_other_json_is_a_duplicate(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    event = '{"type":"track","event":"e","event_id":"a","properties":%s,"timestamp":"%s"}'
    written = (
        ('{"a":1,"b":{"c":"É","d":[2]}}', "2026-02-28T12:00:00Z"),
        (r'{ "b": {"d":[ 2 ],"\u0063":"\u00c9"}, "a":1 }', "2026-02-28T13:00:00.000+01:00"),
        ('{"a":1,"b":{"c":"É","d":[3]}}', "2026-02-28T12:00:00Z"),
    )
    bodies = [f'{{"batch":[{event % each}]}}'.encode() for each in written]

    statuses = [await store.statuses(sender.check_body(body).payload) for body in bodies]

    assert [[["accepted"]], [["duplicate"]], [["conflict"]]] == statuses
    assert 1 == len(await database.events())


@ONE_WAY
async def test_a_ledger_row_with_a_hash_of_another_version_is_a_duplicate(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await store.write(sender.payload(make_event("a", plan="free")))
    # Make it a hash of version 1: the version is in the upper four bits.
    await database.connection.execute(
        "UPDATE event_deduplication"
        " SET payload_hash = ((payload_hash & ((1::bigint << 60) - 1)) # 5) | (1::bigint << 60)"
    )

    assert [["duplicate"], ["duplicate"]] == await store.statuses(
        sender.payload(make_event("a", plan="free")), sender.payload(make_event("a", plan="pro"))
    )


# --- sent again, and concurrent writers ---


async def test_rows_of_a_committed_flush_have_the_same_verdicts_in_a_second_attempt(
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

    assert [] == [failure for bench in benches for failure in bench.failures]
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


# --- rows that PostgreSQL rejects ---


@pytest.mark.parametrize("place", [0, 6])
async def test_a_row_that_postgresql_rejects_does_not_affect_other_requests(
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
    stored = {row["code"]: row for row in await database.rejected()}
    assert {"invalid_type", "store_refused"} == set(stored)
    assert f"e{place}" == stored["store_refused"]["event_id"]
    assert 6 == await database.ledger_rows()


async def test_a_row_that_postgresql_rejects_does_not_affect_other_rows_of_its_request(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await database.refuse(IS_POISON)
    names = ["a", "poison", "b", "c", "poison", "d", "e"]
    events = [make_event(f"{number}", event=name) for number, name in enumerate(names)]

    (got,) = await store.statuses(sender.payload(*events, {"type": "nope"}))

    assert ["rejected" if name == "poison" else "accepted" for name in names] == got
    assert ["0", "2", "3", "5", "6"] == sorted(await database.event_ids())
    stored = Counter(row["code"] for row in await database.rejected())
    assert {"invalid_type": 1, "store_refused": 2} == stored


@ONE_WAY
async def test_a_row_that_postgresql_rejects_goes_into_quarantine_as_it_was_sent(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await database.refuse(IS_POISON)
    event = EVERYTHING | {"event": "poison"}
    await store.write(sender.payload(event))

    (rejected,) = await database.rejected()
    was_sent = json.loads(rejected["payload"])
    assert event["sentAt"] == was_sent.pop("sent_at")
    assert {name: value for name, value in event.items() if name != "sentAt"} == was_sent
    assert (1, 1, "e1", NOON) == tuple(
        rejected[name] for name in ("tenant_id", "workspace_id", "event_id", "received_at")
    )


@ONE_WAY
async def test_a_row_that_postgresql_rejects_counts_against_the_quarantine_budget(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await database.refuse(IS_POISON)
    store.may_quarantine = always(False)

    ((verdict,),) = await store.write(sender.payload(make_event("a", event="poison")))

    assert (Outcome.REJECTED, "PostgreSQL refused to store this event.") == (
        verdict.status,
        verdict.message,
    )
    assert [] == await database.rejected()


@pytest.mark.parametrize(
    "refuse",
    [
        "ADD CHECK (1 / (event <> 'poison')::int = 1)",
        "ALTER user_id SET NOT NULL",
        "ALTER name TYPE varchar(6)",
    ],
)
async def test_a_rejected_row_is_isolated_even_if_quarantine_rejects_it_too(
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
    assert {FailureClass.DATA} == set(store.failures)


@ONE_WAY
async def test_a_text_that_no_column_can_hold_rejects_only_its_request(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    """The edge rejects such a schema version, but the store must not depend on it."""
    bad = sender.check_body(make_body([make_event("bad")]), schema_version="\x00").payload

    got = await store.statuses(
        sender.payload(make_event("a")), bad, sender.payload(make_event("b"))
    )

    assert [["accepted"], ["rejected"], ["accepted"]] == got
    assert ["a", "b"] == await database.event_ids()


@ONE_WAY
async def test_a_duplicate_of_a_rejected_row_is_stored(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await database.refuse(IS_POISON)
    events = [make_event("a", event="poison"), *map(make_event, "aab")]

    got = await store.statuses(sender.payload(*events))

    assert [["rejected", "accepted", "duplicate", "accepted"]] == got
    assert ["a", "b"] == await database.event_ids()


# --- partitions ---


@pytest.mark.parametrize("is_rejected", [False, True])
async def test_a_missing_partition_is_made_and_the_flush_attempted_again(
    store: StoreBench, database: Database, is_rejected: bool
) -> None:
    later = Sender(clock=FixedClock(NOON + timedelta(days=5)))
    events = [make_event("a"), {"type": "nope"}] if is_rejected else [make_event("a")]

    assert [["accepted"]] == await store.statuses(later.payload(*events))

    assert [FailureClass.PARTITION] == store.failures
    assert ["a"] == await database.event_ids()
    assert int(is_rejected) == len(await database.rejected())


@ONE_WAY
async def test_a_flush_may_have_rows_of_two_days(store: StoreBench, database: Database) -> None:
    clock = FixedClock(NOON + timedelta(days=3, hours=11, minutes=59, seconds=59))
    crossing = Sender(clock=clock)
    before = crossing.payload(make_event("a"))
    clock.advance(2)

    got = await store.statuses(before, crossing.payload(make_event("b"), make_event("a")))

    assert [["accepted"], ["accepted", "duplicate"]] == got
    assert ["a", "b"] == await database.event_ids()
