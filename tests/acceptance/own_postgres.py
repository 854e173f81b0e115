"""A PostgreSQL server that a test may stop, start, kill and reconfigure."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import asyncpg

from provision import postgres
from provision.migrate import migrate
from tests.acceptance.running import until

_RECOVERY_TIMEOUT_S: Final = 30.0
# Objects that a test may leave, and the statement that removes each. Databases come first, because
# roles and tablespaces depend on them.
_LEFTOVERS: Final = (
    (
        "SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database"
        " WHERE datname LIKE 'forebay_test_%'"
    ),
    (
        "SELECT format('DROP TABLESPACE %I', spcname) FROM pg_tablespace"
        " WHERE spcname NOT LIKE 'pg_%'"
    ),
    "SELECT format('DROP ROLE %I', rolname) FROM pg_roles WHERE rolname LIKE 'forebay_test_%'",
)


class OwnPostgres:
    """One server. Each start uses another port, as after a failover."""

    def __init__(self, folder: Path, **settings: str | int) -> None:
        self._folder = folder
        self._settings: dict[str, str | int] = {"max_wal_senders": 1, **settings}
        self.server = postgres.start(folder, **self._settings)

    async def stop(self) -> None:
        await asyncio.to_thread(self.server.stop)

    async def start(self) -> None:
        self.server = await asyncio.to_thread(postgres.start, self._folder, **self._settings)

    async def has_ended(self) -> bool:
        """Whether the server process has ended."""
        process = self.server._process
        return process is not None and process.poll() is not None

    async def make_database(self, name: str, options: str = "") -> str:
        """Make a migrated database and return its URL."""
        async with self.admin() as admin:
            await admin.execute(f"CREATE DATABASE {name} {options}")
        url = self.server.url(name)
        await migrate(url)
        return url

    async def configure(self, *commands: str) -> None:
        """
        Run *commands* as a superuser and reload the settings.

        The session can write and commit whatever the server is set to.
        """
        async with self.admin() as admin:
            await admin.execute(
                "SET default_transaction_read_only = off; SET synchronous_commit = local"
            )
            for command in commands:
                await admin.execute(command)
            await admin.execute("SELECT pg_reload_conf()")

    async def clean(self) -> None:
        """Remove what a test left: settings, databases, tablespaces and roles."""
        if await self.has_ended():
            await self.start()
        await until(self._answers, _RECOVERY_TIMEOUT_S, "PostgreSQL takes connections")
        await self.configure("ALTER SYSTEM RESET ALL", "ALTER ROLE CURRENT_USER RESET ALL")
        async with self.admin() as admin:
            for query in _LEFTOVERS:
                for (command,) in await admin.fetch(query):
                    await admin.execute(command)

    @contextlib.asynccontextmanager
    async def admin(
        self, database: str = "postgres"
    ) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """Open a superuser's connection for the block."""
        admin = await asyncpg.connect(self.server.url(database))
        try:
            yield admin
        finally:
            admin.terminate()

    async def _answers(self) -> bool:
        """Whether the server accepts connections; during crash recovery it accepts none."""
        try:
            async with self.admin():
                return True
        except (asyncpg.PostgresError, OSError):
            return False


@contextlib.contextmanager
def lent_postgres(**settings: str | int) -> Iterator[OwnPostgres]:
    """Start a new server, and remove it and its data afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="forebay-tests-"))
    # As root the server runs as another user, which needs access.
    folder.chmod(0o711)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        own = OwnPostgres(folder / "server", **settings)
        stack.callback(_remove, own)
        yield own


def _remove(own: OwnPostgres) -> None:
    own.server.stop()
    shutil.rmtree(own.server.files.home)


def cleaned(own: OwnPostgres) -> Iterator[OwnPostgres]:
    """Provide a server that several tests use, and clean it afterwards."""
    yield own
    asyncio.run(own.clean())
