"""What goes wrong while a flush is under way: it ends as accepted once, or as an honest refusal."""

import asyncio
import time
from typing import Any

import pytest

from service.model import Payload
from service.reasons import Reason, Refusal
from service.store.faults import Fault, SilentRollbackError
from service.store.flush import flush_of
from service.store.pool import PoolConfig, Session, connect
from service.store.transaction import AT_ONCE_ROWS_MAX, Transaction
from tests.doubles import NOON, Sender, always, make_event
from tests.integration.conftest import Database, MakeStore, StoreBench
from tests.integration.line import Line

# Long enough for a test to look and act while a flush waits.
PATIENT_MS = 30_000
HOLD = (
    "INSERT INTO event_deduplication VALUES (1, event_key($1), -1, -1, now())"
    " ON CONFLICT DO NOTHING"
)
WAITING = (
    "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    " AND application_name = 'forebay' AND datname = current_database()"
)
# What the one statement of a small flush answers: no row of it is late.
AT_ONCE_DONE = b"SELECT 0\x00"


class Holder:
    """Another writer, which holds the ledger's row of an event and does not come to an end."""

    def __init__(self, connection: Any, watcher: Any) -> None:
        self._transaction = connection.transaction()
        self._connection = connection
        self._watcher = watcher

    async def hold(self, event_id: str) -> None:
        await self._transaction.start()
        await self._connection.execute(HOLD, event_id)

    async def until_waited_for(self) -> int:
        """Return the backend of the flush that waits for the row."""
        while True:
            pid = await self._watcher.fetchval(WAITING)
            if pid is not None:
                return int(pid)

    async def let_go(self) -> None:
        await self._transaction.rollback()


@pytest.fixture
async def holder(connection: Any, store_config: PoolConfig) -> Any:
    watcher = await connect(store_config)
    yield Holder(connection, watcher)
    watcher.terminate()


async def sabotage(connection: Any, event: str, body: str, *, times: int) -> None:
    """Do *body* at *event*, the first *times* only: a sequence outlives a rollback."""
    await connection.execute(
        f"""
        CREATE SEQUENCE sabotages;
        CREATE FUNCTION sabotage() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('sabotages') <= {times} THEN {body}; END IF;
            RETURN NULL;
        END $$;
        CREATE {event} EXECUTE FUNCTION sabotage();
        """
    )


async def refusal(store: StoreBench, payload: Payload, timeout_s: float = 20.0) -> Reason:
    with pytest.raises(Refusal) as caught:
        await store.write(payload, timeout_s=timeout_s)
    return caught.value.reason


# --- waiting for others ---


async def test_a_row_that_another_writer_holds_is_waited_for(
    make_store: MakeStore, sender: Sender, holder: Holder, database: Database
) -> None:
    store = await make_store(lock_timeout_ms=PATIENT_MS)
    await holder.hold("a")
    writing = asyncio.create_task(store.statuses(sender.payload(make_event("a"))))
    await holder.until_waited_for()

    await holder.let_go()

    assert [["accepted"]] == await writing
    assert [] == store.faults
    assert ["a"] == await database.event_ids()


async def test_a_wait_that_takes_too_long_is_begun_again(
    make_store: MakeStore, sender: Sender, holder: Holder, database: Database
) -> None:
    store = await make_store(lock_timeout_ms=50)
    timed_out = asyncio.Event()
    store.on_fault = timed_out.set
    await holder.hold("a")
    writing = asyncio.create_task(store.statuses(sender.payload(make_event("a"))))
    await timed_out.wait()

    await holder.let_go()

    assert [["accepted"]] == await writing
    assert {Fault.HELD} == set(store.faults)
    assert ["a"] == await database.event_ids()


async def test_a_row_that_is_held_for_ever_is_given_up_and_nothing_is_stored(
    make_store: MakeStore, sender: Sender, holder: Holder, database: Database
) -> None:
    store = await make_store(lock_timeout_ms=20)
    await holder.hold("a")

    reason = await refusal(store, sender.payload(make_event("a"), make_event("b")), timeout_s=1)

    # Unknown when the deadline met the last try at work: a statement that was not answered.
    assert reason in {Reason.STORE_UNAVAILABLE, Reason.OUTCOME_UNKNOWN}
    assert Fault.HELD in store.faults
    await holder.let_go()
    assert [] == await database.event_ids()


