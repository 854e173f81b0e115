"""How a database stands: its schema, its tenants, its partitions."""

import msgspec

from provision.database import Connection
from provision.errors import ProvisionError
from provision.migrate import pending, read_migrations, read_schema, require_unchanged
from provision.sql import statement


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


async def read_status(connection: Connection) -> Status:
    """Ask the database; a bare one has no schema version and everything pending."""
    migrations = read_migrations()
    schema = await read_schema(connection)
    try:
        require_unchanged(migrations, schema)
        problem = None
    except ProvisionError as error:
        problem = str(error)
    status = Status(
        schema_version=max(schema.applied, default=None),
        pending=[migration.name for migration in pending(migrations, schema)],
        problem=problem,
    )
    if not await connection.fetchval(statement("has_table"), "events"):
        return status
    counts = await connection.fetchrow(statement("count_tenants"))
    partitions = await connection.fetch(statement("list_partitions"))
    return msgspec.structs.replace(
        status, **dict(counts or {}), partitions=[Partitions(**dict(row)) for row in partitions]
    )
