"""
The migration runner: applies numbered SQL files, each of them once.

See docs/decisions/0029-migration-runner.md.
"""

import hashlib
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import asyncpg

from provision.command_line import print_message
from provision.database import Connection, connected, statement
from provision.errors import ProvisionError
from provision.lock_waits import (
    LOCK_TIMEOUT_MS,
    LOCK_WAIT_S,
    OTHER_MIGRATE_WAIT_S,
    LockWaits,
    Say,
    take_migration_lock,
)
from service.store.schema import unfit_server

# In a checkout this is a link to the top-level folder; the wheel contains the files.
FOLDER: Final = Path(__file__).with_name("migrations")
_FILE_NAME: Final = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")
_BREAKING: Final = "-- breaking"
_UP: Final = "-- migrate:up"
_UP_ALONE: Final = "-- migrate:up transaction:false"
_DOWN: Final = "-- migrate:down"


class Migration(NamedTuple):
    """One migration file."""

    version: str
    name: str
    sha256: str
    """SHA-256 of the bytes of the file, in hex."""
    sql: str
    """The statements between `-- migrate:up` and `-- migrate:down`."""
    is_breaking: bool
    is_transaction: bool = True
    """False for a file with one statement that cannot run in a transaction."""


class Checksum(NamedTuple):
    """The database record of an applied file."""

    sha256: str
    is_breaking: bool


class Schema(NamedTuple):
    """The migrations that are applied to a database."""

    applied: frozenset[str]
    checksums: dict[str, Checksum]


def read_migrations(folder: Path = FOLDER) -> tuple[Migration, ...]:
    """
    Read the migrations in *folder*, in the order in which they are applied.

    Raises
    ------
    ProvisionError
        The folder has no migrations, or has a file with an invalid name or content.
    """
    found = tuple(_read_migration(path) for path in sorted(folder.glob("*.sql")))
    if not found:
        raise ProvisionError(f"there are no migrations in {folder}")
    return found


def _read_migration(path: Path) -> Migration:
    match = _FILE_NAME.match(path.name)
    if match is None:
        raise ProvisionError(f"{path} is not named like a migration: NNNN_what_it_does.sql")
    content = path.read_bytes()
    lines = [line.rstrip() for line in content.decode().splitlines()]
    ups = [number for number, line in enumerate(lines) if line in {_UP, _UP_ALONE}]
    if len(ups) != 1:
        raise ProvisionError(f"{path} needs one line {_UP!r}, but has {len(ups)}")
    up = ups[0]
    down = lines.index(_DOWN) if _DOWN in lines else len(lines)
    if all(not line or line.startswith("--") for line in lines[up + 1 : down]):
        raise ProvisionError(f"{path} has no statement after the line {lines[up]!r}")
    return Migration(
        version=match[1],
        name=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        sql="\n".join(lines[up + 1 : down]),
        is_breaking=_BREAKING in lines[:up],
        is_transaction=lines[up] == _UP,
    )


async def read_schema(connection: Connection) -> Schema:
    """Return the migrations that are applied to the database."""
    applied: frozenset[str] = frozenset()
    checksums: dict[str, Checksum] = {}
    if await connection.fetchval(statement("has_table"), "schema_checksums"):
        rows = await connection.fetch(statement("list_checksums"))
        checksums = {row["version"]: Checksum(row["sha256"], row["is_breaking"]) for row in rows}
    if await connection.fetchval(statement("has_table"), "schema_migrations"):
        try:
            rows = await connection.fetch(statement("list_applied"))
            applied = frozenset(row["version"] for row in rows)
        except asyncpg.InsufficientPrivilegeError:
            # A role that only writes events may have no privilege to read schema_migrations.
            applied = frozenset(checksums)
    return Schema(applied, checksums)


def pending(migrations: Sequence[Migration], schema: Schema) -> list[Migration]:
    """Return the migrations that are not applied yet."""
    return [migration for migration in migrations if migration.version not in schema.applied]


def require_unchanged(migrations: Sequence[Migration], schema: Schema) -> None:
    """
    Check that the applied files have not changed.

    Raises
    ------
    ProvisionError
        A file was edited after it was applied, or the database has a breaking migration of a newer
        release.
    """
    for migration in migrations:
        recorded = schema.checksums.get(migration.version)
        if recorded is not None and recorded.sha256 != migration.sha256:
            raise ProvisionError(
                f"migrations/{migration.name} was edited after it had been applied to this"
                " database: restore the file, and make the change in a new migration"
            )
    known = {migration.version for migration in migrations}
    newer = [v for v, c in schema.checksums.items() if c.is_breaking and v not in known]
    if newer:
        raise ProvisionError(
            f"the database has the migration {max(newer)}, which is marked as breaking and is"
            " unknown to this release: use a newer release of Forebay"
        )


