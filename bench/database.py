"""
The PostgreSQL of a benchmark: its own, new, and removed afterwards.

No other is ever written to: DATABASE_URL is not looked at, and `require_own` refuses a server whose
data is not in the folder made here.
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench import processes
from provision import postgres
from provision.keys import NewKey
from provision.migrate import migrate
from provision.tenants import create_tenant

Settings = dict[str, str | int]

SETTINGS: Final[Settings] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "2GB",
    "max_wal_size": "8GB",
    "max_connections": 200,
}
# What `forebay dev` runs with; the benchmark's samples connect more often than a developer.
DEV_SETTINGS: Final[Settings] = {**postgres.SETTINGS, "max_connections": 200}
NAME: Final = "forebay_bench"
# How the programs of a benchmark are told which database is the one made for them.
URL: Final = "BENCH_DATABASE_URL"
DATA: Final = "BENCH_DATABASE_DATA"
_TENANTS: Final = ("acme", "globex", "initech", "umbrella")
_LEDGER: Final = "event_deduplication"
# The peer's table is there only once the peer has run.
_EVENT_TABLES: Final = ("events", _LEDGER, "rejected_events", "naive.events")
_EXISTING: Final = "SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NOT NULL"

# Keys as random as the hashes of real ids, so that they land all over the index.
_FILL: Final = f"""
INSERT INTO {_LEDGER} (tenant_id, event_key, id, payload_hash, received_at)
SELECT 1 + number % {len(_TENANTS)}, event_key('long-ago-' || number), number, number,
       now() - interval '1 day'
FROM generate_series({{first}}, {{end}}) AS number
"""  # noqa: S608 - names of our own


class ForeignDatabaseError(Exception):
    """The database is not one that this benchmark made."""


class Database:
    """A migrated database with tenants and keys on a server of its own."""

    def __init__(self, server: postgres.EmbeddedPostgres, url: str, keys: list[NewKey]) -> None:
        self.url = url
        self.keys = keys
        self._server = server

    @property
    def pid(self) -> int:
        """The process above all of the server's."""
        return int((self._server.files.data / "postmaster.pid").read_text().splitlines()[0])

    @property
    def version(self) -> str:
        """What the server calls itself."""
        return str(self.value("SHOW server_version"))

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to know to use this database."""
        return {URL: self.url, DATA: str(self._server.files.data)}

    def cpu_s(self) -> float:
        """Return the CPU time of all of the server's processes."""
        return processes.cpu_s(self.pid)

    def empty(self, *, keeps_ledger: bool = False) -> None:
        """Begin anew: no events, no ledger, nothing left to write from before."""
        tables = [table for table in _EVENT_TABLES if not (keeps_ledger and table == _LEDGER)]

        async def empty(own: Any) -> None:
            found = [row["name"] for row in await own.fetch(_EXISTING, tables)]
            await own.execute(f"TRUNCATE {', '.join(found)}")
            # Written now, so that no run pays for the one before.
            await own.execute("CHECKPOINT")

        asyncio.run(self._on_own(empty))

    def fill_ledger(self, first: int, end: int) -> None:
        """Put ids into the ledger as if they had come long ago: those numbered from *first*."""
        self.execute(_FILL.format(first=first, end=end - 1))
        self.execute(f"ANALYZE {_LEDGER}")
        self.execute("CHECKPOINT")

    def forget_all_but(self, ids: int) -> None:
        """Take out of the ledger what runs have put there, and leave what was filled in."""
        if ids == 0:
            self.execute(f"TRUNCATE {_LEDGER}")
            return
        self.execute(f"DELETE FROM {_LEDGER} WHERE id >= {ids}")  # noqa: S608 - a number of ours
        self.execute(f"VACUUM {_LEDGER}")

    def stored(self, table: str) -> int:
        """Return how many events are in *table*."""
        assert table in _EVENT_TABLES
        return int(self.value(f"SELECT count(*) FROM {table}"))  # noqa: S608 - one of ours

    def execute(self, command: str) -> None:
        """Run one statement, on a database of our own only."""
        asyncio.run(self._on_own(lambda own: own.execute(command)))

    def value(self, query: str, *arguments: object) -> Any:
        """Return one value."""
        return asyncio.run(self._on_own(lambda own: own.fetchval(query, *arguments)))

    async def _on_own(self, do: Any) -> Any:
        connection = await asyncpg.connect(self.url)
        try:
            await require_own(connection, self._server.files.data)
            return await do(connection)
        finally:
            connection.terminate()


async def require_own(connection: Any, data: Path) -> None:
    """
    Refuse a server that keeps its data elsewhere than in *data*.

    Raises
    ------
    ForeignDatabaseError
        It does.
    """
    found = await connection.fetchval("SHOW data_directory")
    if not _is_same_folder(found, data):
        raise ForeignDatabaseError(
            f"the benchmark made a database in {data}, and this one keeps its data in {found}: "
            "it is not touched"
        )


def _is_same_folder(found: str, expected: Path) -> bool:
    return Path(found).resolve() == expected.resolve()


@contextlib.contextmanager
def own_database(programs: Path | None = None, settings: Settings = SETTINGS) -> Iterator[Database]:
    """
    Lend a new database on a server of its own with *settings*.

    *programs* is the folder of the programs of another PostgreSQL than the embedded one.
    """
    folder = Path(tempfile.mkdtemp(prefix="forebay-bench-"))
    folder.chmod(0o711)  # as root the server runs as another user, who has to get in
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        server = postgres.start(folder, programs, **settings)
        stack.callback(shutil.rmtree, server.files.home, ignore_errors=True)
        stack.enter_context(server)
        yield asyncio.run(_made(server))


async def _made(server: postgres.EmbeddedPostgres) -> Database:
    admin = await asyncpg.connect(server.url())
    try:
        await admin.execute(f"CREATE DATABASE {NAME}")
    finally:
        admin.terminate()
    url = server.url(NAME)
    await migrate(url)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "SELECT ensure_event_partitions_v1(current_date - 1, current_date + 7)"
        )
        keys = [await create_tenant(connection, name) for name in _TENANTS]
    finally:
        connection.terminate()
    return Database(server, url, keys)
