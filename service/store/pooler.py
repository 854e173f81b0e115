"""
Detects a connection pooler in front of PostgreSQL, and refuses one that shares sessions.

Forebay's time limits, LISTEN and advisory locks belong to a session. With a pooler that gives each
transaction another session, Forebay loses them, and they affect other clients. See
docs/decisions/0023-poolers.md.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from service.store.errors import UnsafeSessionError
from service.store.sql import statement

_ROUNDS: Final = 3
_PAUSE_S: Final = 0.025  # half of the time for which read_pid_after_a_while keeps a session busy
_TIMEOUT_S: Final = 5.0
# A startup parameter that is not a setting of the server: it cannot be set later.
_OPTIONS: Final = "options"


class PoolerError(UnsafeSessionError):
    """The pooler cannot be used; the message says what to change."""

    def __init__(self, message: str) -> None:
        super().__init__("pooler", message)


async def is_pooled(connection: Any) -> bool:
    """
    Whether a pooler is between Forebay and the server.

    The server sends the number of its process when a connection starts. A pooler sends a number of
    its own, because it does not know yet which server process will serve the client.
    """
    own_pid: int = connection.get_server_pid()
    return await _pid(connection) != own_pid


async def require_session_pooling(first: Any, connect: Callable[[], Awaitable[Any]]) -> None:
    """
    Check that a pooler, if there is one, gives each connection a session of its own.

    *first* is a connection; *connect* opens another one.

    Raises
    ------
    PoolerError
        The pooler shares sessions, or has no second session.
    """
    async with asyncio.timeout(_TIMEOUT_S):
        if not await is_pooled(first):
            return
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            second = await connect()
            try:
                for _ in range(_ROUNDS):
                    await _require_different_sessions(first, second)
            finally:
                second.terminate()
    except TimeoutError:
        raise PoolerError(
            "the pooler of DATABASE_URL gives no second session in time: raise its limit"
            " (PgBouncer: default_pool_size)"
        ) from None


async def enter_session(connection: Any, settings: Mapping[str, str]) -> None:
    """
    Apply *settings*, the startup parameters of *connection*, to its session.

    A pooler does not pass them on. Without a pooler there is nothing to do.

    Raises
    ------
    PoolerError
        The session has changed meanwhile, or `options` is among the parameters.
    """
    pid = await _pid(connection)
    if pid == connection.get_server_pid():
        return
    if await _pid(connection) != pid:
        raise _shared()
    if _OPTIONS in settings:
        raise PoolerError(
            "a pooler does not pass on the parameter options of DATABASE_URL: write each setting"
            " as a parameter of its own, such as search_path=events"
        )
    rows = await connection.fetch(statement("apply_settings"), [*settings], [*settings.values()])
    if {row["pid"] for row in rows} - {pid}:
        raise _shared()


async def _require_different_sessions(first: Any, second: Any) -> None:
    """Raise when *second* uses the session of *first*, or *first* gets another one meanwhile."""
    pid = await _pid(first)
    second_pid, pid_later = await asyncio.gather(
        _query(second, statement("read_pid_after_a_while")), _pid_later(first)
    )
    if second_pid == pid or pid_later != pid:
        raise _shared()


async def _pid_later(connection: Any) -> int:
    await asyncio.sleep(_PAUSE_S)
    return await _pid(connection)


async def _pid(connection: Any) -> int:
    return await _query(connection, statement("read_pid"))


async def _query(connection: Any, query: str) -> int:
    """Query by COPY: one message. A pooler could split a prepared statement over two sessions."""
    answer = bytearray()

    async def take(data: bytes) -> None:
        answer.extend(data)

    await connection.copy_from_query(query, output=take)
    return int(answer)


def _shared() -> PoolerError:
    return PoolerError(
        "DATABASE_URL leads to a pooler that shares sessions (transaction or statement pooling):"
        " connect to PostgreSQL directly, or through session pooling (PgBouncer: pool_mode ="
        " session)"
    )
