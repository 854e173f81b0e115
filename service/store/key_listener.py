"""Listens for changed API keys, over a connection of its own."""

import asyncio
from typing import Final, NoReturn, Protocol

from service.store.pool import PoolConfig, Session, connect
from service.store.sql import statement

_CHANNEL: Final = "forebay_keys"


class KeyCache(Protocol):
    """Cached keys, and look-ups under way whose results would be cached."""

    def forget(self, key_id: str) -> None:
        """Drop one key."""

    def forget_all(self) -> None:
        """Drop all keys."""


class KeyListener:
    """Removes changed keys from a cache."""

    def __init__(self, config: PoolConfig, cache: KeyCache) -> None:
        self._config = config
        self._cache = cache

    async def run(self) -> NoReturn:
        """
        Connect and listen, until the connection is lost.

        Without a listener a cached key is used until its TTL ends (FOREBAY_KEY_CACHE_TTL_S), so the
        worker needs no connection here to start or to serve.

        Raises
        ------
        OSError, TimeoutError, asyncpg.PostgresError, UnsafeSessionError
            The connection cannot be opened, or was lost.
        """
        session = await connect(self._config)
        try:
            async with asyncio.timeout(self._config.tcp_timeout_ms / 1_000):
                await session.add_listener(_CHANNEL, self._hear)
            # Keys looked up before may have changed without a notification.
            self._cache.forget_all()
            await self._check_until_lost(session)
        finally:
            session.terminate()

    def _hear(self, _session: object, _pid: int, _channel: str, payload: object) -> None:
        self._cache.forget(str(payload))

    async def _check_until_lost(self, session: Session) -> NoReturn:
        lost = asyncio.Event()
        session.add_termination_listener(lambda _session: lost.set())
        # Half of the timeout is the pause before a query, half is for its answer.
        half_s = self._config.tcp_timeout_ms / 2_000
        while not session.is_closed():
            try:
                await asyncio.wait_for(lost.wait(), half_s)
            except TimeoutError:
                # Only a query finds a server that vanished without closing the connection.
                await session.fetchval(statement("ping"), timeout=half_s)
        raise ConnectionResetError("the server has ended the connection that listens for keys")
