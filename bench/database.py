"""
The PostgreSQL of a benchmark: new for each run, and removed afterwards.

No other database is ever touched: DATABASE_URL is not read.
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench.processes import cpu_s
from provision import postgres
from provision.migrate import migrate
from provision.tenants import create_tenant

Settings = dict[str, Any]

SETTINGS: Final[Settings] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "2GB",
    "max_wal_size": "8GB",
    "max_connections": 200,
}
# The settings of `forebay dev`, with more connections: each sample opens new ones.
DEV_SETTINGS: Final[Settings] = {**postgres.SETTINGS, "max_connections": 200}
_NAME: Final = "forebay_bench"
_TENANTS: Final = ("acme", "globex", "initech", "umbrella")
_LEDGER: Final = "event_deduplication"
# The table of the peer exists after the first start of the peer.
_EVENT_TABLES: Final = ("events", _LEDGER, "rejected_events", "naive.events")
_EXISTING: Final = "SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NOT NULL"
# Random keys, as hashes of real ids are, so that rows go to all parts of the index.
_FILL: Final = f"""
INSERT INTO {_LEDGER} (tenant_id, event_key, id, payload_hash, received_at)
SELECT 1 + number % {len(_TENANTS)}, event_key('long-ago-' || number), number, number,
       now() - interval '1 day'
FROM generate_series({{first}}, {{end}} - 1) AS number
"""  # noqa: S608 - our own names


class BenchDatabase:
    """A migrated database with tenants and keys, on a server that only this run uses."""

    def __init__(self, url: str, keys: list[Any], data: Path) -> None:
        self.url = url
        self.keys = keys
        self._pid_file = data / "postmaster.pid"

    def cpu_s(self) -> float:
        """Return the CPU time of all processes of the server, in seconds."""
        return cpu_s(int(self._pid_file.read_text().splitlines()[0]))

    def empty(self, *, checkpoint: bool = True, keep_ledger: bool = False) -> None:
        """Delete all events and all rows of the ledger."""
        tables = [table for table in _EVENT_TABLES if not (keep_ledger and table == _LEDGER)]
        existing = self.value(
            f"SELECT string_agg(name, ', ') FROM ({_EXISTING}) AS existing",  # noqa: S608
            tables,
        )
        self.execute(f"TRUNCATE {existing}", *(["CHECKPOINT"] if checkpoint else []))

    def fill_ledger(self, first: int, end: int) -> None:
        """Insert ledger rows of yesterday, numbered from *first* up to *end* (exclusive)."""
        self.execute(_FILL.format(first=first, end=end), f"ANALYZE {_LEDGER}", "CHECKPOINT")

    def shrink_ledger(self, ids: int) -> None:
        """Delete the ledger rows that samples have added to the first *ids*."""
        if ids == 0:
            self.execute(f"TRUNCATE {_LEDGER}")
        else:
            self.execute(f"DELETE FROM {_LEDGER} WHERE id >= {ids}", f"VACUUM {_LEDGER}")  # noqa: S608

    def stored(self, table: str = "events") -> int:
        """Return the number of events in *table*."""
        assert table in _EVENT_TABLES
        return int(self.value(f"SELECT count(*) FROM {table}"))  # noqa: S608 - one of ours

    def execute(self, *commands: str) -> None:
        """Run statements, each in a transaction of its own."""

        async def execute() -> None:
            async with _connected(self.url) as connection:
                for command in commands:
                    await connection.execute(command)

        asyncio.run(execute())

    def value(self, query: str, *arguments: object) -> Any:
        """Return the value of a query."""

        async def fetch() -> Any:
            async with _connected(self.url) as connection:
                return await connection.fetchval(query, *arguments)

        return asyncio.run(fetch())


@contextlib.contextmanager
def own_database(
    programs: Path | None = None, settings: Settings = SETTINGS
) -> Iterator[BenchDatabase]:
    """
    Create a database on a new server with *settings*.

    *programs* is the folder with the programs of a PostgreSQL other than the embedded one.
    """
    folder = Path(tempfile.mkdtemp(prefix="forebay-bench-"))
    folder.chmod(0o711)  # root runs the server as another user, which needs access
    folders = [folder, *([programs] if programs else [])]
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        server = stack.enter_context(postgres.start(*folders, **settings))
        url = server.url(_NAME)
        data, keys = asyncio.run(_create(server.url(), url))
        # As root, the data may be in another folder.
        stack.callback(shutil.rmtree, data.parent, ignore_errors=True)
        yield BenchDatabase(url, keys, data)


async def _create(admin_url: str, url: str) -> tuple[Path, list[Any]]:
    """Create the database; return the folder of the server's data, and the keys."""
    async with _connected(admin_url) as admin:
        await admin.execute(f"CREATE DATABASE {_NAME}")
        data = Path(await admin.fetchval("SHOW data_directory"))
    await migrate(url)
    async with _connected(url) as connection:
        await connection.execute(
            "SELECT ensure_event_partitions_v1(current_date - 1, current_date + 7)"
        )
        return data, [await create_tenant(connection, name) for name in _TENANTS]


@contextlib.asynccontextmanager
async def _connected(url: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        connection.terminate()
