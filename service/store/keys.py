"""API keys as PostgreSQL knows them."""

from collections.abc import Sequence
from typing import Any

from service.model import ApiKey
from service.store.pool import lent
from service.store.sql import statement


class KeyStore:
    """Looks keys up by their public ids."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def find(self, key_ids: Sequence[str]) -> dict[str, ApiKey]:
        """
        Return the keys with these ids, by id; revoked keys are returned as disabled.

        Has no deadline of its own: the caller cancels it. Raises what asyncpg raises.
        """
        async with lent(self._pool) as connection:
            rows = await connection.fetch(statement("find_keys"), key_ids)
        return {row["key_id"]: ApiKey(**row) for row in rows}
