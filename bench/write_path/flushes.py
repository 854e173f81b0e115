"""
How many rows a flush may hold, and how many flushes may be under way: through batcher and store.

What is sent is made beforehand, and each sender sends again once it has its answer. There is no
HTTP, but the loop is as busy with each request as HTTP keeps it: requests that all came at the same
moment would go down together for ever, and no second flush would find anything to do.
"""

import asyncio
import random
import statistics
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import asyncpg
import uvloop

from bench.database import Database
from bench.tables import table
from bench.write_path import meter
from bench.write_path.payloads import Payloads
from bench.write_path.statements import owners_of
from service.clock import SystemClock
from service.config import Config
from service.model import Payload
from service.pipeline.batcher import Batcher, QueueLimits
from service.store.events import EventStore
from service.store.pool import open_pool, pool_config
from service.store.settle import Settler
from tests.doubles import always

_SECONDS: Final = 1.5
_WARM_UP_S: Final = 0.5
_ROUNDS: Final = 3
# What a request costs a handler that only reads and answers: 60 to 90 us.
_REQUEST_S: Final = 75e-6
_HEAD: Final = (
    *("rows a flush at most", "flushes at most", "a further one from, rows", "events/s"),
    *("client us/event", "PostgreSQL us/event", "p50, p99 ms", "rows a flush"),
)


class Load(NamedTuple):
    """So many senders, so many events a payload; and how many payloads will do for one run."""

    senders: int
    events: int
    payloads: int


class Setting(NamedTuple):
    """The bounds of a batcher; a further flush waits for so many rows."""

    rows_max: int
    flushes_max: int
    further_rows: int = 1


class Sample(NamedTuple):
    """One run."""

    events_per_s: float
    client_us: float
    postgres_us: float
    p50_ms: float
    p99_ms: float
    flush_rows: float


SINGLES: Final = (Load(32, 1, 40_000), Load(128, 1, 50_000))
BATCHES: Final = (Load(32, 50, 3_500), Load(128, 50, 3_500))
ROWS_MAX: Final = (500, 1_000, 2_000, 4_000)
FLUSHES_MAX: Final = (1, 2, 3)
FURTHER_ROWS: Final = (100, 300)

# No flush of single events comes near any bound of its rows.
_SINGLE_SETTINGS: Final = (
    *(Setting(2_000, flushes) for flushes in FLUSHES_MAX),
    *(Setting(2_000, 2, further) for further in FURTHER_ROWS),
)
_BATCH_SETTINGS: Final = (
    *(Setting(rows, flushes) for rows in ROWS_MAX for flushes in FLUSHES_MAX),
    *(Setting(2_000, 2, further) for further in FURTHER_ROWS),
)
_LIMITS: Final = (
    *((load, _SINGLE_SETTINGS) for load in SINGLES),
    *((load, _BATCH_SETTINGS) for load in BATCHES),
)


def run(database: Database, effort: float) -> str:
    """Measure every load under every setting; return the tables."""
    rounds = max(round(_ROUNDS * effort), 1)
    return "\n\n".join(_run(database, load, settings, rounds) for load, settings in _LIMITS)


def _run(database: Database, load: Load, settings: tuple[Setting, ...], rounds: int) -> str:
    owners = asyncio.run(_owners(database.url))
    made = Payloads(owners, seed=time.time_ns())
    # The same in each run: nothing is left of the one before.
    payloads = [made.payload(load.events) for _ in range(load.payloads)]
    found: dict[Setting, list[Sample]] = {setting: [] for setting in settings}
    for _ in range(rounds):
        for setting in random.sample(settings, len(settings)):
            database.empty()
            sample = uvloop.run(_measure(database.url, setting, load, iter(payloads)))
            found[setting].append(sample)
            print(f"{load.senders} of {load.events}, {setting}: {sample.events_per_s:,.0f}/s")
    return f"{load.senders} senders of {load.events}:\n\n{_table(found)}"


