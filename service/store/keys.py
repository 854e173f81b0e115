"""API keys in PostgreSQL: look-ups, and notifications of changes."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NoReturn, Protocol

from service.model import ApiKey
from service.store.connections import Connection, PoolConfig, connect, lent
from service.store.sql import statement

_CHANNEL: Final = "forebay_keys"


class KeyStore:
    """Looks keys up by their public ids."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def find(self, key_ids: Sequence[str]) -> dict[str, ApiKey]:
        """
        Return the keys with these ids, by id; revoked keys are returned as disabled.

        It has no timeout: the caller cancels it. Raises what asyncpg raises.
        """
        async with lent(self._pool) as connection:
            rows = await connection.fetch(statement("find_keys"), key_ids)
        return {row["key_id"]: ApiKey(**row) for row in rows}


class KeyCache(Protocol):
    """Cached keys, and look-ups under way whose results would be cached."""

    def forget(self, key_id: str) -> None:
        """Drop one key."""

    def forget_all(self) -> None:
        """Drop all keys."""


class KeyListener:
    """Listens for changed keys over a connection of its own, and removes them from a cache."""

    def __init__(self, config: PoolConfig, cache: KeyCache) -> None:
        self._config = config
        self._cache = cache

    async def run(self) -> NoReturn:
        """
        Connect and listen, until the connection is lost.

        Without a listener a cached key is used until its TTL ends (FOREBAY_KEY_CACHE_TTL_S), so the
        worker does not need this connection to start or to serve.

        Raises
        ------
        OSError, TimeoutError, asyncpg.PostgresError, UnsafeSessionError
            The connection cannot be opened, or was lost.
        """
        connection = await connect(self._config)
        try:
            async with asyncio.timeout(self._config.tcp_timeout_ms / 1_000):
                await connection.add_listener(_CHANNEL, self._key_changed)
            # Keys looked up before may have changed without a notification.
            self._cache.forget_all()
            await self._check_until_lost(connection)
        finally:
            connection.terminate()

    def _key_changed(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self._cache.forget(str(payload))

    async def _check_until_lost(self, connection: Connection) -> NoReturn:
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _connection: lost.set())
        # One half of the timeout passes before a query, the other half limits its answer.
        half_s = self._config.tcp_timeout_ms / 2_000
        while not connection.is_closed():
            try:
                await asyncio.wait_for(lost.wait(), half_s)
            except TimeoutError:
                # Only a query finds a server that vanished without closing the connection.
                await connection.fetchval(statement("ping"), timeout=half_s)
        raise ConnectionResetError("the server has ended the connection that listens for keys")