async def test_a_held_row_costs_its_own_request_alone_and_its_mates_settle_soon(
    make_store: MakeStore, sender: Sender, holder: Holder, database: Database
) -> None:
    """
    The bound is five times three seconds; what it took is in the message.

    A flush of 64 requests meets a row that another session holds: lock_timeout, then halving.
    """
    store = await make_store(lock_timeout_ms=1_000)
    await holder.hold("held")
    payloads = [sender.payload(make_event(f"free-{number}")) for number in range(64)]
    payloads.insert(40, sender.payload(make_event("held")))
    began = time.monotonic()

    written = await store.outcomes(*payloads)
    took_s = time.monotonic() - began
    await holder.let_go()

    assert took_s < 15, f"settled after {took_s:.2f} s"
    assert Reason.STORE_UNAVAILABLE == written.pop(40)
    assert [["accepted"]] * 64 == written
    assert sorted(f"free-{number}" for number in range(64)) == sorted(await database.event_ids())


async def test_a_held_row_that_is_let_go_while_its_flush_is_halved_is_stored_too(
    make_store: MakeStore, sender: Sender, holder: Holder
) -> None:
    store = await make_store(lock_timeout_ms=50)
    timed_out = asyncio.Event()
    store.on_fault = timed_out.set
    await holder.hold("a")
    payloads = [sender.payload(make_event(event_id)) for event_id in ("a", "b", "c")]
    writing = asyncio.create_task(store.outcomes(*payloads))
    await timed_out.wait()

    await holder.let_go()

    assert [["accepted"], ["accepted"], ["accepted"]] == await writing


async def test_a_poison_event_beside_a_held_row_is_still_named(
    make_store: MakeStore, sender: Sender, holder: Holder, database: Database
) -> None:
    store = await make_store(lock_timeout_ms=50)
    await database.refuse("event = 'poison'")
    await holder.hold("held")
    payloads = [
        sender.payload(make_event("good")),
        sender.payload(make_event("bad", event="poison")),
        sender.payload(make_event("held")),
    ]

    written = await store.outcomes(*payloads)
    await holder.let_go()

    assert [["accepted"], ["rejected"], Reason.STORE_UNAVAILABLE] == written


async def test_past_its_deadline_a_flush_ends_and_the_pool_goes_on(
    make_store: MakeStore, sender: Sender, holder: Holder
) -> None:
    store = await make_store(lock_timeout_ms=PATIENT_MS, connections_max=1)
    payload = sender.payload(make_event("a"))
    await holder.hold("a")
    started = time.monotonic()

    reason = await refusal(store, payload, timeout_s=0.3)

    # A statement that commits itself may still come to its end; a transaction cannot.
    expected = Reason.OUTCOME_UNKNOWN if store.way == "at_once" else Reason.STORE_UNAVAILABLE
    assert expected == reason
    assert time.monotonic() - started < 3
    await holder.let_go()
    assert [["accepted"]] == await store.statuses(payload)


async def test_a_commit_that_outlasts_the_deadline_is_given_up_but_never_cancelled(
    make_store: MakeStore, sender: Sender, database: Database, line: Line
) -> None:
    """A cancel can make COMMIT lie (with a synchronous standby); a dropped connection cannot."""
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
    # Whatever became of the first one: sent again it is there, once.
    assert [["accepted"]] == await store.statuses(payload)
    assert ["a"] == await database.event_ids()


