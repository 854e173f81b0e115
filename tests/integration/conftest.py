"""Fixtures of the store on a real PostgreSQL: its pool, its two ways of writing, and a proxy."""

import socket
import time
from collections.abc import AsyncIterator, Callable
from mmap import mmap
from typing import Any

import msgspec
import pytest

from provision.keys import NewKey
from service.app import Worker
from service.clock import SystemClock
from service.config import Config
from service.edge.sockets import Sockets
from service.model import Payload, Verdict, WriteResult
from service.obs import key_labels
from service.pipeline import rate_limits
from service.reasons import Reason, RefusedError
from service.store.attempt import FlushRetrier
from service.store.connections import PoolConfig, connect, open_pool, pool_config
from service.store.errors import FailureClass
from service.store.ledger import SINGLE_STATEMENT_ROWS_MAX
from service.store.outcomes import EventStore
from service.store.partitions import ensure_partitions
from tests.doubles import NOON, Sender, always, make_event, make_key
from tests.integration.in_process import Sending, StartWorker, SteppedClock
from tests.integration.line import Line

MakeStore = Callable[..., Any]
FILLER_TENANT = 999
# Used by tests of code that both ways of writing share.
ONE_WAY = pytest.mark.parametrize("way", ["single_statement"])


class StoreBench:
    """A store with its own pool; `write` uses one of the two ways of writing."""

    def __init__(self, pool: Any, way: str) -> None:
        self.pool = pool
        self.way = way
        self.failures: list[FailureClass] = []
        self.on_failure: Callable[[], None] = lambda: None
        self.may_quarantine = always(True)
        self._filler = Sender(make_key(tenant_id=FILLER_TENANT))
        clock = SystemClock()
        self.retrier = FlushRetrier(pool, clock, acquire_timeout_s=2.0, on_failure=self._note)
        self._store = EventStore(self.retrier, clock, self._may_quarantine)

    async def write(self, *payloads: Payload, timeout_s: float = 20.0) -> list[list[Verdict]]:
        """Write *payloads* in one flush; raise the RefusedError of one of them."""
        verdicts = []
        for written in await self.written(*payloads, timeout_s=timeout_s):
            if isinstance(written, RefusedError):
                raise written
            verdicts.append(list(written))
        return verdicts

    async def written(self, *payloads: Payload, timeout_s: float = 20.0) -> list[WriteResult]:
        """Write *payloads* in one flush, for COPY with many events of another tenant."""
        given = list(payloads)
        if self.way == "copy":
            given.append(
                self._filler.payload(*(make_event() for _ in range(SINGLE_STATEMENT_ROWS_MAX + 1)))
            )
        written = list(await self._store.write(given, time.monotonic() + timeout_s))
        if self.way == "copy":
            filler = written.pop()
            assert isinstance(filler, RefusedError) or {"accepted"} == {v.status for v in filler}
        return written

    async def outcomes(self, *payloads: Payload) -> list[list[str] | Reason]:
        """Write *payloads* in one flush; return the statuses or the refusal of each."""
        return [
            own.reason
            if isinstance(own, RefusedError)
            else [str(verdict.status) for verdict in own]
            for own in await self.written(*payloads)
        ]

    async def statuses(self, *payloads: Payload, **options: float) -> list[list[str]]:
        """Write *payloads* in one flush; return the status of each event."""
        verdicts = await self.write(*payloads, **options)
        return [[str(verdict.status) for verdict in own] for own in verdicts]

    def _may_quarantine(self, key_id: str, size_bytes: int) -> bool:
        return self.may_quarantine(key_id, size_bytes)

    def _note(self, failure: FailureClass) -> None:
        self.failures.append(failure)
        self.on_failure()


class Database:
    """Reads the test's database, without the events of the other tenant that fill a flush."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def events(self) -> list[Any]:
        rows: list[Any] = await self.connection.fetch(
            "SELECT * FROM events WHERE tenant_id <> $1 ORDER BY received_at, id", FILLER_TENANT
        )
        return rows

    async def rejected(self) -> list[Any]:
        rows: list[Any] = await self.connection.fetch(
            "SELECT * FROM rejected_events ORDER BY received_at, id"
        )
        return rows

    async def event_ids(self) -> list[str]:
        return [row["event_id"] for row in await self.events()]

    async def refuse(self, condition: str) -> None:
        """Make PostgreSQL reject each event for which *condition* is true."""
        await self.connection.execute(
            f"ALTER TABLE events ADD CONSTRAINT no_poison CHECK (NOT ({condition}))"
        )

    async def ledger_rows(self) -> int:
        rows: int = await self.connection.fetchval(
            "SELECT count(*) FROM event_deduplication WHERE tenant_id <> $1", FILLER_TENANT
        )
        return rows


@pytest.fixture
def store_config(database_url: str) -> PoolConfig:
    """Return the default settings of the pool, for the test's database."""
    return pool_config(Config(), database_url)


