"""Day partitions, made by hand or from cron; the service makes them by itself where it may."""

from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import asyncpg

from provision.database import Connection
from provision.errors import ProvisionError
from provision.sql import statement
from service.store.partitions import DAYS_AHEAD
from service.store.schema import missing_rights

_DAYS_BACK: Final = 1


async def make_partitions(connection: Connection, days_ahead: int) -> list[dict[str, Any]]:
    """
    Make missing partitions from yesterday to *days_ahead*; return a row for each missing one.

    Raises
    ------
    ProvisionError
        The role may not make partitions.
    """
    first, last = _days(days_ahead)
    try:
        rows = await connection.fetch(statement("ensure_partitions"), first, last)
    except asyncpg.InsufficientPrivilegeError as error:
        rights = "; ".join(right.sentence for right in await missing_rights(connection))
        raise ProvisionError(rights or str(error)) from error
    return [dict(row) for row in rows]


async def partition_problems(connection: Connection) -> list[str]:
    """Return a sentence for each problem with the partitions of the coming days."""
    rows = await connection.fetch(statement("list_partition_problems"), *_days(DAYS_AHEAD))
    return [row["problem"] for row in rows]


def _days(days_ahead: int) -> tuple[date, date]:
    today = datetime.now(UTC).date()
    return today - timedelta(days=_DAYS_BACK), today + timedelta(days=days_ahead)
