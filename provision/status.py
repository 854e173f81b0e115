"""How a database stands: its schema, its tenants, its partitions."""

import asyncpg
import msgspec

from provision.database import Connection
from provision.errors import ProvisionError
from provision.migrate import (
    pending,
    read_migrations,
    read_schema,
    require_unchanged,
    server_problem,
)
from provision.partitions import partition_problems
from provision.sql import statement
from service.store.schema import missing_rights


class Partitions(msgspec.Struct, frozen=True):
    """The day partitions of one table; days as YYYYMMDD."""

    table_name: str
    partitions: int
    first_day: str
    last_day: str


class Status(msgspec.Struct, frozen=True):
    """What `provision status` tells."""

    schema_version: str | None
    pending: list[str]
    problem: str | None
    tenants: int = 0
    workspaces: int = 0
    keys: int = 0
    partitions: list[Partitions] = []
    warnings: list[str] = []
    """Rights that the role lacks, and problems with partitions."""


async def read_status(connection: Connection) -> Status:
    """Ask the database; a bare one has no schema version and everything pending."""
    migrations = read_migrations()
    schema = await read_schema(connection)
    problem = await server_problem(connection)
    try:
        require_unchanged(migrations, schema)
    except ProvisionError as error:
        problem = problem or str(error)
    status = Status(
        schema_version=max(schema.applied, default=None),
        pending=[migration.name for migration in pending(migrations, schema)],
        problem=problem,
        warnings=[right.sentence for right in await missing_rights(connection)],
    )
    if not await connection.fetchval(statement("has_table"), "events"):
        return status
    problems = [] if status.pending else await partition_problems(connection)
    partitions = await connection.fetch(statement("list_partitions"))
    return msgspec.structs.replace(
        status,
        **await _counts(connection),
        partitions=[Partitions(**dict(row)) for row in partitions],
        warnings=status.warnings + problems,
    )


async def _counts(connection: Connection) -> dict[str, int]:
    """Count tenants and their objects; empty if the role may not read them."""
    try:
        return dict(await connection.fetchrow(statement("count_tenants")) or {})
    except asyncpg.InsufficientPrivilegeError:
        return {}
