"""The connections that flushes use: borrowed from the pool once, and kept from flush to flush."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from service.store.pool import is_open, tear_down


class Sessions:
    """
    Lends connections to flushes, and keeps each until it ends.

    The pool makes a task of each loan and of each return: some turns of the loop, and a third of
    what a small flush costs beside its statement.
    """

    def __init__(self, pool: Any) -> None:
        """*pool* has to have a connection for each flush, beside those that others need."""
        self._pool = pool
        self._kept: list[Any] = []
        self._waiting = 0

    @property
    def idle(self) -> int:
        """Connections that wait for a flush."""
        return len(self._kept)

    @asynccontextmanager
    async def lent(self, timeout_s: float) -> AsyncIterator[Any]:
        """
        Lend a connection; *timeout_s* bounds the wait for one.

        It is kept when its use ended well or with an answer of the server, and torn down else.
        """
        session = await self._take(timeout_s)
        try:
            yield session
        except asyncpg.PostgresError:
            raise
        except BaseException:
            tear_down(session)
            raise
        finally:
            await self._put_back(session)

    async def _take(self, timeout_s: float) -> Any:
        while self._kept:
            session = self._kept.pop()
            if is_open(session):
                return session
            await self._pool.release(session)
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                return await self._pool.acquire()
        finally:
            self._waiting -= 1

    async def _put_back(self, session: Any) -> None:
        if is_open(session) and session.is_in_transaction():
            # The next flush would find itself in it, and be answered before it is committed.
            tear_down(session)
        if is_open(session) and not self._waiting:
            self._kept.append(session)
        else:
            await self._pool.release(session)