async def server_problem(connection: Connection) -> str | None:
    """Return why Forebay cannot use the server or the database; None if it can."""
    (server,) = await connection.fetch(statement("read_server"))
    return unfit_server(server["version_num"], server["encoding"])


async def migrate(
    url: str,
    folder: Path = FOLDER,
    *,
    lock_wait_s: float = LOCK_WAIT_S,
    other_migrate_wait_s: float = OTHER_MIGRATE_WAIT_S,
    say: Say = print_message,
) -> list[str]:
    """
    Apply the pending migrations and return their file names. Calls may run concurrently.

    *lock_wait_s* limits the wait for table locks of other sessions, and *other_migrate_wait_s* the
    wait for another migrate, both in seconds. *say* is called with a message about each wait.

    Raises
    ------
    ProvisionError
        Forebay cannot use the server, an applied file was edited, a number is out of order, or a
        migration failed. A migration that runs in a transaction is rolled back when it fails.
    """
    migrations = read_migrations(folder)
    async with connected(url) as connection:
        if problem := await server_problem(connection):
            raise ProvisionError(problem)
        await take_migration_lock(connection, other_migrate_wait_s, say)
        schema = await read_schema(connection)
        require_unchanged(migrations, schema)
        missing = pending(migrations, schema)
        _require_order(missing, schema)
        await _record_applied(connection, migrations, schema)
        if missing:
            # While this second connection waits for a lock, the first one finds its holder.
            async with connected(url) as applying:
                await applying.execute(statement("create_schema_migrations"))
                waits = LockWaits(connection, applying, say, wait_s=lock_wait_s)
                for migration in missing:
                    apply = _apply if migration.is_transaction else _apply_alone
                    run = partial(apply, applying, migration, lock_wait_s)
                    await waits.until_done(f"migration {migration.name}", run)
    return [migration.name for migration in missing]


def _require_order(missing: Sequence[Migration], schema: Schema) -> None:
    newest = max(schema.applied, default="")
    if missing and missing[0].version < newest:
        raise ProvisionError(
            f"migrations/{missing[0].name} has a lower number than the newest migration of this"
            f" database, {newest}: rename the file to the next free number"
        )


async def _record_applied(
    connection: Connection, migrations: Sequence[Migration], schema: Schema
) -> None:
    """Record the checksums of migrations that were applied without one."""
    for migration in migrations:
        if migration.version in schema.applied and migration.version not in schema.checksums:
            await _insert_checksum(connection, migration)


async def _insert_checksum(connection: Connection, migration: Migration) -> None:
    await connection.execute(
        statement("insert_checksum"), migration.version, migration.sha256, migration.is_breaking
    )


async def _apply(connection: Connection, migration: Migration, _: float) -> None:
    # Flushes wait behind a transaction that waits for a table lock: so its lock timeout is short,
    # and it runs again.
    try:
        async with connection.transaction():
            await connection.execute(statement("set_lock_timeout"), f"{LOCK_TIMEOUT_MS}ms", True)
            await connection.execute(migration.sql)
            await _record(connection, migration)
    except asyncpg.LockNotAvailableError:
        raise
    except asyncpg.PostgresError as error:
        raise ProvisionError(
            f"the migration {migration.name} failed and was rolled back: {_first_line(error)}"
        ) from error


async def _apply_alone(connection: Connection, migration: Migration, lock_wait_s: float) -> None:
    """Apply a statement such as CREATE INDEX CONCURRENTLY, which does not block flushes."""
    timeout = f"{round(lock_wait_s * 1_000)}ms"
    await connection.execute(statement("set_lock_timeout"), timeout, False)
    try:
        # An interrupted CREATE INDEX CONCURRENTLY leaves an invalid index.
        for row in await connection.fetch(statement("list_invalid_indexes")):
            if re.search(rf"\b{re.escape(row['name'])}\b", migration.sql):
                await connection.execute(f"DROP INDEX CONCURRENTLY {row['index']}")
        await connection.execute(migration.sql)
    except asyncpg.LockNotAvailableError:
        raise
    except asyncpg.PostgresError as error:
        raise ProvisionError(
            f"the migration {migration.name} failed: {_first_line(error)}"
        ) from error
    async with connection.transaction():
        await _record(connection, migration)


async def _record(connection: Connection, migration: Migration) -> None:
    await connection.execute(statement("insert_applied"), migration.version)
    await _insert_checksum(connection, migration)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
