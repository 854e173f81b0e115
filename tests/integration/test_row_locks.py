"""
Flushes blocked by a row lock of another session: they wait, retry, and are halved.

If these tests fail: a long transaction that locks one event delays the events of all senders, or
makes them get 503.
"""

import asyncio
import time

from service.reasons import Reason
from service.store.errors import FailureClass
from tests.doubles import Sender, make_event
from tests.integration.conftest import ONE_WAY, Database, Holder, MakeStore, refusal

# Long enough for a test to query and act while a flush waits.
LOCK_TIMEOUT_MS = 30_000


@ONE_WAY
async def test_a_flush_waits_for_a_row_lock(
    make_store: MakeStore, sender: Sender, holder: Holder, database: Database
) -> None:
    store = await make_store(lock_timeout_ms=LOCK_TIMEOUT_MS)
    await holder.hold("a")
    writing = asyncio.create_task(store.statuses(sender.payload(make_event("a"))))
    await holder.until_waited_for()

    await holder.release()

    assert [["accepted"]] == await writing
    assert [] == store.failures
    assert ["a"] == await database.event_ids()


async def test_a_flush_is_attempted_again_after_a_lock_timeout(
    make_store: MakeStore, sender: Sender, holder: Holder, database: Database
) -> None:
    store = await make_store(lock_timeout_ms=50)
    timed_out = asyncio.Event()
    store.on_failure = timed_out.set
    await holder.hold("a")
    writing = asyncio.create_task(store.statuses(sender.payload(make_event("a"))))
    await timed_out.wait()

    await holder.release()

    assert [["accepted"]] == await writing
    assert {FailureClass.HELD} == set(store.failures)
    assert ["a"] == await database.event_ids()


async def test_a_flush_is_given_up_when_a_row_lock_is_not_released(
    make_store: MakeStore, sender: Sender, holder: Holder, database: Database
) -> None:
    store = await make_store(lock_timeout_ms=20)
    await holder.hold("a")

    reason = await refusal(store, sender.payload(make_event("a"), make_event("b")), timeout_s=1)

    # Unknown if the deadline passes while a statement that commits itself has no answer yet.
    assert reason in {Reason.STORE_UNAVAILABLE, Reason.OUTCOME_UNKNOWN}
    assert FailureClass.HELD in store.failures
    await holder.release()
    if reason is Reason.STORE_UNAVAILABLE:
        assert [] == await database.event_ids()


@ONE_WAY
async def test_a_row_lock_affects_one_request_and_the_others_of_the_flush_are_stored_soon(
    make_store: MakeStore, sender: Sender, holder: Holder, database: Database
) -> None:
    """
    A flush of 64 requests, one of them blocked: one lock timeout, then halving.

    Limit: five times the three seconds that it takes on an idle machine.
    """
    store = await make_store(lock_timeout_ms=1_000)
    await holder.hold("held")
    payloads = [sender.payload(make_event(f"free-{number}")) for number in range(64)]
    payloads.insert(40, sender.payload(make_event("held")))
    began = time.monotonic()

    written = await store.outcomes(*payloads)
    took_s = time.monotonic() - began
    await holder.release()

    assert took_s < 15, f"stored after {took_s:.2f} s"
    assert Reason.STORE_UNAVAILABLE == written.pop(40)
    assert [["accepted"]] * 64 == written
    assert sorted(f"free-{number}" for number in range(64)) == sorted(await database.event_ids())


@ONE_WAY
async def test_a_row_whose_lock_is_released_while_its_flush_is_halved_is_stored(
    make_store: MakeStore, sender: Sender, holder: Holder
) -> None:
    store = await make_store(lock_timeout_ms=50)
    timed_out = asyncio.Event()
    store.on_failure = timed_out.set
    await holder.hold("a")
    payloads = [sender.payload(make_event(event_id)) for event_id in ("a", "b", "c")]
    writing = asyncio.create_task(store.outcomes(*payloads))
    await timed_out.wait()

    await holder.release()

    assert [["accepted"], ["accepted"], ["accepted"]] == await writing


@ONE_WAY
async def test_a_row_that_postgresql_rejects_beside_a_row_lock_is_found(
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
    await holder.release()

    assert [["accepted"], ["rejected"], Reason.STORE_UNAVAILABLE] == written


async def test_past_its_deadline_a_flush_ends_and_its_connection_is_free(
    make_store: MakeStore, sender: Sender, holder: Holder
) -> None:
    store = await make_store(lock_timeout_ms=LOCK_TIMEOUT_MS, connections_max=1)
    payload = sender.payload(make_event("a"))
    await holder.hold("a")
    started = time.monotonic()

    reason = await refusal(store, payload, timeout_s=0.3)

    # The server may still finish a statement that commits itself, but not a transaction.
    expected = (
        Reason.OUTCOME_UNKNOWN if store.way == "single_statement" else Reason.STORE_UNAVAILABLE
    )
    assert expected == reason
    assert time.monotonic() - started < 3
    await holder.release()
    assert [["accepted"]] == await store.statuses(payload)
