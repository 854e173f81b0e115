"""The database of `forebay dev`: embedded, or the one of DATABASE_URL if it is safe to use."""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from provision import postgres
from provision.database import connected, statement
from provision.errors import ProvisionError
from provision.migrate import migrate
from provision.tenants import working_key
from service.database_url import parse

_DATABASE: Final = "forebay"
_HASH_CHARS: Final = 12


@contextlib.asynccontextmanager
async def dev_database(folder: Path, given_url: str | None) -> AsyncIterator[str]:
    """
    Provide the URL of a migrated dev database for a `with` block.

    Without *given_url* this is an embedded server, which stops when the block ends.

    Raises
    ------
    ProvisionError
        The server does not start, or the given database has tables and no mark of a dev database.
    """
    if given_url is not None:
        await _prepare(given_url)
        yield given_url
        return
    # Blocking calls, so they run in a thread. Signals do not cancel them.
    server = await asyncio.to_thread(postgres.start, folder)
    try:
        await _create_database(server.url())
        url = server.url(_DATABASE)
        await _prepare(url)
        yield url
    finally:
        await asyncio.to_thread(server.stop)


async def dev_key(folder: Path, url: str, given_url: str | None) -> str:
    """Return the demo key, and store it in *folder*: the database has only a hash of it."""
    path = folder / ("api-key" if given_url is None else f"api-key-{_hash_of(given_url)}")
    remembered = path.read_text() if path.exists() else ""
    async with connected(url) as connection:
        text = await working_key(connection, remembered)
    if text != remembered:
        _write_private(path, text)
    return text


async def _create_database(admin_url: str) -> None:
    async with connected(admin_url) as connection:
        if not await connection.fetchval(statement("has_database"), _DATABASE):
            command = await connection.fetchval(statement("write_create_database"), _DATABASE)
            await connection.execute(command)


async def _prepare(url: str) -> None:
    async with connected(url) as connection:
        found = await connection.fetchrow(statement("inspect_dev_database"))
        mark = await connection.fetchval(statement("write_dev_mark"))
        if found is not None and not found["is_dev"]:
            if found["has_tables"]:
                raise ProvisionError(
                    f"the database {found['name']!a} of DATABASE_URL holds tables and is not "
                    "marked as a dev database: use an empty database, unset DATABASE_URL, "
                    f"or mark it with {mark}"
                )
            # Before the tables are created: so the next start accepts the database even if this one
            # is interrupted.
            await connection.execute(mark)
    await migrate(url)


def _hash_of(url: str) -> str:
    """Return a hash of hosts and database name, for the name of the key file of this database."""
    return hashlib.sha256(parse(url).place.encode()).hexdigest()[:_HASH_CHARS]


def _write_private(path: Path, text: str) -> None:
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    unfinished.replace(path)
