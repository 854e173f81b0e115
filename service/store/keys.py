"""API keys as PostgreSQL knows them."""

from typing import Any

from service.model import ApiKey
from service.store.pool import lent
from service.store.sql import statement


class KeyStore:
    """Looks keys up by their public id."""

    def __init__(self, pool: Any, timeout_s: float) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    async def find(self, key_id: str) -> ApiKey | None:
        """
        Return the key, None when there is none with this id; revoked ones are returned as disabled.

        Raises what asyncpg raises when the database cannot answer in time.
        """
        async with lent(self._pool, self._timeout_s) as connection:
            row = await connection.fetchrow(statement("find_key"), key_id, timeout=self._timeout_s)
        return None if row is None else ApiKey(**row)
