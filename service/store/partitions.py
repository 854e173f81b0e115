"""Day partitions of the tables that hold events; there is always a place for today's."""

import asyncio
from datetime import date, timedelta
from typing import Any, Final

from service.store.pool import lent
from service.store.sql import statement

_DAYS_BACK: Final = timedelta(days=1)
_DAYS_AHEAD: Final = timedelta(days=7)
_TIMEOUT_S: Final = 30.0


async def ensure_partitions(pool: Any, first: date, last: date) -> int:
    """Make the partitions that are missing from *first* to *last* (UTC days); return how many."""
    async with asyncio.timeout(_TIMEOUT_S), lent(pool) as connection:
        made = await connection.fetchval(statement("ensure_partitions"), first, last)
    return int(made)


async def top_up_partitions(pool: Any, today: date) -> int:
    """Make those from yesterday to a week ahead."""
    return await ensure_partitions(pool, today - _DAYS_BACK, today + _DAYS_AHEAD)
