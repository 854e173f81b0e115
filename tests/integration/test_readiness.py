"""
Whether a worker can store events, from probes, flushes and the age of the last result.

If these tests fail: a load balancer sends requests to a worker that cannot store them, or takes
healthy workers out of service; the health report names the wrong cause.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from service.clock import SystemClock
from service.reasons import Reason, RefusedError
from service.store.connections import FlushConnections, PoolConfig, open_pool
from service.store.errors import Cause, Trouble
from service.store.partitions import top_up_partitions
from service.store.readiness import Readiness
from tests.acceptance.running import until
from tests.doubles import Sender, make_event
from tests.integration.conftest import ONE_WAY, Database, MakeStore, StoreBench, sabotage

# Documented: one second.
CHECKED_S = 5.0
FAIL = """
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE 'it failed' USING ERRCODE = '{state}'; END $$;
    CREATE TRIGGER fail AFTER INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION fail();
"""
NO_RIGHT = """
    DROP TABLE events_{today};
    CREATE OR REPLACE FUNCTION make_event_partition_v1(
        parent text, wanted_name text, starts_at timestamptz, ends_at timestamptz
    ) RETURNS text
    LANGUAGE plpgsql AS $$ BEGIN RAISE insufficient_privilege; END $$;
"""


class AdvancedClock(SystemClock):
    """The system clock plus the seconds that a test adds."""

    def __init__(self) -> None:
        self.added_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.added_s


class ReadinessBench:
    """A readiness with its own pool."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.clock = AdvancedClock()
        self.changes: list[tuple[Trouble | None, Trouble | None]] = []
        self.sessions = FlushConnections(pool, self.clock, wait_s=1.0)
        self.readiness = Readiness(
            pool, self.sessions, self.clock, lambda *change: self.changes.append(change)
        )

    async def probed(self) -> Trouble | None:
        await self.readiness.probe()
        return self.readiness.trouble


@pytest.fixture
async def bench(store_config: PoolConfig) -> AsyncIterator[ReadinessBench]:
    config = msgspec.structs.replace(store_config, connections_max=2, lock_timeout_ms=100)
    pool = await open_pool(config)
    await top_up_partitions(pool, SystemClock().now().date())
    yield ReadinessBench(pool)
    pool.terminate()


def today() -> str:
    return SystemClock().now().strftime("%Y%m%d")


async def test_a_probe_that_can_write_makes_a_worker_ready_and_leaves_no_row(
    bench: ReadinessBench, connection: Any
) -> None:
    before = bench.readiness.trouble

    assert await bench.probed() is None

    assert (Trouble(Cause.AWAY), []) == (before, bench.changes)
    assert bench.readiness.latency_s
    for table in ("events", "event_deduplication", "rejected_events"):
        assert 0 == await connection.fetchval(f"SELECT count(*) FROM {table}")


async def test_probes_of_two_workers_do_not_wait_for_each_other(
    bench: ReadinessBench, store_config: PoolConfig, connection: Any
) -> None:
    pool = await open_pool(store_config)
    other = ReadinessBench(pool)
    await connection.execute(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$;"
        "CREATE TRIGGER wait AFTER INSERT ON rejected_events"
        " FOR EACH STATEMENT EXECUTE FUNCTION wait()"
    )

    assert {None} == set(await asyncio.gather(bench.probed(), other.probed()))
    pool.terminate()


async def test_without_recent_results_a_worker_is_not_ready(bench: ReadinessBench) -> None:
    assert await bench.probed() is None

    bench.clock.added_s += 60

    assert Trouble(Cause.AWAY) == bench.readiness.trouble


@pytest.mark.parametrize(
    ("state", "table", "cause"),
    [
        ("53100", "events", Cause.FULL),
        ("53200", "rejected_events", Cause.FULL),
        ("42501", "events", Cause.NOT_PERMITTED),
        ("25006", "events", Cause.READ_ONLY),
        ("40P01", "events", Cause.BUSY),
        ("XX000", "events", Cause.OTHER),
    ],
)
async def test_a_probe_finds_the_cause(
    bench: ReadinessBench, connection: Any, state: str, table: str, cause: Cause
) -> None:
    await connection.execute(FAIL.format(state=state, table=table))

    assert Trouble(cause) == await bench.probed()
    assert Trouble(cause) == await bench.probed()
    await connection.execute("DROP FUNCTION fail CASCADE")
    assert await bench.probed() is None
    # One report per change.
    assert [(None, Trouble(cause)), (Trouble(cause), None)] == bench.changes


async def test_a_check_that_rejects_the_rows_of_a_probe_leaves_a_worker_ready(
    bench: ReadinessBench, connection: Any
) -> None:
    await connection.execute("ALTER TABLE events ADD CONSTRAINT ours CHECK (tenant_id > 0)")

    assert await bench.probed() is None


