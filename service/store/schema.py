"""Checks the server, the schema and the rights of the role before the service starts."""

import asyncio
from typing import Any, Final

import asyncpg
import msgspec

from service.store.connections import PoolConfig, connect_own_session
from service.store.sql import statement

# The newest migration this code needs. A newer one is fine unless it is marked breaking.
SCHEMA_VERSION: Final = "0014"
VERSION_NUM_MIN: Final = 150_000
_ENCODING: Final = "UTF8"
_PER_MAJOR: Final = 10_000
# Connections that the workers leave to `provision` and administrators.
_OTHER_CLIENTS: Final = 1
# Timeout in seconds: a server may complete the handshake and then not answer.
_CHECK_TIMEOUT_S: Final = 10.0


class SchemaError(Exception):
    """The database does not fit this service; the message says what to change."""


class MissingRight(msgspec.Struct, frozen=True):
    """A right that a role lacks."""

    sentence: str
    """What is missing, with the statement that grants it."""
    is_required: bool
    """True: without the right no event can be stored. False: no new partition can be made."""


async def check_database(config: PoolConfig, connections: int) -> None:
    """
    Refuse a database that the service cannot work with.

    Raises
    ------
    SchemaError
        The server or the schema is too old or too new, a right that storing events needs is
        missing, or *connections* are more than the server allows.
    UnsafeSessionError, OSError, asyncpg.PostgresError
        The database cannot be used or reached.
    """
    session = await connect_own_session(config)
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            await _check(session, connections)
    finally:
        session.terminate()


async def _check(session: Any, connections: int) -> None:
    (server,) = await session.fetch(statement("read_server"))
    problem = unfit_server(server["version_num"], server["encoding"])
    if problem is not None:
        raise SchemaError(problem)
    # Checked before the schema, because without the right USAGE on it no table is found.
    rights = [right for right in await missing_rights(session) if right.is_required]
    if rights:
        raise SchemaError("; ".join(right.sentence for right in rights))
    try:
        (row,) = await session.fetch(statement("read_schema"))
    except asyncpg.UndefinedTableError:
        raise SchemaError("the database has no Forebay schema: run provision migrate") from None
    require_schema(row["version"], row["breaking_version"])
    capacity = await session.fetchval(statement("read_capacity"))
    if connections + _OTHER_CLIENTS > capacity:
        raise SchemaError(
            f"the workers may open {connections} connections, and the database allows"
            f" {capacity}: lower FOREBAY_WORKERS or FOREBAY_FLUSHES_MAX, or raise"
            " max_connections"
        )


def unfit_server(version_num: int, encoding: str) -> str | None:
    """
    Return why Forebay cannot use a server or a database; None: it can.

    *version_num* is the server's `server_version_num`, *encoding* that of the database.
    """
    if version_num < VERSION_NUM_MIN:
        return (
            f"the server is PostgreSQL {version_num // _PER_MAJOR}, and Forebay needs"
            f" {VERSION_NUM_MIN // _PER_MAJOR} or later: use a newer server"
        )
    if encoding != _ENCODING:
        return (
            f"the database has the encoding {encoding}, and Forebay needs {_ENCODING}: make"
            f" another one with CREATE DATABASE … ENCODING '{_ENCODING}' TEMPLATE template0"
        )
    return None


def require_schema(version: str | None, breaking_version: str | None) -> None:
    """Raise SchemaError unless this code can work with a schema at *version*."""
    if version is None or version < SCHEMA_VERSION:
        raise SchemaError(
            f"the schema is at version {version or 'none'} and this service needs"
            f" {SCHEMA_VERSION}: run provision migrate"
        )
    if breaking_version is not None and breaking_version > SCHEMA_VERSION:
        raise SchemaError(
            f"the schema is at version {version}, and its version {breaking_version} does not fit"
            f" this service, which knows {SCHEMA_VERSION}: run a newer Forebay"
        )


async def missing_rights(connection: Any) -> list[MissingRight]:
    """Return the rights that the role of *connection* lacks."""
    return [
        MissingRight(**dict(row)) for row in await connection.fetch(statement("missing_rights"))
    ]