async def test_a_flush_that_begins_past_its_deadline_stores_nothing(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    reason = await refusal(store, sender.payload(make_event("a")), timeout_s=-1)

    assert Reason.STORE_UNAVAILABLE == reason
    assert [] == await database.event_ids()


async def test_without_a_free_connection_a_flush_waits_no_longer_than_its_deadline(
    make_store: MakeStore, sender: Sender
) -> None:
    store = await make_store(connections_max=1)
    async with store.pool.acquire():
        reason = await refusal(store, sender.payload(make_event("a")), timeout_s=0.2)

    assert Reason.STORE_UNAVAILABLE == reason
    assert [["accepted"]] == await store.statuses(sender.payload(make_event("a")))


# --- the connection ---


async def test_a_backend_that_is_ended_in_mid_flush_costs_a_second_try(
    make_store: MakeStore, sender: Sender, holder: Holder, database: Database
) -> None:
    store = await make_store(lock_timeout_ms=PATIENT_MS)
    await holder.hold("a")
    writing = asyncio.create_task(
        store.statuses(sender.payload(make_event("a"), make_event("b"), {"type": "nope"}))
    )
    pid = await holder.until_waited_for()

    await database.connection.execute("SELECT pg_terminate_backend($1)", pid)
    await holder.let_go()

    assert [["accepted", "accepted"]] == await writing
    assert [Fault.LOST] == store.faults
    assert ["a", "b"] == await database.event_ids()
    assert 1 == len(await database.rejected())


async def test_a_line_that_is_cut_in_mid_flush_costs_a_second_try(
    make_store: MakeStore, sender: Sender, holder: Holder, database: Database, line: Line
) -> None:
    store = await make_store(url=line.url, lock_timeout_ms=PATIENT_MS)
    await holder.hold("a")
    writing = asyncio.create_task(store.statuses(sender.payload(make_event("a"))))
    await holder.until_waited_for()

    # The old session lives on and still waits for the row: it has to be ended first.
    line.cut()
    await holder.until_waited_for()
    await holder.let_go()

    assert [["accepted"]] == await writing
    assert Fault.LOST in store.faults
    assert ["a"] == await database.event_ids()
    assert 1 == await database.ledger_rows()


async def test_an_answer_lost_after_the_commit_is_found_out_to_be_accepted(
    make_store: MakeStore, sender: Sender, database: Database, line: Line
) -> None:
    store = await make_store(url=line.url)
    payload = sender.payload(*(make_event(f"e{number}") for number in range(23)), make_event("e0"))
    await store.write(sender.payload(make_event("warm")))
    line.cut_at(AT_ONCE_DONE if store.way == "at_once" else b"COMMIT\x00")

    got = await store.statuses(payload)

    assert [["accepted"] * 23 + ["duplicate"]] == got
    assert [Fault.LOST] == store.faults
    assert 24 == await database.ledger_rows() == len(await database.events())


async def test_a_session_that_the_server_believes_alive_is_ended_with_all_that_it_holds(
    make_store: MakeStore, sender: Sender, database: Database, line: Line
) -> None:
    store = await make_store(url=line.url)
    payload = sender.payload(*(make_event(f"e{number}") for number in range(23)))
    await store.write(sender.payload(make_event("warm")))
    # In a transaction its rows of the ledger are written by then, and not committed.
    copied = f"COPY {23 + AT_ONCE_ROWS_MAX + 1}\x00".encode()
    line.half_cut_at(AT_ONCE_DONE if store.way == "at_once" else copied)

    assert [["accepted"] * 23] == await store.statuses(payload, timeout_s=5)
    assert [Fault.LOST] == store.faults
    assert 24 == await database.ledger_rows() == len(await database.events())


async def test_a_lost_commit_with_no_way_back_is_an_unknown_outcome(
    make_store: MakeStore, sender: Sender, database: Database, line: Line
) -> None:
    store = await make_store(url=line.url)
    payload = sender.payload(*(make_event(f"e{number}") for number in range(23)))
    await store.write(sender.payload(make_event("warm")))
    line.cut_at(AT_ONCE_DONE if store.way == "at_once" else b"COMMIT\x00")
    store.on_fault = line.shut

    assert Reason.OUTCOME_UNKNOWN == await refusal(store, payload, timeout_s=0.5)

    assert 24 == len(await database.events())
    await line.open()
    assert [["accepted"] * 23] == await store.statuses(payload)
    assert 24 == len(await database.events())


async def test_a_database_that_is_away_is_503_and_back_when_it_is_back(
    make_store: MakeStore, sender: Sender, database: Database, line: Line
) -> None:
    store = await make_store(url=line.url)
    payload = sender.payload(make_event("a"))
    line.shut()
    await store.pool.expire_connections()

    assert Reason.STORE_UNAVAILABLE == await refusal(store, payload, timeout_s=0.3)
    assert {Fault.LOST} == set(store.faults)

    await line.open()
    assert [["accepted"]] == await store.statuses(payload)
    assert ["a"] == await database.event_ids()


async def test_a_database_that_comes_back_within_the_deadline_is_waited_for(
    make_store: MakeStore, sender: Sender, line: Line
) -> None:
    store = await make_store(url=line.url)
    line.shut()
    await store.pool.expire_connections()
    faults = asyncio.Queue[None]()
    store.on_fault = lambda: faults.put_nowait(None)
    writing = asyncio.create_task(store.statuses(sender.payload(make_event("a"))))
    # More of them than a flush has tries for any other fault.
    for _ in range(6):
        await faults.get()

    await line.open()

    assert [["accepted"]] == await writing


# --- the server's own mind ---


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_a_commit_that_fails_is_a_known_rollback_and_goes_again(
    store: StoreBench, sender: Sender, database: Database, state: str
) -> None:
    await sabotage(
        database.connection,
        "CONSTRAINT TRIGGER late AFTER INSERT ON event_deduplication"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW",
        f"RAISE 'not now' USING ERRCODE = '{state}'",
        times=1,
    )

    assert [["accepted"]] == await store.statuses(sender.payload(make_event("a")))
    assert [Fault.RETRY] == store.faults
    assert ["a"] == await database.event_ids()


async def test_a_fault_of_the_schema_is_never_blamed_on_a_sender(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await database.connection.execute("ALTER TABLE events RENAME COLUMN category TO kategorie")

    with pytest.raises(Refusal):
        await store.write(sender.payload(make_event("a")))

    assert [Fault.BUG] == store.faults
    assert [] == await database.rejected()


async def test_a_full_server_is_not_asked_again(
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
    assert [Fault.CAPACITY] == store.faults
    assert 1 == await database.connection.fetchval("SELECT last_value FROM sabotages")


async def test_a_ledger_row_that_vanishes_before_it_is_read_makes_the_flush_run_again(
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

    # In a transaction the deletion is rolled back with it; alone it stands, and the id is free.
    expected = "accepted" if store.way == "at_once" else "duplicate"
    assert [[expected, "accepted"]] == got
    assert [Fault.RETRY] == store.faults
    assert 2 == await database.ledger_rows()


async def test_a_ledger_row_that_vanishes_each_time_is_given_up(
    make_store: MakeStore, way: str, sender: Sender, database: Database
) -> None:
    if way == "at_once":
        pytest.skip("what one statement deletes is gone, and cannot vanish twice")
    store = await make_store()
    await store.write(sender.payload(make_event("a")))
    await sabotage(
        database.connection,
        "TRIGGER gone AFTER INSERT ON event_deduplication FOR EACH STATEMENT",
        "DELETE FROM event_deduplication WHERE event_key = event_key('a')",
        times=99,
    )

    assert Reason.STORE_UNAVAILABLE == await refusal(store, sender.payload(make_event("a")))
    assert {Fault.RETRY} == set(store.faults)


class Careless:
    """A connection on which an error goes unnoticed just before COMMIT."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def execute(self, query: str, *arguments: Any) -> str:
        if query == "COMMIT":
            await asyncio.gather(self._session.execute("SELECT 1/0"), return_exceptions=True)
        return await self._session.execute(query, *arguments)


async def test_a_commit_that_is_answered_by_rollback_is_noticed(
    store_config: PoolConfig, sender: Sender, database: Database
) -> None:
    session = await connect(store_config)
    await session.execute("SELECT ensure_event_partitions_v1($1, $1)", NOON.date())
    rows = sender.rows(*(make_event() for _ in range(AT_ONCE_ROWS_MAX + 1)))
    flush = flush_of([rows], [])

    with pytest.raises(SilentRollbackError, match="ROLLBACK"):
        await Transaction(Careless(session), flush, always(True)).run()

    assert [] == await database.event_ids()
    assert {} == await Transaction(session, flush, always(True)).run()
    assert sorted(rows.event_ids) == sorted(await database.event_ids())
    session.terminate()
