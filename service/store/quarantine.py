"""The size of the quarantine table."""

import asyncio
from typing import Any, Final

from service.store.connections import lent
from service.store.sql import statement

_TIMEOUT_S: Final = 5.0


async def quarantine_bytes(pool: Any) -> int:
    """
    Return the disk space of `rejected_events` in bytes, with its indexes.

    Raises TimeoutError after 5 s, and what asyncpg raises.
    """
    async with asyncio.timeout(_TIMEOUT_S), lent(pool) as connection:
        size_bytes: int = await connection.fetchval(statement("quarantine_bytes"))
    return size_bytes
