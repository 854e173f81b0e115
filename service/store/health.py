"""Whether the database answers, and whether its schema is one that this service can work with."""

import asyncio
from typing import Any, Final

import asyncpg
import msgspec

from service.store.pool import PoolConfig, connect_own_session
from service.store.rights import missing_rights
from service.store.server import unfit_server
from service.store.sql import statement

# The newest migration this code needs. A newer one is fine unless it is marked breaking.
SCHEMA_VERSION: Final = "0011"
_SPARE_CONNECTIONS: Final = 1
# In seconds: a server may freeze after the handshake.
_CHECK_TIMEOUT_S: Final = 10.0


class SchemaError(Exception):
    """The database's schema does not fit this service, or its capacity does not; says the cure."""


class PoolState(msgspec.Struct, frozen=True):
    """Connections of this worker's pool."""

    size: int
    idle: int
    max: int


def pool_state(pool: Any, kept: int = 0) -> PoolState:
    """Return how many connections there are; *kept* of them wait for the next flush."""
    return PoolState(pool.get_size(), pool.get_idle_size() + kept, pool.get_max_size())


async def check_database(config: PoolConfig, connections: int) -> None:
    """
    Refuse a database that the service could not work with.

    Raises
    ------
    SchemaError
        The server or the schema is too old or too new, a right that storing events needs is
        missing, or *connections* are more than the server has.
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
    require_server(server["version_num"], server["encoding"])
    # First: without USAGE on the schema its tables look missing.
    rights = [right for right in await missing_rights(session) if right.is_required]
    if rights:
        raise SchemaError("; ".join(right.sentence for right in rights))
    try:
        (row,) = await session.fetch(statement("read_schema"))
    except asyncpg.UndefinedTableError:
        raise SchemaError("the database has no Forebay schema: run provision migrate") from None
    require_schema(row["version"], row["breaking_version"])
    capacity = await session.fetchval(statement("read_capacity"))
    if connections + _SPARE_CONNECTIONS > capacity:
        raise SchemaError(
            f"the workers may open {connections} connections, and the database allows"
            f" {capacity}: lower FOREBAY_WORKERS or FOREBAY_FLUSHES_MAX, or raise"
            " max_connections"
        )


def require_server(version_num: int, encoding: str) -> None:
    """Raise SchemaError when the server or the database is not one that Forebay can use."""
    problem = unfit_server(version_num, encoding)
    if problem is not None:
        raise SchemaError(problem)


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