async def test_a_foreign_key_that_rejects_the_rows_of_a_probe_leaves_a_worker_ready(
    bench: ReadinessBench, connection: Any
) -> None:
    await connection.execute(
        "ALTER TABLE events ADD CONSTRAINT ours FOREIGN KEY (tenant_id) REFERENCES tenants (id)"
    )

    assert await bench.probed() is None


async def test_a_lock_that_is_released_soon_leaves_a_worker_ready(
    bench: ReadinessBench, connection: Any
) -> None:
    """A flush waits longer for a lock than one probe does."""
    await bench.probed()
    async with connection.transaction():
        await connection.execute("LOCK TABLE events IN SHARE MODE")
        first = await bench.probed()
        second = await bench.probed()

    assert (None, Trouble(Cause.LOCKED)) == (first, second)
    assert await bench.probed() is None


async def test_a_probe_writes_to_the_wal(bench: ReadinessBench, connection: Any) -> None:
    await bench.probed()
    before = await connection.fetchval("SELECT pg_current_wal_flush_lsn()::text")

    await bench.probed()

    assert before != await connection.fetchval("SELECT pg_current_wal_flush_lsn()::text")


async def test_a_probe_finds_that_the_current_hour_has_no_partition(
    bench: ReadinessBench, connection: Any
) -> None:
    await bench.probed()
    start = SystemClock().now().replace(hour=0, minute=0, second=0, microsecond=0)
    await connection.execute(f"DROP TABLE events_{today()}")
    await connection.execute(
        f"CREATE TABLE first_instant PARTITION OF events"
        f" FOR VALUES FROM ('{start}') TO ('{start + timedelta(microseconds=1)}')"
    )
    await connection.execute(
        "CREATE OR REPLACE FUNCTION make_event_partition_v1("
        " parent text, wanted_name text, starts_at timestamptz, ends_at timestamptz)"
        " RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE insufficient_privilege; END $$"
    )

    assert Trouble(Cause.NO_PARTITION) == await bench.probed()


async def test_a_probe_makes_a_missing_partition(bench: ReadinessBench, connection: Any) -> None:
    await bench.probed()
    await connection.execute(f"DROP TABLE events_{today()}")

    assert await bench.probed() is None


async def test_a_partition_that_cannot_be_made_is_a_cause(
    bench: ReadinessBench, connection: Any
) -> None:
    await connection.execute(NO_RIGHT.format(today=today()))

    trouble = await bench.probed()

    assert trouble is not None
    assert Cause.NO_PARTITION is trouble.cause


async def test_a_probe_uses_a_connection_of_flushes(bench: ReadinessBench) -> None:
    await bench.probed()

    async with bench.pool.acquire():
        assert await bench.probed() is None

    assert 1 == bench.sessions.idle


@ONE_WAY
async def test_a_flush_checks_the_settings_again_a_second_later(
    make_store: MakeStore, sender: Sender
) -> None:
    """A reload may change the settings of an open session."""
    store = await make_store(connections_max=1)
    await store.write(sender.payload(make_event("a")))
    async with store.retrier._connections.lend(float("inf")) as session:
        await session.execute("SET synchronous_commit = off")
    sent = 0

    async def refusal() -> RefusedError | None:
        nonlocal sent
        sent += 1
        (written,) = await store.written(sender.payload(make_event(f"b{sent}")))
        return written if isinstance(written, RefusedError) else None

    refused = await until(refusal, CHECKED_S, "a flush is refused")

    assert refused is not None
    assert Reason.STORE_UNAVAILABLE == refused.reason
    assert "synchronous_commit" in refused.message
    assert (Cause.UNSAFE_SETTING, "synchronous_commit") == store.retrier.readiness.trouble
    # A safe session has replaced the unsafe one.
    assert [["accepted"]] == await store.statuses(sender.payload(make_event("c")))


@ONE_WAY
@pytest.mark.parametrize(
    ("condition", "cause"),
    [
        ("RAISE 'full' USING ERRCODE = '53100'", "full"),
        ("RAISE 'no right' USING ERRCODE = '42501'", "not_permitted"),
        ("RAISE 'read only' USING ERRCODE = '25006'", "read_only"),
    ],
)
async def test_the_cause_that_a_flush_met_is_the_cause_of_the_worker(
    store: StoreBench, sender: Sender, database: Database, condition: str, cause: str
) -> None:
    readiness = store.retrier.readiness
    await store.write(sender.payload(make_event("a")))
    event = "TRIGGER fails AFTER INSERT ON event_deduplication FOR EACH STATEMENT"
    await sabotage(database.connection, event, condition, times=99)

    with pytest.raises(RefusedError) as caught:
        await store.write(sender.payload(make_event("b")))

    assert readiness.trouble is not None
    assert (cause, Reason.STORE_UNAVAILABLE) == (readiness.trouble.cause, caught.value.reason)
    assert readiness.trouble.message in caught.value.message
    await database.connection.execute("DROP FUNCTION sabotage CASCADE")
    await readiness.probe()
    assert readiness.trouble is None
