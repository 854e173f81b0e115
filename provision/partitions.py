"""Day partitions, for deployments in which the service has no privilege to create them."""

from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import asyncpg
import msgspec

from provision.database import Connection, statement
from provision.errors import ProvisionError
from service.store.partitions import DAYS_AHEAD
from service.store.schema import missing_rights

_DAYS_BACK: Final = 1


class Partitions(msgspec.Struct, frozen=True):
    """Number and range of the partitions of one table; days have the form YYYYMMDD."""

    table_name: str
    partitions: int
    first_day: str
    last_day: str


async def make_partitions(connection: Connection, days_ahead: int) -> list[dict[str, Any]]:
    """
    Create the missing partitions from yesterday to *days_ahead* days after today.

    Returns a row with the result for each missing partition.

    Raises
    ------
    ProvisionError
        The role has no privilege to create partitions.
    """
    first, last = _days(days_ahead)
    try:
        rows = await connection.fetch(statement("ensure_partitions"), first, last)
    except asyncpg.InsufficientPrivilegeError as error:
        rights = "; ".join(right.sentence for right in await missing_rights(connection))
        raise ProvisionError(rights or str(error)) from error
    return [dict(row) for row in rows]


async def list_partitions(connection: Connection) -> list[Partitions]:
    """Return number and range of the partitions of each table that exists."""
    return [Partitions(**dict(row)) for row in await connection.fetch(statement("list_partitions"))]


async def partition_problems(connection: Connection) -> list[str]:
    """Return a sentence for each problem with the partitions of the coming days."""
    rows = await connection.fetch(statement("list_partition_problems"), *_days(DAYS_AHEAD))
    return [row["problem"] for row in rows]


def _days(days_ahead: int) -> tuple[date, date]:
    today = datetime.now(UTC).date()
    return today - timedelta(days=_DAYS_BACK), today + timedelta(days=days_ahead)
