"""The connections that flushes use: borrowed from the pool once, and kept from flush to flush."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg


class Sessions:
    """
    Lends connections to flushes.

    The pool makes a task of each loan and of each return: some turns of the loop, and a third of
    what a small flush costs beside its statement.
    """

    def __init__(self, pool: Any) -> None:
        """*pool* has to have a connection for each flush, beside those that others need."""
        self._pool = pool
        self._kept: list[Any] = []

    @asynccontextmanager
    async def lent(self, timeout_s: float) -> AsyncIterator[Any]:
        """Lend a connection; *timeout_s* bounds the wait for one."""
        session = await self._take(timeout_s)
        try:
            yield session
        finally:
            if _is_open(session):
                self._kept.append(session)
            else:
                await self._pool.release(session)

    async def _take(self, timeout_s: float) -> Any:
        while self._kept:
            session = self._kept.pop()
            if _is_open(session):
                return session
            await self._pool.release(session)
        async with asyncio.timeout(timeout_s):
            return await self._pool.acquire()


def _is_open(session: Any) -> bool:
    try:
        return not session.is_closed()
    except asyncpg.InterfaceError:  # the pool has noticed by itself, and taken it back
        return False