async def _owners(url: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await owners_of(connection)
    finally:
        connection.terminate()


class Line:
    """Where requests come in: one a turn of the loop, and each keeps the loop busy for a while."""

    def __init__(self) -> None:
        self._arriving: deque[asyncio.Future[None]] = deque()

    async def arrive(self) -> None:
        """Return when it is this request's turn."""
        turn = asyncio.get_running_loop().create_future()
        self._arriving.append(turn)
        if len(self._arriving) == 1:
            self._next_soon()
        await turn

    def _next_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        until = time.thread_time() + _REQUEST_S
        while time.thread_time() < until:
            pass
        turn = self._arriving.popleft()
        if self._arriving:
            self._next_soon()
        if not turn.done():
            turn.set_result(None)


class Senders:
    """Send what there is until the time is up, and keep how long each answer took."""

    def __init__(self, batcher: Batcher, payloads: Iterator[Payload]) -> None:
        self._batcher = batcher
        self._line = Line()
        self._payloads = payloads
        self.is_over = False
        self.latencies_ms: list[float] = []
        self.events = 0

    async def send(self) -> None:
        """Be one of them."""
        while not self.is_over and (payload := next(self._payloads, None)) is not None:
            began = time.perf_counter()
            await self._line.arrive()
            verdicts = await self._batcher.submit(payload)
            assert len(verdicts) == len(payload.events)
            self.latencies_ms.append((time.perf_counter() - began) * 1e3)
            self.events += len(verdicts)


async def _measure(url: str, setting: Setting, load: Load, payloads: Iterator[Payload]) -> Sample:
    settings = Config(flushes_max=setting.flushes_max, batch_rows_max=setting.rows_max)
    pool = await open_pool(pool_config(settings, url))
    watcher = await asyncpg.connect(url)
    flushed: list[int] = []
    senders = Senders(_batcher(settings, setting, pool, flushed), payloads)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(load.senders):
            tasks.create_task(senders.send())
        await asyncio.sleep(_WARM_UP_S)
        senders.events = 0
        senders.latencies_ms.clear()
        flushed.clear()
        sessions = await _sessions(watcher)
        before = sum(map(meter.session_cpu_us, sessions))
        client, wall = time.process_time(), time.perf_counter()
        await asyncio.sleep(_SECONDS)
        client, wall = time.process_time() - client, time.perf_counter() - wall
        postgres = sum(map(meter.session_cpu_us, sessions)) - before
        events, latencies_ms = senders.events, list(senders.latencies_ms)
        assert next(payloads, None) is not None, "made too few payloads"
        senders.is_over = True
    pool.terminate()
    watcher.terminate()
    latencies = statistics.quantiles(latencies_ms, n=100)
    return Sample(
        events_per_s=events / wall,
        client_us=(client - len(latencies_ms) * _REQUEST_S) * 1e6 / events,
        postgres_us=postgres / events,
        p50_ms=latencies[49],
        p99_ms=latencies[98],
        flush_rows=statistics.mean(flushed),
    )


def _batcher(settings: Config, setting: Setting, pool: Any, flushed: list[int]) -> Batcher:
    clock = SystemClock()
    settler = Settler(
        pool,
        clock,
        acquire_timeout_s=settings.acquire_timeout_s,
        keep=always(True),
        on_fault=_stop,
    )
    return Batcher(
        write=EventStore(settler, clock, always(True)).write,
        clock=clock,
        limits=QueueLimits(
            queue_rows_max=settings.queue_rows_max,
            queue_bytes_max=settings.queue_bytes_max,
            batch_rows_max=settings.batch_rows_max,
            batch_bytes_max=settings.batch_bytes_max,
        ),
        flushes_max=settings.flushes_max,
        timeout_s=settings.flush_timeout_s,
        further_rows_min=setting.further_rows,
        on_flush=lambda rows, _queued_rows, _duration_s: flushed.append(rows),
    )


def _stop(fault: object) -> None:
    raise AssertionError(f"a flush failed: {fault}")


async def _sessions(watcher: Any) -> list[int]:
    rows = await watcher.fetch(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'forebay'"
    )
    return [row["pid"] for row in rows]


def _table(found: dict[Setting, list[Sample]]) -> str:
    lines: list[tuple[str, ...]] = []
    for setting, samples in found.items():
        median = Sample(*meter.medians(samples))
        lines.append(
            (
                *(f"{setting.rows_max:,}", str(setting.flushes_max), str(setting.further_rows)),
                *(f"{median.events_per_s:,.0f}", f"{median.client_us:.1f}"),
                *(f"{median.postgres_us:.1f}", f"{median.p50_ms:.1f}, {median.p99_ms:.1f}"),
                f"{median.flush_rows:,.0f}",
            )
        )
    return table(_HEAD, iter(lines))
