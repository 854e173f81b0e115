"""A flush that PostgreSQL refuses: what is known of it, what it costs, and what is said."""

import pytest

from service.reasons import Reason, Refusal
from service.store.faults import Fault
from tests.doubles import Sender, make_event
from tests.integration.conftest import Database, MakeStore, StoreBench
from tests.integration.test_event_store_faults import refusal, sabotage


async def test_an_error_of_the_server_is_a_known_rollback_whatever_its_class(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await database.connection.execute("ALTER TABLE events RENAME COLUMN category TO kategorie")

    assert Reason.STORE_UNAVAILABLE == await refusal(store, sender.payload(make_event("a")))


async def test_a_warning_of_somebody_else_makes_no_outcome_unknown(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await sabotage(
        database.connection,
        "TRIGGER warns AFTER INSERT ON event_deduplication FOR EACH STATEMENT",
        "RAISE WARNING 'canceling wait for synchronous replication' USING ERRCODE = '01000'",
        times=9,
    )

    assert [["accepted"]] == await store.statuses(sender.payload(make_event("a")))
    assert [] == store.faults


async def test_after_a_missing_partition_the_next_try_has_another_session(
    make_store: MakeStore, sender: Sender, database: Database
) -> None:
    """A session was seen that never found a partition attached by another."""
    store = await make_store()
    await store.write(sender.payload(make_event("a")))
    before = await _flush_pids(database)
    assert before
    await database.connection.execute("DROP TABLE events_20260301")

    assert [["accepted"]] == await store.statuses(sender.payload(make_event("b")))

    assert [Fault.PARTITION] == store.faults
    assert not before & await _flush_pids(database)


async def _flush_pids(database: Database) -> set[int]:
    """Return the sessions whose last statement was a flush's."""
    rows = await database.connection.fetch(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'forebay'"
        " AND datname = current_database() AND (query = 'COMMIT' OR query LIKE '%event_row_v1[]%')"
    )
    return {row["pid"] for row in rows}


@pytest.mark.parametrize(
    ("condition", "cause"),
    [
        ("RAISE 'full' USING ERRCODE = '53100'", "full"),
        ("RAISE 'no right' USING ERRCODE = '42501'", "not_permitted"),
        ("RAISE 'read only' USING ERRCODE = '25006'", "read_only"),
    ],
)
async def test_readiness_knows_what_the_last_flush_met(
    store: StoreBench, sender: Sender, database: Database, condition: str, cause: str
) -> None:
    readiness = store.settler.readiness
    await store.write(sender.payload(make_event("a")))
    event = "TRIGGER fails AFTER INSERT ON event_deduplication FOR EACH STATEMENT"
    await sabotage(database.connection, event, condition, times=99)

    with pytest.raises(Refusal) as caught:
        await store.write(sender.payload(make_event("b")))

    assert readiness.trouble is not None
    assert (cause, Reason.STORE_UNAVAILABLE) == (readiness.trouble.cause, caught.value.reason)
    assert readiness.trouble.message in caught.value.message
    await database.connection.execute("DROP FUNCTION sabotage CASCADE")
    await readiness.probe()
    assert readiness.trouble is None
