"""Rows that a table did not take: the flush is rolled back, and the answer names the table."""

from typing import Any

import pytest

from service.reasons import Reason, Refusal
from service.store.faults import Fault
from tests.doubles import Sender, make_event, make_key
from tests.integration.conftest import Database, StoreBench

SKIP = """
    CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RETURN CASE WHEN {condition} THEN NULL ELSE NEW END; END $$;
    CREATE TRIGGER skip BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION skip();
"""
TABLES = ["events", "events_20260301", "event_deduplication"]
CHANGED = make_event("a", properties={"is": "other"})


async def skip(database: Database, table: str, condition: str = "NEW.tenant_id = 1") -> None:
    """Let a trigger of the operator's keep rows out."""
    await database.connection.execute(SKIP.format(table=table, condition=condition))


async def stop_skipping(database: Database) -> None:
    await database.connection.execute("DROP FUNCTION skip CASCADE")


async def refused(store: StoreBench, *payloads: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await store.write(*payloads)
    return caught.value


@pytest.mark.parametrize("table", TABLES)
async def test_an_event_that_a_trigger_skips_is_never_acknowledged(
    store: StoreBench, sender: Sender, database: Database, table: str
) -> None:
    await skip(database, table)
    payload = sender.payload(make_event("a"), make_event("b"))

    refusal = await refused(store, payload)

    assert Reason.STORE_UNAVAILABLE == refusal.reason
    assert table.removesuffix("_20260301") in refusal.message
    assert (0, []) == (await database.ledger_rows(), await database.events())
    await stop_skipping(database)
    assert [["accepted", "accepted"]] == await store.statuses(payload)
    assert ["a", "b"] == sorted(await database.event_ids())


async def test_one_skipped_event_of_many_rolls_back_the_others(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await skip(database, "events", "NEW.event_id = 'b'")

    refusal = await refused(store, sender.payload(*(make_event(name) for name in "abc")))

    assert (Reason.STORE_UNAVAILABLE, {Fault.REFUSED}) == (refusal.reason, set(store.faults))
    assert (0, []) == (await database.ledger_rows(), await database.events())


async def test_rows_of_one_tenant_that_a_trigger_skips_cost_no_other_tenant(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await skip(database, "events", "NEW.tenant_id = 2")
    other = sender.payload(make_event("b"), key=make_key(tenant_id=2))
    payloads = [sender.payload(make_event("a")), other, sender.payload(make_event("c"))]

    written = await store.written(*payloads)

    assert isinstance(written[1], Refusal)
    assert (Reason.STORE_UNAVAILABLE, True) == (written[1].reason, "events" in written[1].message)
    assert [["accepted"], ["accepted"]] == [
        [verdict.status for verdict in one] for one in written if not isinstance(one, Refusal)
    ]
    assert store.settler.readiness.trouble is None


async def test_one_skipped_key_of_many_is_never_acknowledged(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await skip(database, "event_deduplication", "NEW.event_key = event_key('b')")
    payload = sender.payload(*(make_event(name) for name in "abc"))

    refusal = await refused(store, payload)

    # One statement has committed the other two events; a transaction has not.
    is_at_once = store.way == "at_once"
    expected = Reason.OUTCOME_UNKNOWN if is_at_once else Reason.STORE_UNAVAILABLE
    assert expected == refusal.reason
    await stop_skipping(database)
    assert [["accepted"] * 3] == await store.statuses(payload)
    assert ["a", "b", "c"] == sorted(await database.event_ids())


async def test_a_rejected_event_that_a_trigger_skips_is_not_answered_as_kept(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await skip(database, "rejected_events")
    payload = sender.payload(make_event("a"), {"type": "nope"})

    refusal = await refused(store, payload)

    assert Reason.STORE_UNAVAILABLE == refusal.reason
    assert "rejected_events" in refusal.message
    assert [] == await database.events()
    await stop_skipping(database)
    await store.write(payload)
    assert 1 == len(await database.rejected())


async def test_a_conflict_that_a_trigger_skips_is_not_answered_as_kept(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await store.write(sender.payload(make_event("a")))
    await skip(database, "rejected_events")

    refusal = await refused(store, sender.payload(CHANGED))

    assert (Reason.STORE_UNAVAILABLE, {Fault.REFUSED}) == (refusal.reason, set(store.faults))


async def test_rejected_rows_of_an_earlier_try_are_not_missing(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    payload = sender.payload(make_event("a"), {"type": "nope"})

    await store.write(payload)

    assert [["accepted"]] == await store.statuses(payload)
    assert 1 == len(await database.rejected())


@pytest.mark.parametrize("table", ["events", "event_deduplication", "rejected_events"])
async def test_a_probe_finds_the_table(store: StoreBench, database: Database, table: str) -> None:
    await skip(database, table, "true")
    readiness = store.settler.readiness

    await readiness.probe()

    assert readiness.trouble is not None
    assert ("rows_missing", table) == readiness.trouble
