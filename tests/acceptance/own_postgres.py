"""A PostgreSQL that a test may stop, start, kill and starve."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg

from provision import postgres
from provision.migrate import migrate


class OwnPostgres:
    """A server of the test's own. It has another port after each start, as after a failover."""

    def __init__(self, folder: Path, **settings: str | int) -> None:
        self._folder = folder
        self._settings: dict[str, str | int] = {"max_wal_senders": 0, **settings}
        self.server = postgres.start(folder, **self._settings)

    async def stop(self) -> None:
        await asyncio.to_thread(self.server.stop)

    async def start(self) -> None:
        self.server = await asyncio.to_thread(postgres.start, self._folder, **self._settings)

    async def has_ended(self) -> bool:
        """Whether the server has ended, by itself perhaps."""
        process = self.server._process
        return process is not None and process.poll() is not None

    async def make_database(self, name: str, options: str = "") -> str:
        """Make a migrated database and return its URL."""
        async with self.admin() as admin:
            await admin.execute(f"CREATE DATABASE {name} {options}")
        url = self.server.url(name)
        await migrate(url)
        return url

    @contextlib.asynccontextmanager
    async def admin(
        self, database: str = "postgres"
    ) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """Lend a superuser's connection."""
        admin = await asyncpg.connect(self.server.url(database))
        try:
            yield admin
        finally:
            admin.terminate()


@contextlib.contextmanager
def lent_postgres(**settings: str | int) -> Iterator[OwnPostgres]:
    """Lend a new server, and remove all of it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="forebay-tests-"))
    # As root the server runs as another user, who has to get in.
    folder.chmod(0o711)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        own = OwnPostgres(folder / "server", **settings)
        stack.callback(_remove, own)
        yield own


def _remove(own: OwnPostgres) -> None:
    own.server.stop()
    shutil.rmtree(own.server.files.home)