@pytest.fixture
def sender() -> Sender:
    """Return a sender of tenant 1."""
    return Sender()


@pytest.fixture
async def database(connection: Any) -> Database:
    """Return a reader of the test's database."""
    return Database(connection)


@pytest.fixture(params=["single_statement", "copy"])
def way(request: pytest.FixtureRequest) -> str:
    """The way of writing: by one statement, or by COPY in a transaction."""
    return str(request.param)


@pytest.fixture
async def make_store(store_config: PoolConfig, way: str, line: Line) -> AsyncIterator[MakeStore]:
    """Create a store: `await make_store(lock_timeout_ms=50)`."""
    del line  # requested so that it is closed after the pools
    pools: list[Any] = []

    async def make(**changes: Any) -> StoreBench:
        pool = await open_pool(msgspec.structs.replace(store_config, **changes))
        pools.append(pool)
        await ensure_partitions(pool, NOON.date(), NOON.date())
        return StoreBench(pool, way)

    yield make
    for pool in pools:
        pool.terminate()


@pytest.fixture
async def store(make_store: MakeStore) -> StoreBench:
    """Return a store with the default settings."""
    made: StoreBench = await make_store()
    return made


@pytest.fixture
async def line(database_url: str) -> AsyncIterator[Line]:
    """Return a proxy to the database's server that can cut connections."""
    made = Line(database_url)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def clock() -> SteppedClock:
    """Return the wall clock that the workers of a test share."""
    return SteppedClock(NOON)


@pytest.fixture
async def start_worker(
    database_url: str, tenant: NewKey, clock: SteppedClock
) -> AsyncIterator[StartWorker]:
    """Start workers in this process: `await start_worker(key_cache_ttl_s=1.0)`."""
    workers: list[Worker] = []

    async def start(url: str = database_url, key: NewKey = tenant, **settings: Any) -> Sending:
        worker = Worker(
            Config(**settings),
            url,
            clock,
            Sockets(0, socket.AF_INET),
            mmap(-1, rate_limits.MEMORY_BYTES + key_labels.MEMORY_BYTES),
        )
        workers.append(worker)
        return Sending(worker, await worker.start(), key)

    yield start
    for worker in workers:
        await worker.stop()


HOLD = (
    "INSERT INTO event_deduplication VALUES (1, event_key($1), -1, -1, now())"
    " ON CONFLICT DO NOTHING"
)
WAITING = (
    "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    " AND application_name = 'forebay' AND datname = current_database()"
)


class Holder:
    """Another writer, whose open transaction locks the ledger row of an event."""

    def __init__(self, connection: Any, watcher: Any) -> None:
        self._transaction = connection.transaction()
        self._connection = connection
        self._watcher = watcher

    async def hold(self, event_id: str) -> None:
        await self._transaction.start()
        await self._connection.execute(HOLD, event_id)

    async def until_waited_for(self) -> int:
        """Wait for a flush that waits for the row; return the process id of its backend."""
        while True:
            pid = await self._watcher.fetchval(WAITING)
            if pid is not None:
                return int(pid)

    async def release(self) -> None:
        await self._transaction.rollback()


async def sabotage(connection: Any, event: str, body: str, *, times: int) -> None:
    """Run *body* at the first *times* of *event*; a sequence counts, as it survives rollbacks."""
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
    """Write *payload*, which must be refused; return the refusal's reason."""
    with pytest.raises(RefusedError) as caught:
        await store.write(payload, timeout_s=timeout_s)
    return caught.value.reason


@pytest.fixture
async def holder(connection: Any, store_config: PoolConfig) -> AsyncIterator[Holder]:
    """Another writer that locks rows."""
    watcher = await connect(store_config)
    yield Holder(connection, watcher)
    watcher.terminate()
