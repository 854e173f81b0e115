"""
`python -m bench.store_floor LOAD`: the bare store.

Flushes are made in advance by the service's own core, then stored with the statements of the
service on as many connections as the service has. What an event costs here is what it costs
PostgreSQL and its driver: no HTTP, no check, no answer.

LOAD is JSON: url, connections, flush_rows, warmup and seconds. Standard output is that of
bench/generator.py.
"""

import asyncio
import itertools
import json
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, NamedTuple

import uvloop

from bench.events import RequestMaker
from service import _native
from service.config import Config
from service.pipeline.check import Arrival, random_row_ids
from service.store.connections import RowTypes, connect, pool_config
from service.store.sql import statement

# More than a core can store. If no flush is left nevertheless, the measured time ends.
_ROWS_PER_S_MAX: Final = 100_000 * (os.cpu_count() or 1)
_BATCH_EVENTS: Final = 50


class PreparedFlush(NamedTuple):
    """The rows of one transaction: their number, the ledger rows, and the COPY data."""

    rows: int
    ledger_rows: bytes
    copy_data: bytes


class FlushMaker:
    """Makes flushes with new event ids, for keys of (tenant id, workspace id)."""

    def __init__(self, owners: list[tuple[int, int]], types: RowTypes) -> None:
        self._owners = owners
        self._types = types
        self._row_ids = random_row_ids()
        self._requests = RequestMaker("", [""], _BATCH_EVENTS)

    def make(self, rows: int) -> PreparedFlush:
        """Return a flush of *rows* rows, made from batch requests."""
        parts = [self._rows().part(0, rows - start) for start in range(0, rows, _BATCH_EVENTS)]
        plan = _native.Plan(parts)
        return PreparedFlush(
            len(plan), plan.ledger_rows(self._types.ledger_row), plan.copy_data([])
        )

    def _rows(self) -> _native.Rows:
        body = self._requests.next().partition(b"\r\n\r\n")[2]
        scanned = _native.scan_batch(body, _BATCH_EVENTS)
        assert isinstance(scanned, _native.Scan)
        owner = random.choice(self._owners)
        arrival = Arrival(*owner, "bench", 1, "1.0", time.time_ns() // 1_000)
        rows, refused = scanned.rows(self._row_ids, arrival, clock_skew_min_us=0)
        assert not refused
        return rows


class Replay:
    """Stores prepared flushes until the measured time is over, and counts them."""

    def __init__(self, flushes: list[PreparedFlush], load: dict[str, Any]) -> None:
        self._flushes = iter(flushes)
        self._begin: float = time.monotonic() + load["warmup"]
        self._end: float = self._begin + load["seconds"]
        self._rows = 0
        self._last = self._begin

    async def run(self, connections: list[Any]) -> float:
        """Return the rows stored per second of the measured time."""
        storing = asyncio.gather(*(self._store(connection) for connection in connections))
        await asyncio.sleep(self._begin - time.monotonic())
        print("begin", flush=True)
        # Time after the last flush would lower the CPU per event.
        await asyncio.wait([storing], timeout=self._end - time.monotonic())
        print("end", flush=True)
        await storing
        stored_s: float = min(self._end, self._last) - self._begin
        return self._rows / stored_s

    async def _store(self, connection: Any) -> None:
        while time.monotonic() < self._end and (flush := next(self._flushes, None)) is not None:
            await connection.execute(statement("begin"))
            not_inserted = await connection.fetch(statement("insert_ledger"), flush.ledger_rows)
            assert not not_inserted
            await connection.copy_to_table(
                "events",
                source=_only(flush.copy_data),
                columns=_native.event_columns(),
                format="binary",
            )
            assert await connection.execute("COMMIT") == "COMMIT"
            now = time.monotonic()
            if self._begin <= now < self._end:
                self._rows += flush.rows
                self._last = now


async def _only(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk


def flushes_of(maker: FlushMaker, rows: int, flush_rows: int) -> Iterator[PreparedFlush]:
    """Return as many flushes of *flush_rows* rows as *rows* rows need."""
    return (maker.make(flush_rows) for _ in itertools.repeat(None, -(-rows // flush_rows)))


async def _measure(load: dict[str, Any]) -> dict[str, float]:
    config = pool_config(Config(), load["url"])
    connections = [await connect(config) for _ in range(load["connections"])]
    found = await connections[0].fetch("SELECT tenant_id, workspace_id FROM api_keys")
    maker = FlushMaker([tuple(row) for row in found], connections[0].row_types)
    rows = int(_ROWS_PER_S_MAX * (load["warmup"] + load["seconds"]))
    flushes = list(flushes_of(maker, rows, load["flush_rows"]))
    events_per_s = await Replay(flushes, load).run(connections)
    # The caller closes standard input when it has read the CPU time of the sessions.
    await asyncio.to_thread(sys.stdin.read)
    return {"events_per_s": events_per_s, "flush_rows": load["flush_rows"]}


def main() -> None:
    """Replay, and print the figures."""
    print(json.dumps(uvloop.run(_measure(json.loads(sys.argv[1])))), flush=True)


if __name__ == "__main__":
    main()
