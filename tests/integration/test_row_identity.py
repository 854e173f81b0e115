"""
Two events never count as one, even after clock steps, a lost key listener or a failover.

If these tests fail: a sender gets `accepted` or `duplicate` for an event that is not stored.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from provision.tenants import create_tenant
from service._native import RowIds
from service.reasons import Reason
from tests.acceptance.own_postgres import OwnPostgres, lent_postgres
from tests.acceptance.proxy import proxied
from tests.doubles import Sender, make_event, make_key
from tests.integration.conftest import ONE_WAY, Database, StoreBench
from tests.integration.in_process import StartWorker, SteppedClock, lose_listener

SECRETS = [bytes([number]) * 32 for number in range(2)]


@pytest.mark.parametrize("step_s", [-0.5, 0.5])
async def test_an_event_without_an_id_is_stored_after_clock_steps_and_a_lost_listener(
    start_worker: StartWorker, clock: SteppedClock, connection: Any, step_s: float
) -> None:
    """The clock steps back to the microsecond in which the last event was received."""
    sending = await start_worker()
    first = await sending.send()

    clock.step(step_s)
    await lose_listener(connection)
    await sending.send()
    clock.step(-step_s)
    await lose_listener(connection)
    second = await sending.send()

    assert ["accepted"] * 2 == [first["status"], second["status"]]
    assert 3 == await connection.fetchval("SELECT count(DISTINCT event_id) FROM events")
    assert 3 == await connection.fetchval("SELECT count(*) FROM events")


async def test_two_workers_in_one_microsecond_store_both_of_their_events(
    start_worker: StartWorker, connection: Any
) -> None:
    one, other = await start_worker(), await start_worker()

    answers = [await sending.send() for sending in (one, other)]

    assert ["accepted"] * 2 == [answer["status"] for answer in answers]
    assert 2 == await connection.fetchval("SELECT count(DISTINCT event_id) FROM events")
    assert 2 == await connection.fetchval("SELECT count(DISTINCT id) FROM events")


@pytest.fixture
def own_postgres() -> Iterator[OwnPostgres]:
    """Lend a server that the test can stop and start."""
    with lent_postgres() as own:
        yield own


async def test_after_a_failover_events_without_ids_of_one_microsecond_are_stored(
    own_postgres: OwnPostgres, start_worker: StartWorker
) -> None:
    """The new primary does not know the sessions of the old one."""
    own, name = own_postgres, "forebay_test_failover"
    url = await own.make_database(name)
    async with own.admin(name) as admin:
        key = await create_tenant(admin, "acme")
    async with proxied(url) as proxy:
        workers = [await start_worker(proxy.url, key=key) for _ in range(2)]
        answers = [await sending.send() for sending in workers]

        await own.stop()
        await own.start()
        proxy.retarget(own.server.url(name))
        answers += [await sending.send() for sending in (*workers, *reversed(workers))]

    assert {"accepted"} == {answer["status"] for answer in answers}
    assert 6 == len({answer["event_id"] for answer in answers})
    async with own.admin(name) as admin:
        assert 6 == await admin.fetchval("SELECT count(*) FROM events")


@ONE_WAY
async def test_rows_of_an_earlier_process_with_the_same_ids_are_other_rows(
    store: StoreBench, database: Database
) -> None:
    """As after a backup was restored."""
    before, after = (Sender(ids=RowIds(7, secret)) for secret in SECRETS)
    events = [make_event(), make_event("a"), make_event("b")]
    await store.write(before.payload(*events))
    after.clock.step(1e-6)

    payload = after.payload(make_event(), make_event("a"), make_event("b", plan="pro"))
    (statuses,) = await store.statuses(payload)

    assert ["accepted", "duplicate", "conflict"] == statuses
    assert 4 == len(await database.events())


async def test_equal_row_ids_in_one_microsecond_are_refused_and_not_lost(
    store: StoreBench, database: Database
) -> None:
    """Two workers must by chance have the same tenant, microsecond and id."""
    one, other = (Sender(ids=RowIds(7, secret)) for secret in SECRETS)
    await store.write(one.payload(make_event("a")))

    (outcome,) = await store.outcomes(other.payload(make_event("b")))

    assert outcome in {Reason.STORE_UNAVAILABLE, Reason.OUTCOME_UNKNOWN}
    assert ["a"] == await database.event_ids()
    assert 1 == await database.ledger_rows()
    assert [["accepted"]] == await store.statuses(other.payload(make_event("b")))


@ONE_WAY
async def test_rows_with_equal_ids_have_their_own_workspaces(
    store: StoreBench, sender: Sender
) -> None:
    """An id identifies a row only together with its time of arrival."""
    here = Sender(ids=RowIds(7, SECRETS[0]))
    there = Sender(make_key(workspace_id=2), ids=RowIds(7, SECRETS[1]))
    there.clock.step(1e-6)
    await store.write(here.payload(make_event("a")))
    await store.write(there.payload(make_event("b")))

    (verdicts,) = await store.write(
        sender.payload(make_event("a", plan="pro"), make_event("b", plan="pro"))
    )

    assert [Reason.CONTENT_DIFFERS, Reason.ID_USED_IN_OTHER_WORKSPACE] == [
        verdict.code for verdict in verdicts
    ]
