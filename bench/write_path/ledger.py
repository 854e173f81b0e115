"""The ledger by COPY, in the hope that no key is there yet, beside ON CONFLICT; with repeats."""

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Final, NamedTuple

import asyncpg
import uvloop

from bench.database import Database
from bench.tables import table
from bench.write_path import meter
from bench.write_path.payloads import Payloads
from bench.write_path.statements import owners_of
from bench.write_path.writers import InSteps
from service import config
from service._native import Plan, event_columns
from service.store.flush import Flush
from service.store.pool import connect, pool_config
from service.store.sql import statement
from tests.doubles import always

Connection = Any

REPEATED: Final = (0.0, 0.001, 0.01, 0.05)
FLUSH_ROWS: Final = 500
_FLUSHES: Final = 80
# Stored beforehand, so that there is something to repeat; and the server has made its plans.
_BEFORE: Final = 10
_ROUNDS: Final = 3

_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_FIELDS: Final = (5).to_bytes(2, "big")
# Of a binary array before its first element, and of an element before its first field.
_ARRAY_HEAD: Final = 20
_ELEMENT_HEAD: Final = 8
# tenant_id, event_key, id, payload_hash, received_at
_SIZES: Final = (8, 16, 8, 8, 8)
_HEAD: Final = (
    *("repeated", "ledger by", "events/s", "PostgreSQL us/event", "client us/event"),
    *("dead rows per 1,000 events", "ledger bytes/event", "WAL bytes/event", "flushes run twice"),
)
_COLUMNS: Final = ("tenant_id", "event_key", "id", "payload_hash", "received_at")


class Sample(NamedTuple):
    """What one event cost in one run of flushes; dead rows are per 1,000 events."""

    events_per_s: float
    postgres_us: float
    client_us: float
    dead_rows: float
    ledger_bytes: float
    wal_bytes: float
    fallbacks: float


class Given(NamedTuple):
    """A flush, and its places in the ledger as the core would write them for COPY."""

    flush: Flush
    ledger: bytes


Store = Callable[[Connection, Given], Awaitable[bool]]
"""Store a flush; say whether it took a second run."""


async def on_conflict(connection: Connection, given: Given) -> bool:
    """Store as the service does."""
    await InSteps(connection, given.flush, always(True)).run()
    return False


async def by_copy(connection: Connection, given: Given) -> bool:
    """Store as if all keys were new; do it again the other way when one is not."""
    await connection.execute(statement("begin"))
    try:
        await _copy(connection, "event_deduplication", _COLUMNS, given.ledger)
        await _copy(connection, "events", event_columns(), given.flush.plan.copy([]))
    except asyncpg.UniqueViolationError:
        await connection.execute("ROLLBACK")
        await on_conflict(connection, given)
        return True
    assert await connection.execute("COMMIT") == "COMMIT"
    return False


def ledger_copy(plan: Plan, oid: int) -> bytes:
    """Return a plan's places in the ledger as a stream of COPY: the array without its types."""
    array = plan.ledger(oid)
    parts, offset = [_SIGNATURE], _ARRAY_HEAD
    for _ in range(len(plan)):
        offset += _ELEMENT_HEAD
        parts.append(_FIELDS)
        for size in _SIZES:
            parts.append(array[offset + 4 : offset + 8 + size])
            offset += 8 + size
    assert offset == len(array)
    return b"".join((*parts, _TRAILER))


STORES: Final[dict[str, Store]] = {"ON CONFLICT": on_conflict, "COPY": by_copy}


def run(database: Database, effort: float) -> str:
    """Measure at every share of repeats; return the table."""
    # What is dead stays, to be counted.
    database.execute("ALTER TABLE event_deduplication SET (autovacuum_enabled = off)")
    found: dict[tuple[float, str], list[Sample]] = {}
    cells = [(share, name) for share in REPEATED for name in STORES]
    for _ in range(max(round(_ROUNDS * effort), 1)):
        for share, name in random.sample(cells, len(cells)):
            database.empty()
            sample = uvloop.run(_measure(database.url, share, STORES[name]))
            found.setdefault((share, name), []).append(sample)
            print(f"{share:6.1%} {name:11} {sample.events_per_s:8,.0f} events/s", flush=True)
    return _table({cell: found[cell] for cell in cells})


async def _measure(url: str, share: float, store: Store) -> Sample:
    connection = await connect(pool_config(config.Config(), url))
    owners = await owners_of(connection)
    payloads = Payloads(owners[:1], seed=time.time_ns(), repeated=share)
    for _ in range(_BEFORE):
        await store(connection, _given(connection, payloads))
    before = await _state(connection)
    watch = meter.Meter(connection.pid)
    fallbacks = 0

    async def act(given: Given) -> None:
        nonlocal fallbacks
        fallbacks += await store(connection, given)

    costs = [await watch.cost(partial(act, _given(connection, payloads))) for _ in range(_FLUSHES)]
    after = await _state(connection)
    connection.terminate()
    events = _FLUSHES * FLUSH_ROWS
    dead, size, wal = (now - then for now, then in zip(after, before, strict=True))
    client, postgres, wall = (sum(figures) for figures in zip(*costs, strict=True))
    return Sample(
        events_per_s=events / wall * 1e6,
        postgres_us=postgres / events,
        client_us=client / events,
        dead_rows=dead / events * 1_000,
        ledger_bytes=size / events,
        wal_bytes=wal / events,
        fallbacks=fallbacks / _FLUSHES,
    )


def _given(connection: Connection, payloads: Payloads) -> Given:
    flush = payloads.flush(FLUSH_ROWS)
    return Given(flush, ledger_copy(flush.plan, connection.row_types.ledger_row))


async def _state(connection: Connection) -> tuple[float, ...]:
    """Return dead rows of the ledger, its size, and the place in the log."""
    await connection.execute("SELECT pg_stat_force_next_flush()")
    # What was written and is not there: n_dead_tup forgets what was pruned.
    return tuple(
        await connection.fetchrow(
            """
            SELECT (
                SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'event_deduplication'
              ) - (SELECT count(*) FROM event_deduplication),
              pg_total_relation_size('event_deduplication'),
              pg_current_wal_lsn() - '0/0'::pg_lsn
            """
        )
    )


async def _copy(connection: Connection, name: str, columns: Any, stream: bytes) -> None:
    await connection.copy_to_table(name, source=_only(stream), columns=columns, format="binary")


async def _only(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk


def _table(found: dict[tuple[float, str], list[Sample]]) -> str:
    head: tuple[str, ...] = (
        "repeated",
        "ledger by",
        "events/s",
        "PostgreSQL us/event",
        "client us/event",
    )
    head += (
        "dead rows per 1,000 events",
        "ledger bytes/event",
        "WAL bytes/event",
        "flushes run twice",
    )
    lines: list[tuple[str, ...]] = []
    for (share, name), samples in found.items():
        median = Sample(*meter.medians(samples))
        lines.append(
            (
                *(f"{share:.1%}", name, f"{median.events_per_s:,.0f}"),
                *(f"{median.postgres_us:.1f}", f"{median.client_us:.1f}"),
                *(f"{median.dead_rows:,.0f}", f"{median.ledger_bytes:,.0f}"),
                *(f"{median.wal_bytes:,.0f}", f"{median.fallbacks:.0%}"),
            )
        )
    return table(_HEAD, iter(lines))
