"""
The bare store: flushes made beforehand, replayed over as many connections as the service has.

What an event costs here is what it costs PostgreSQL, and the driver, to keep it at all: no HTTP, no
check, no answer. The statements are the service's own. Speaks as the generator does: `begin`,
`end`, then one line of JSON.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.database import DATA, URL, require_own
from bench.floors.rows import Flush, Flushes, Owner, batches
from service import config
from service._native import event_columns
from service.store.connections import connect, pool_config
from service.store.sql import statement

Connection = Any

# More than so many cores store; flushes that are used up all the same end the measured time.
_ROWS_PER_S_MAX: Final = 100_000 * (os.cpu_count() or 1)


async def replay(options: argparse.Namespace) -> dict[str, float]:
    """Store what was made beforehand until the time is up; return what was stored how fast."""
    session = pool_config(config.Config(), os.environ[URL])
    connections = [await connect(session) for _ in range(options.connections)]
    await require_own(connections[0], Path(os.environ[DATA]))
    owners = [
        Owner(*row)
        for row in await connections[0].fetch("SELECT tenant_id, workspace_id FROM api_keys")
    ]
    rows = int(_ROWS_PER_S_MAX * (options.warmup + options.seconds))
    types = connections[0].row_types
    maker = Flushes(owners, types, seed=time.time_ns())
    made = list(batches(maker, rows, options.flush_rows))
    flushes = iter(made)
    started = time.monotonic()
    begin, end = started + options.warmup, started + options.warmup + options.seconds
    counts = Counts(begin, end)
    storing = asyncio.gather(*(_store(connection, flushes, counts) for connection in connections))
    await counts.say(storing)
    await storing
    # The connections stay until whoever watches has read what their sessions cost.
    await asyncio.to_thread(sys.stdin.read)
    stored_s = min(end, counts.last) - begin
    return {"events_per_s": counts.rows / stored_s, "flush_rows": options.flush_rows}


class Counts:
    """What was stored between *begin* and *end*."""

    def __init__(self, begin: float, end: float) -> None:
        self.begin, self.end = begin, end
        self.rows = 0
        self.last = begin

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.end

    def stored(self, rows: int) -> None:
        """Count a flush that has been committed."""
        now = time.monotonic()
        if self.begin <= now < self.end:
            self.rows += rows
            self.last = now

    async def say(self, storing: asyncio.Future[Any]) -> None:
        """Say when the measured time begins, and when it ends: at the latest when *storing* has."""
        await asyncio.sleep(self.begin - time.monotonic())
        print("begin", flush=True)
        # Seconds in which nothing is stored any longer would lower what an event costs.
        await asyncio.wait([storing], timeout=self.end - time.monotonic())
        print("end", flush=True)


async def _store(connection: Connection, flushes: Iterator[Flush], counts: Counts) -> None:
    while not counts.is_over and (flush := next(flushes, None)) is not None:
        await connection.execute(statement("begin"))
        late = await connection.fetch(statement("insert_ledger"), flush.ledger)
        assert not late
        await connection.copy_to_table(
            "events", source=_only(flush.copy), columns=event_columns(), format="binary"
        )
        assert await connection.execute("COMMIT") == "COMMIT"
        counts.stored(flush.rows)


async def _only(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk


def main() -> None:
    """Replay, and say the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.floors.store_floor")
    parser.add_argument("--connections", type=int, default=2)
    parser.add_argument("--flush-rows", type=int, default=500)
    parser.add_argument("--warmup", type=float, default=1.5)
    parser.add_argument("--seconds", type=float, default=5.0)
    figures = uvloop.run(replay(parser.parse_args()))
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
