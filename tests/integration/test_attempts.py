"""
Attempts of a flush under faults: the events are stored once, or the refusal is correct.

If these tests fail: a sender gets 200 for an event that is not stored, 503 `store_unavailable` for
one that is stored, or 503 although a retry would have stored it.
"""

import asyncio
from typing import Any

import pytest

from service.reasons import Reason
from service.store.connections import Connection, PoolConfig, connect
from service.store.errors import FailureClass, SilentRollbackError
from service.store.ledger import SINGLE_STATEMENT_ROWS_MAX, AttemptState, LedgerTransaction
from service.store.outcomes import flush_of
from tests.doubles import NOON, Sender, always, make_event
from tests.integration.conftest import (
    ONE_WAY,
    Database,
    Holder,
    MakeStore,
    StoreBench,
    refusal,
    sabotage,
)
from tests.integration.line import Line

# Long enough for a test to query and act while a flush waits.
LOCK_TIMEOUT_MS = 30_000
# The server's answer to the single statement of a small flush whose rows are all inserted.
SINGLE_STATEMENT_DONE = b"SELECT 0\x00"


# --- the deadline ---


async def test_a_commit_past_the_deadline_is_given_up_and_not_cancelled(
    make_store: MakeStore, sender: Sender, database: Database, line: Line
) -> None:
    """With a synchronous standby a cancelled COMMIT reports success; a lost connection does not."""
    store = await make_store(url=line.url)
    payload = sender.payload(make_event("a"))
    await sabotage(
        database.connection,
        "CONSTRAINT TRIGGER held AFTER INSERT ON event_deduplication"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW",
        "PERFORM pg_advisory_xact_lock(4242)",
        times=1,
    )
    await database.connection.execute("SELECT pg_advisory_lock(4242)")

    reason = await refusal(store, payload, timeout_s=0.5)
    await database.connection.execute("SELECT pg_advisory_unlock(4242)")

    assert (Reason.OUTCOME_UNKNOWN, 0) == (reason, line.cancels)
    # Whether it was committed or not: after a second request the event is stored once.
    assert [["accepted"]] == await store.statuses(payload)
    assert ["a"] == await database.event_ids()


