"""One statement or a transaction with COPY: by rows a flush, and what each detail of them costs."""

import math
import random
import time
from typing import Any, Final

import uvloop

from bench.database import Database
from bench.floors.rows import Owner
from bench.tables import table
from bench.write_path import former, meter
from bench.write_path.meter import Cost, Meter
from bench.write_path.payloads import Payloads
from bench.write_path.writers import (
    ARRAYS,
    AT_ONCE,
    AT_ONCE_RETURNING,
    IN_STEPS,
    IN_STEPS_RETURNING,
    PREPARING,
    RECORDS,
    WRITERS,
)
from service import config
from service.store.connections import connect, pool_config

SIZES: Final = (1, 8, 16, 32, 64, 80, 100, 128, 160, 200, 250, 320, 500, 1_000, 2_000)
_ROWS: Final = 12_000
_ROUNDS: Final = (12, 120)
_ROUNDS_MIN: Final = 3
# The server plans a prepared statement for good at its sixth use.
_WARM_UP_ROUNDS: Final = 8
_LIKE_MEASURED_ROUNDS: Final = 2

Costs = dict[str, list[Cost]]


def run(database: Database, effort: float) -> str:
    """Measure at every size; return the tables."""
    by_size = {}
    for rows in SIZES:
        database.empty()
        fewest, most = _ROUNDS
        rounds = max(round(min(max(_ROWS / rows, fewest), most) * effort), _ROUNDS_MIN)
        by_size[rows] = uvloop.run(_measure(database.url, rows, rounds))
        at_once, in_steps = (meter.median(by_size[rows][name]) for name in (AT_ONCE, IN_STEPS))
        print(f"{rows:5} rows, {rounds} rounds: CPU {at_once.cpu:,.0f} and {in_steps.cpu:,.0f} us")
    return "\n\n".join((_main_table(by_size), _crossings(by_size), _details_table(by_size)))


async def owners_of(connection: Any) -> list[Owner]:
    """Return the tenants of a benchmark with their workspaces."""
    rows = await connection.fetch("SELECT tenant_id, workspace_id FROM api_keys")
    return [Owner(*row) for row in rows]


async def _measure(url: str, rows: int, rounds: int) -> Costs:
    connection = await connect(pool_config(config.Config(), url))
    await former.prepare(connection)
    payloads = Payloads(await owners_of(connection), seed=time.time_ns())
    watch = Meter(connection.pid)
    costs: Costs = {name: [] for name in WRITERS}
    for number in range(-_WARM_UP_ROUNDS, rounds):
        for name in random.sample(list(WRITERS), len(WRITERS)):
            flush = payloads.flush(rows if number >= -_LIKE_MEASURED_ROUNDS else 1)
            cost = await watch.cost(WRITERS[name](connection, flush))
            if number >= 0:
                costs[name].append(cost)
    await _require_all_stored(connection)
    connection.terminate()
    return costs


async def _require_all_stored(connection: Any) -> None:
    events, ledger = [
        await connection.fetchval(f"SELECT count(*) FROM {name}")  # noqa: S608 - names of our own
        for name in ("events", "event_deduplication")
    ]
    assert events == ledger, f"{events} events, {ledger} in the ledger"


def _main_table(by_size: dict[int, Costs]) -> str:
    head: tuple[str, ...] = (
        "rows",
        "one statement: client, PostgreSQL us/row; wall ms",
        "COPY: the same",
    )
    head += ("CPU: one statement ÷ COPY", "wall: the same", "spread of that")
    lines: list[tuple[str, ...]] = []
    for rows, costs in by_size.items():
        pairs = zip(costs[AT_ONCE], costs[IN_STEPS], strict=True)
        noise = meter.spread([a.wall / b.wall for a, b in pairs])
        ratios = (f"{_ratio(costs, figure):.2f}" for figure in ("cpu", "wall"))
        cells = (_cell(costs[name], rows) for name in (AT_ONCE, IN_STEPS))
        lines.append((f"{rows:,}", *cells, *ratios, f"{noise:.0%}"))
    return table(head, iter(lines))


def _cell(costs: list[Cost], rows: int) -> str:
    cost = meter.median(costs)
    return f"{cost.client / rows:.1f}, {cost.postgres / rows:.1f}; {cost.wall / 1e3:.2f}"


def _ratio(costs: Costs, figure: str) -> float:
    return meter.ratio(costs[AT_ONCE], costs[IN_STEPS], figure)


def _crossings(by_size: dict[int, Costs]) -> str:
    cpu, wall = (_crossing(by_size, figure) for figure in ("cpu", "wall"))
    return f"One statement costs as much CPU as COPY at {cpu} rows, and as much time at {wall}."


def _crossing(by_size: dict[int, Costs], figure: str) -> str:
    """Say where the ratio passes 1 for good, between two sizes by their logarithms."""
    points = [(math.log(rows), _ratio(costs, figure)) for rows, costs in by_size.items()]
    below = [place for place, (_, found) in enumerate(points) if found < 1]
    if not below or below[-1] == len(points) - 1:
        return "none"
    (x0, y0), (x1, y1) = points[below[-1]], points[below[-1] + 1]
    return f"{math.exp(x0 + (x1 - x0) * (1 - y0) / (y1 - y0)):.0f}"


_DETAILS: Final = (
    (ARRAYS, AT_ONCE),
    (RECORDS, IN_STEPS),
    (AT_ONCE_RETURNING, AT_ONCE),
    (IN_STEPS_RETURNING, IN_STEPS),
    (PREPARING, IN_STEPS),
)


def _details_table(by_size: dict[int, Costs]) -> str:
    head: tuple[str, ...] = (
        "rows",
        *(f"{name} ÷ {beside}: client, PostgreSQL, wall" for name, beside in _DETAILS),
    )
    lines: list[tuple[str, ...]] = []
    for rows, costs in by_size.items():
        cells = (_details_cell(costs[name], costs[beside]) for name, beside in _DETAILS)
        lines.append((f"{rows:,}", *cells))
    return table(head, iter(lines))


def _details_cell(costs: list[Cost], beside: list[Cost]) -> str:
    figures = ("client", "postgres", "wall")
    return ", ".join(f"{meter.ratio(costs, beside, figure):.2f}" for figure in figures)
