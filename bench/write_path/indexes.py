"""What each index of `events` adds to a COPY, and what it gives to those who read."""

import random
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, NamedTuple

import uvloop

from bench.database import Database
from bench.floors.rows import Owner
from bench.tables import table
from bench.write_path import meter
from bench.write_path.meter import Cost, Meter
from bench.write_path.payloads import Payloads
from service import config
from service._native import event_columns
from service.store.connections import connect, pool_config
from service.store.sql import statement

Connection = Any

FLUSH_ROWS: Final = 500
_ROUNDS: Final = 160
_READS: Final = 20
_LEAST_READS: Final = 3
_WARM_UP_ROUNDS: Final = 8
_TENANTS: Final = 25
_WORKSPACES: Final = 4
_LOOKED_UP: Final = 20

KEY: Final = "(tenant_id, received_at, id)"
INDEXES: Final[dict[str, tuple[str, ...]]] = {
    "none": (),
    f"{KEY}: the primary key": (KEY,),
    "(tenant_id, id)": ("(tenant_id, id)",),
    "the primary key and (tenant_id, workspace_id, received_at)": (
        KEY,
        "(tenant_id, workspace_id, received_at)",
    ),
}
_NEWEST: Final = """
SELECT * FROM events WHERE tenant_id = $1 AND received_at >= $2
ORDER BY received_at DESC LIMIT 100
"""
_COUNTED: Final = """
SELECT count(*) FROM events WHERE tenant_id = $1 AND workspace_id = $2 AND received_at >= $3
"""


class Table(NamedTuple):
    """Like `events`, with a partition of its own, and other indexes."""

    name: str
    copies: list[Cost]
    reads: dict[str, list[Cost]]


def run(database: Database, effort: float) -> str:
    """Measure side by side; return the tables."""
    tables = {
        label: Table(f"events_indexed_{number}", [], {}) for number, label in enumerate(INDEXES)
    }
    for label, made in tables.items():
        for command in _definition(made.name, INDEXES[label]):
            database.execute(command)
    database.empty()
    uvloop.run(_measure(database.url, list(tables.values()), round(_ROUNDS * effort)))
    return f"{_costs_table(database, tables)}\n\n{_reads_table(tables)}"


def _definition(name: str, indexes: tuple[str, ...]) -> list[str]:
    return [
        f"CREATE TABLE {name} (LIKE events) PARTITION BY RANGE (received_at)",
        f"CREATE TABLE {name}_all PARTITION OF {name} FOR VALUES FROM (MINVALUE) TO (MAXVALUE)",
        # A key of a partitioned table has to hold the column it is partitioned by.
        *(f"CREATE {'UNIQUE' * (on == KEY)} INDEX ON {name} {on}" for on in indexes),
    ]


async def _measure(url: str, tables: list[Table], rounds: int) -> None:
    connection = await connect(pool_config(config.Config(), url))
    watch = Meter(connection.pid)
    owners = [
        Owner(tenant + 1, tenant * _WORKSPACES + workspace + 1)
        for tenant in range(_TENANTS)
        for workspace in range(_WORKSPACES)
    ]
    payloads = Payloads(owners, seed=time.time_ns())
    began = datetime.now(UTC)
    for number in range(rounds):
        stream = payloads.flush(FLUSH_ROWS).plan.copy([])
        for each in random.sample(tables, len(tables)):
            each.copies.append(await watch.cost(partial(_copy, connection, each.name, stream)))
        if number % 20 == 0:
            print(f"{number * FLUSH_ROWS:,} of {rounds * FLUSH_ROWS:,} events", flush=True)
    await connection.execute("SET statement_timeout = 0")
    for each in tables:
        # The server's own housekeeping, which would else come at some moment of the reads.
        await connection.execute(f"VACUUM ANALYZE {each.name}_all")
    half = began + (datetime.now(UTC) - began) / 2
    for number in range(-_WARM_UP_ROUNDS, max(round(_READS * rounds / _ROUNDS), _LEAST_READS)):
        for each in random.sample(tables, len(tables)):
            await _read(connection, watch, each, half, is_counted=number >= 0)
    connection.terminate()


async def _copy(connection: Connection, name: str, stream: bytes) -> None:
    await connection.copy_to_table(
        name, source=_only(stream), columns=event_columns(), format="binary"
    )


async def _only(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk


async def _read(
    connection: Connection, watch: Meter, each: Table, half: datetime, *, is_counted: bool
) -> None:
    tenant = random.randrange(_TENANTS) + 1
    workspace = (tenant - 1) * _WORKSPACES + 1
    found = await connection.fetch(
        f"SELECT tenant_id, received_at, id FROM {each.name} "  # noqa: S608 - names of our own
        f"TABLESAMPLE SYSTEM (2) LIMIT {_LOOKED_UP}"
    )
    keys = [[row[place] for row in found] for place in range(3)]
    asked: dict[str, tuple[str, list[Any]]] = {
        f"find_workspaces, {_LOOKED_UP} rows": (statement("find_workspaces"), keys),
        "the newest 100 of a tenant": (_NEWEST, [tenant, half]),
        "count of a workspace": (_COUNTED, [tenant, workspace, half]),
    }
    for label, (query, arguments) in asked.items():
        own = query.replace("JOIN events ", f"JOIN {each.name} ")
        own = own.replace("FROM events ", f"FROM {each.name} ")
        assert own != query
        cost = await watch.cost(partial(connection.fetch, own, *arguments))
        if is_counted:
            each.reads.setdefault(label, []).append(cost)


def _costs_table(database: Database, tables: dict[str, Table]) -> str:
    bare, *_ = tables.values()
    head: tuple[str, ...] = (
        "index",
        "PostgreSQL us/event",
        "÷ none",
        "wall ms a COPY of 500",
        "÷ none",
    )
    head += ("index bytes/event",)
    lines: list[tuple[str, ...]] = []
    for label, each in tables.items():
        cost = meter.median(each.copies)
        size = database.value("SELECT pg_indexes_size($1::regclass)", f"{each.name}_all")
        ratios = {
            figure: meter.ratio(each.copies, bare.copies, figure) for figure in ("postgres", "wall")
        }
        lines.append(
            (
                *(label, f"{cost.postgres / FLUSH_ROWS:.1f}", f"{ratios['postgres']:.2f}"),
                *(f"{cost.wall / 1e3:.1f}", f"{ratios['wall']:.2f}"),
                f"{size / len(each.copies) / FLUSH_ROWS:.0f}",
            )
        )
    return table(head, iter(lines))


def _reads_table(tables: dict[str, Table]) -> str:
    labels = list(next(iter(tables.values())).reads)
    head = ("index", *(f"{label}: PostgreSQL us" for label in labels))
    lines: list[tuple[str, ...]] = []
    for label, each in tables.items():
        cells = (f"{meter.median(each.reads[read]).postgres:,.0f}" for read in labels)
        lines.append((label, *cells))
    return table(head, iter(lines))
