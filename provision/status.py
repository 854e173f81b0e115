"""State of a database: schema, tenants, partitions, newest events."""

from typing import Any, Final

import asyncpg
import msgspec

from provision.database import Connection, statement
from provision.errors import ProvisionError
from provision.migrate import (
    pending,
    read_migrations,
    read_schema,
    require_unchanged,
    server_problem,
)
from provision.partitions import Partitions, list_partitions, partition_problems
from service.store.schema import missing_rights

_DOCUMENTS: Final = ("properties", "traits", "context", "extra")


class Status(msgspec.Struct, frozen=True):
    """The output of `provision status`."""

    schema_version: str | None
    pending: list[str]
    problem: str | None
    tenants: int = 0
    workspaces: int = 0
    keys: int = 0
    partitions: list[Partitions] = []
    warnings: list[str] = []
    """Missing privileges of the role, and problems with partitions."""


async def read_status(connection: Connection) -> Status:
    """Read the state. Without a schema the version is None and every migration is pending."""
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
    return msgspec.structs.replace(
        status,
        **await _counts(connection),
        partitions=await list_partitions(connection),
        warnings=status.warnings + problems,
    )


async def _counts(connection: Connection) -> dict[str, int]:
    """Count tenants, workspaces and keys; return {} if the role has no privilege to read them."""
    try:
        return dict(await connection.fetchrow(statement("count_tenants")) or {})
    except asyncpg.InsufficientPrivilegeError:
        return {}


async def tail_events(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """Return the *limit* newest events of all tenants, newest first, with ids in base36."""
    rows = await connection.fetch(statement("tail_events"), limit)
    return [_readable(dict(row)) for row in rows]


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    # asyncpg returns jsonb as text; Raw adds it to JSON output unchanged.
    return row | {
        name: None if row[name] is None else msgspec.Raw(row[name].encode()) for name in _DOCUMENTS
    }
