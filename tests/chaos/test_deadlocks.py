"""
Writers that store the same ids at the same time, in different orders, do not deadlock.

If these tests fail: senders of the same ids wait for seconds, or get 503 under load.
"""

import asyncio
import random
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from service._native import Plan, Row, Rows
from service.clock import SystemClock
from service.config import Config
from service.reasons import RefusedError
from service.store.attempt import Bounds, FlushRetrier
from service.store.connections import open_pool, pool_config
from service.store.errors import FailureClass
from service.store.outcomes import flush_of, verdicts_of
from service.store.partitions import ensure_partitions
from tests.acceptance.running import until
from tests.doubles import NOON, Sender, always, make_event, make_payload

WRITERS = 8
KEYS = 200
TIMEOUT_S = 50.0
# Of an array on the wire: dimensions, nulls, type of the elements, their count, lower bound.
ARRAY_HEAD = struct.Struct("!iiIii")
COUNT = 3

PlanRows = Callable[[list[Rows]], Any]


class Unsorted:
    """
    What a plan would be without its rule: the rows in the order of their arrival.

    Each row is planned alone, and the arrays of one element are put together to one of all.
    """

    has_duplicates = False

    def __init__(self, parts: list[Rows]) -> None:
        self._plan = Plan(parts)
        self._rows = [
            Plan([rows.part(place, place + 1)]) for rows in parts for place in range(len(rows))
        ]

    def __len__(self) -> int:
        return len(self._rows)

    def event_rows(self, oid: int) -> bytes:
        arrays = [row.event_rows(oid) for row in self._rows]
        head = list(ARRAY_HEAD.unpack_from(arrays[0]))
        head[COUNT] = len(arrays)
        return ARRAY_HEAD.pack(*head) + b"".join(array[ARRAY_HEAD.size :] for array in arrays)

    def not_inserted(self, ids: list[int]) -> list[Row]:
        return self._plan.not_inserted(ids)


class Storm:
    """Writers who store the same new keys at once, over and over."""

    def __init__(self, pool: Any, plan_rows: PlanRows) -> None:
        self.faults: Counter[FailureClass] = Counter()
        self.verdicts: Counter[str] = Counter()
        self.rounds = 0
        self._senders = [Sender() for _ in range(WRITERS)]
        self._plan = plan_rows
        self._chance = random.Random(1)
        self._retrier = FlushRetrier(
            pool,
            SystemClock(),
            acquire_timeout_s=TIMEOUT_S,
            on_failure=lambda fault: self.faults.update([fault]),
        )

    async def blow(self) -> None:
        """One round: every writer its own rows for the same new keys, in an order of its own."""
        self.rounds += 1
        events = [make_event(f"{self.rounds}-{number}") for number in range(KEYS)]
        await asyncio.gather(
            *(
                self._settle(sender.rows(*self._chance.sample(events, KEYS)))
                for sender in self._senders
            )
        )

    async def write_in_order(self, events: list[Any]) -> None:
        """Write *events* in the order given, by the next sender."""
        await self._settle(self._senders.pop().rows(*events))

    async def _settle(self, rows: Rows) -> None:
        flush = msgspec.structs.replace(flush_of([rows], [], always(True)), plan=self._plan([rows]))
        bounds = Bounds(time.monotonic() + TIMEOUT_S)
        while True:
            try:
                late = await self._retrier.store(flush, bounds)
            except RefusedError:
                continue  # deadlocked at each of its tries: a sender would send again
            verdicts = verdicts_of(make_payload(rows), late)
            self.verdicts.update(str(verdict.status) for verdict in verdicts)
            return


@pytest.fixture
async def pool(database_url: str, connection: Any) -> AsyncIterator[Any]:
    """Lend connections that notice a deadlock at once instead of after a second."""
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '20ms'")
    config = pool_config(Config(lock_timeout_ms=30_000, statement_timeout_ms=30_000), database_url)
    opened = await open_pool(msgspec.structs.replace(config, connections_max=WRITERS))
    await ensure_partitions(opened, NOON.date(), NOON.date())
    yield opened
    opened.terminate()


async def deadlocks(pool: Any, connection: Any) -> int:
    """Return how many deadlocks PostgreSQL itself has counted, once every writer has gone."""
    pool.terminate()

    async def have_gone() -> bool:
        left: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name = 'forebay' AND datname = current_database()"
        )
        return left == 0

    await until(have_gone, 20, "the writers' sessions have ended and told their numbers")
    counted: int = await connection.fetchval(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    return counted


async def test_writers_of_the_same_ids_never_deadlock(
    pool: Any, connection: Any, *, is_long: bool
) -> None:
    storm = Storm(pool, Plan)
    end = time.monotonic() + (60.0 if is_long else 1.0)
    while time.monotonic() < end:
        await storm.blow()

    assert {} == storm.faults
    assert 0 == await deadlocks(pool, connection)
    await check(storm, connection)


def test_unsorted_rows_differ_from_a_plan_by_their_order_alone() -> None:
    rows = Sender().rows(*map(make_event, "abcde"))
    keys = [row.event_key for row in rows.all()]
    places = sorted(range(len(rows)), key=keys.__getitem__)

    in_order = Unsorted([rows.part(place, place + 1) for place in places])

    assert Plan([rows]).event_rows(7) == in_order.event_rows(7) != Unsorted([rows]).event_rows(7)


async def test_without_the_sort_writers_deadlock_and_each_event_is_stored_once(
    pool: Any, connection: Any
) -> None:
    """
    So the test above would notice if the sort were gone.

    Two writers with the same ids in opposite orders are stopped in the middle by a row that a third
    session holds: each has what the other wants next when that row is let go.
    """
    storm = Storm(pool, Unsorted)
    one, other = ([make_event(event_id) for event_id in order] for order in ("axb", "bxa"))
    holding = connection.transaction()
    await holding.start()
    await connection.execute(
        "INSERT INTO event_deduplication VALUES (1, event_key('x'), 1, 1, now())"
    )
    writing = asyncio.gather(*(storm.write_in_order(events) for events in (one, other)))

    async def are_stopped() -> bool:
        await connection.execute("SELECT pg_stat_clear_snapshot()")  # a transaction keeps its own
        waiting: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return waiting == 2

    await until(are_stopped, 20, "both writers wait for the held row")
    await holding.rollback()
    await writing

    assert {FailureClass.RETRY} == set(storm.faults)
    assert {"accepted": 3, "duplicate": 3} == storm.verdicts
    assert 0 < await deadlocks(pool, connection)
    assert 3 == await connection.fetchval("SELECT count(*) FROM events")


async def check(storm: Storm, connection: Any) -> None:
    keys = storm.rounds * KEYS
    assert {"accepted": keys, "duplicate": keys * (WRITERS - 1)} == storm.verdicts
    assert keys == await connection.fetchval("SELECT count(DISTINCT event_id) FROM events")
    assert keys == await connection.fetchval("SELECT count(*) FROM events")
