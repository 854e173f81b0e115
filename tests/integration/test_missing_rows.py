"""
A trigger skips rows, so that a table does not store them: the flush is rolled back.

If these tests fail: a sender gets `accepted` for an event that is not in the table.
"""

from typing import Any

import pytest

from service.reasons import Reason, RefusedError
from service.store.errors import FailureClass
from tests.doubles import Sender, make_event, make_key
from tests.integration.conftest import ONE_WAY, Database, StoreBench

SKIP = """
    CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RETURN CASE WHEN {condition} THEN NULL ELSE NEW END; END $$;
    CREATE TRIGGER skip BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION skip();
"""
TABLES = ["events", "events_20260301", "event_deduplication"]
CHANGED = make_event("a", properties={"is": "other"})


async def skip(database: Database, table: str, condition: str = "NEW.tenant_id = 1") -> None:
    """Create a trigger that skips rows."""
    await database.connection.execute(SKIP.format(table=table, condition=condition))


async def stop_skipping(database: Database) -> None:
    await database.connection.execute("DROP FUNCTION skip CASCADE")


async def refused(store: StoreBench, *payloads: Any) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
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


async def test_a_row_that_a_trigger_skips_does_not_affect_other_requests(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await skip(database, "events", "NEW.tenant_id = 2")
    other = sender.payload(make_event("b"), key=make_key(tenant_id=2))
    payloads = [sender.payload(make_event("a")), other, sender.payload(make_event("c"))]

    written = await store.written(*payloads)

    assert isinstance(written[1], RefusedError)
    assert (Reason.STORE_UNAVAILABLE, True) == (written[1].reason, "events" in written[1].message)
    assert [["accepted"], ["accepted"]] == [
        [verdict.status for verdict in one] for one in written if not isinstance(one, RefusedError)
    ]
    assert store.retrier.readiness.trouble is None


async def test_one_skipped_key_of_many_is_never_acknowledged(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await skip(database, "event_deduplication", "NEW.event_key = event_key('b')")
    payload = sender.payload(*(make_event(name) for name in "abc"))

    refusal = await refused(store, payload)

    # The single statement has committed the other two events; a transaction has not.
    is_committed = store.way == "single_statement"
    expected = Reason.OUTCOME_UNKNOWN if is_committed else Reason.STORE_UNAVAILABLE
    assert expected == refusal.reason
    await stop_skipping(database)
    assert [["accepted"] * 3] == await store.statuses(payload)
    assert ["a", "b", "c"] == sorted(await database.event_ids())


@ONE_WAY
async def test_a_rejected_event_that_quarantine_skips_is_not_answered(
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


@ONE_WAY
async def test_a_conflict_that_quarantine_skips_is_not_answered(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await store.write(sender.payload(make_event("a")))
    await skip(database, "rejected_events")

    refusal = await refused(store, sender.payload(CHANGED))

    assert (Reason.STORE_UNAVAILABLE, {FailureClass.REFUSED}) == (
        refusal.reason,
        set(store.failures),
    )


@ONE_WAY
async def test_rejected_rows_of_an_earlier_attempt_are_not_missing(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    payload = sender.payload(make_event("a"), {"type": "nope"})

    await store.write(payload)

    assert [["accepted"]] == await store.statuses(payload)
    assert 1 == len(await database.rejected())


@ONE_WAY
@pytest.mark.parametrize("table", ["events", "event_deduplication", "rejected_events"])
async def test_a_probe_finds_the_table(store: StoreBench, database: Database, table: str) -> None:
    await skip(database, table, "true")
    readiness = store.retrier.readiness

    await readiness.probe()

    assert readiness.trouble is not None
    assert ("rows_missing", table) == readiness.trouble