@ONE_WAY
async def test_a_flush_that_begins_past_its_deadline_stores_nothing(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    reason = await refusal(store, sender.payload(make_event("a")), timeout_s=-1)

    assert Reason.STORE_UNAVAILABLE == reason
    assert [] == await database.event_ids()


@ONE_WAY
async def test_a_flush_waits_for_a_free_connection_until_its_deadline(
    make_store: MakeStore, sender: Sender
) -> None:
    store = await make_store(connections_max=1)
    async with store.pool.acquire():
        reason = await refusal(store, sender.payload(make_event("a")), timeout_s=0.2)

    assert Reason.STORE_UNAVAILABLE == reason
    assert [["accepted"]] == await store.statuses(sender.payload(make_event("a")))


# --- the connection ---


async def test_a_flush_whose_session_is_ended_is_attempted_again(
    make_store: MakeStore, sender: Sender, holder: Holder, database: Database
) -> None:
    store = await make_store(lock_timeout_ms=LOCK_TIMEOUT_MS)
    await holder.hold("a")
    writing = asyncio.create_task(
        store.statuses(sender.payload(make_event("a"), make_event("b"), {"type": "nope"}))
    )
    pid = await holder.until_waited_for()

    await database.connection.execute("SELECT pg_terminate_backend($1)", pid)
    await holder.release()

    assert [["accepted", "accepted"]] == await writing
    assert [FailureClass.LOST] == store.failures
    assert ["a", "b"] == await database.event_ids()
    assert 1 == len(await database.rejected())


async def test_a_flush_whose_connection_is_cut_is_attempted_again(
    make_store: MakeStore, sender: Sender, holder: Holder, database: Database, line: Line
) -> None:
    store = await make_store(url=line.url, lock_timeout_ms=LOCK_TIMEOUT_MS)
    await holder.hold("a")
    writing = asyncio.create_task(store.statuses(sender.payload(make_event("a"))))
    await holder.until_waited_for()

    # The old session, which still waits for the row lock, has to be ended first.
    line.cut()
    await holder.until_waited_for()
    await holder.release()

    assert [["accepted"]] == await writing
    assert FailureClass.LOST in store.failures
    assert ["a"] == await database.event_ids()
    assert 1 == await database.ledger_rows()


async def test_an_event_whose_commit_was_not_answered_is_accepted(
    make_store: MakeStore, sender: Sender, database: Database, line: Line
) -> None:
    store = await make_store(url=line.url)
    payload = sender.payload(*(make_event(f"e{number}") for number in range(23)), make_event("e0"))
    await store.write(sender.payload(make_event("warm")))
    line.cut_at(SINGLE_STATEMENT_DONE if store.way == "single_statement" else b"COMMIT\x00")

    got = await store.statuses(payload)

    assert [["accepted"] * 23 + ["duplicate"]] == got
    assert [FailureClass.LOST] == store.failures
    assert 24 == await database.ledger_rows() == len(await database.events())


async def test_a_lost_session_is_ended_so_that_its_row_locks_are_released(
    make_store: MakeStore, sender: Sender, database: Database, line: Line
) -> None:
    store = await make_store(url=line.url)
    payload = sender.payload(*(make_event(f"e{number}") for number in range(23)))
    await store.write(sender.payload(make_event("warm")))
    # In a transaction the ledger rows are then written but not committed.
    copied = f"COPY {23 + SINGLE_STATEMENT_ROWS_MAX + 1}\x00".encode()
    line.half_cut_at(SINGLE_STATEMENT_DONE if store.way == "single_statement" else copied)

    assert [["accepted"] * 23] == await store.statuses(payload, timeout_s=5)
    assert [FailureClass.LOST] == store.failures
    assert 24 == await database.ledger_rows() == len(await database.events())


async def test_a_lost_commit_without_a_new_connection_is_an_unknown_outcome(
    make_store: MakeStore, sender: Sender, database: Database, line: Line
) -> None:
    store = await make_store(url=line.url)
    payload = sender.payload(*(make_event(f"e{number}") for number in range(23)))
    await store.write(sender.payload(make_event("warm")))
    line.cut_at(SINGLE_STATEMENT_DONE if store.way == "single_statement" else b"COMMIT\x00")
    store.on_failure = line.shut

    assert Reason.OUTCOME_UNKNOWN == await refusal(store, payload, timeout_s=0.5)

    assert 24 == len(await database.events())
    await line.open()
    assert [["accepted"] * 23] == await store.statuses(payload)
    assert 24 == len(await database.events())


@ONE_WAY
async def test_an_unreachable_database_is_store_unavailable(
    make_store: MakeStore, sender: Sender, database: Database, line: Line
) -> None:
    store = await make_store(url=line.url)
    payload = sender.payload(make_event("a"))
    line.shut()
    await store.pool.expire_connections()

    assert Reason.STORE_UNAVAILABLE == await refusal(store, payload, timeout_s=0.3)
    assert {FailureClass.LOST} == set(store.failures)

    await line.open()
    assert [["accepted"]] == await store.statuses(payload)
    assert ["a"] == await database.event_ids()


@ONE_WAY
async def test_a_database_that_comes_back_before_the_deadline_is_waited_for(
    make_store: MakeStore, sender: Sender, line: Line
) -> None:
    store = await make_store(url=line.url)
    line.shut()
    await store.pool.expire_connections()
    faults = asyncio.Queue[None]()
    store.on_failure = lambda: faults.put_nowait(None)
    writing = asyncio.create_task(store.statuses(sender.payload(make_event("a"))))
    # More attempts than for any other failure.
    for _ in range(6):
        await faults.get()

    await line.open()

    assert [["accepted"]] == await writing


# --- errors of the server ---


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
async def test_a_flush_whose_commit_fails_is_attempted_again(
    store: StoreBench, sender: Sender, database: Database, sqlstate: str
) -> None:
    await sabotage(
        database.connection,
        "CONSTRAINT TRIGGER failing AFTER INSERT ON event_deduplication"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW",
        f"RAISE 'not now' USING ERRCODE = '{sqlstate}'",
        times=1,
    )

    assert [["accepted"]] == await store.statuses(sender.payload(make_event("a")))
    assert [FailureClass.RETRY] == store.failures
    assert ["a"] == await database.event_ids()


@ONE_WAY
async def test_an_error_of_the_schema_rejects_no_event(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await database.connection.execute("ALTER TABLE events RENAME COLUMN category TO kategorie")

    assert Reason.STORE_UNAVAILABLE == await refusal(store, sender.payload(make_event("a")))

    assert [FailureClass.BUG] == store.failures
    assert [] == await database.rejected()


async def test_a_full_server_gets_no_second_attempt(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await sabotage(
        database.connection,
        "TRIGGER no_space AFTER INSERT ON event_deduplication FOR EACH STATEMENT",
        "RAISE 'no space left' USING ERRCODE = '53100'",
        times=9,
    )

    reason = await refusal(store, sender.payload(make_event("a")))

    assert Reason.STORE_UNAVAILABLE == reason
    assert [FailureClass.CAPACITY] == store.failures
    assert 1 == await database.connection.fetchval("SELECT last_value FROM sabotages")


async def test_a_flush_is_attempted_again_when_a_ledger_row_was_deleted_meanwhile(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await store.write(sender.payload(make_event("a")))
    await sabotage(
        database.connection,
        "TRIGGER gone AFTER INSERT ON event_deduplication FOR EACH STATEMENT",
        "DELETE FROM event_deduplication WHERE event_key = event_key('a')",
        times=1,
    )

    got = await store.statuses(sender.payload(make_event("a"), make_event("b")))

    # In a transaction the deletion is rolled back too; with one statement the id is deleted.
    expected = "accepted" if store.way == "single_statement" else "duplicate"
    assert [[expected, "accepted"]] == got
    assert [FailureClass.RETRY] == store.failures
    assert 2 == await database.ledger_rows()


@pytest.mark.parametrize("way", ["copy"])
async def test_a_flush_is_given_up_when_a_ledger_row_is_missing_each_time(
    make_store: MakeStore, sender: Sender, database: Database
) -> None:
    store = await make_store()
    await store.write(sender.payload(make_event("a")))
    await sabotage(
        database.connection,
        "TRIGGER gone AFTER INSERT ON event_deduplication FOR EACH STATEMENT",
        "DELETE FROM event_deduplication WHERE event_key = event_key('a')",
        times=99,
    )

    assert Reason.STORE_UNAVAILABLE == await refusal(store, sender.payload(make_event("a")))
    assert {FailureClass.RETRY} == set(store.failures)


class FailingBeforeCommit:
    """A connection on which a statement fails just before COMMIT; the client gets no error."""

    def __init__(self, session: Connection) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def execute(self, query: str, *arguments: Any) -> str:
        if query == "COMMIT":
            await asyncio.gather(self._session.execute("SELECT 1/0"), return_exceptions=True)
        return await self._session.execute(query, *arguments)


async def test_a_commit_that_the_server_answers_with_rollback_is_detected(
    store_config: PoolConfig, sender: Sender, database: Database
) -> None:
    session = await connect(store_config)
    await session.execute("SELECT ensure_event_partitions_v1($1, $1)", NOON.date())
    rows = sender.rows(*(make_event() for _ in range(SINGLE_STATEMENT_ROWS_MAX + 1)))
    flush = flush_of([rows], [], always(True))

    with pytest.raises(SilentRollbackError, match="ROLLBACK"):
        await LedgerTransaction(FailingBeforeCommit(session), flush, AttemptState()).run()

    assert [] == await database.event_ids()
    assert {} == await LedgerTransaction(session, flush, AttemptState()).run()
    assert sorted(rows.event_ids) == sorted(await database.event_ids())
    session.terminate()


@ONE_WAY
async def test_a_warning_that_is_not_about_the_standby_makes_no_outcome_unknown(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await sabotage(
        database.connection,
        "TRIGGER warns AFTER INSERT ON event_deduplication FOR EACH STATEMENT",
        "RAISE WARNING 'canceling wait for synchronous replication' USING ERRCODE = '01000'",
        times=9,
    )

    assert [["accepted"]] == await store.statuses(sender.payload(make_event("a")))
    assert [] == store.failures


async def test_after_a_missing_partition_the_next_attempt_uses_another_session(
    make_store: MakeStore, sender: Sender, database: Database
) -> None:
    """Some sessions never see a partition that another session has attached."""
    store = await make_store()
    await store.write(sender.payload(make_event("a")))
    before = await _flush_pids(database)
    assert before
    await database.connection.execute("DROP TABLE events_20260301")

    assert [["accepted"]] == await store.statuses(sender.payload(make_event("b")))

    assert [FailureClass.PARTITION] == store.failures
    assert not before & await _flush_pids(database)


async def _flush_pids(database: Database) -> set[int]:
    """Return the process ids of the sessions whose last statement was one of a flush."""
    rows = await database.connection.fetch(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'forebay'"
        " AND datname = current_database() AND (query = 'COMMIT' OR query LIKE '%event_row_v1[]%')"
    )
    return {row["pid"] for row in rows}
