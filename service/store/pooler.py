"""
Detects a connection pooler in front of PostgreSQL, and refuses one that shares sessions.

Forebay's time limits, LISTEN and advisory locks belong to a session. With a pooler that gives each
transaction another session, Forebay loses them, and they affect other clients. See
docs/decisions/0023-poolers.md.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from service.store.faults import UnsafeSessionError
from service.store.sql import statement

_ROUNDS: Final = 3
_MEANWHILE_S: Final = 0.025  # half of the time for which a session is kept busy
_TIMEOUT_S: Final = 5.0
# A startup parameter that is no setting of the server: it cannot be set later.
_OPTIONS: Final = "options"


class PoolerError(UnsafeSessionError):
    """The pooler cannot be used; the message says what to change."""

    def __init__(self, message: str) -> None:
        super().__init__("pooler", message)


async def is_pooled(connection: Any) -> bool:
    """
    Tell whether a pooler is between Forebay and the server.

    The server sends its process number at the start of a connection. A pooler sends a number of its
    own, as it does not know yet which process will serve the client.
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
                    await _require_apart(first, second)
            finally:
                second.terminate()
    except TimeoutError:
        raise PoolerError(
            "the pooler of DATABASE_URL gives no second session in time: raise its limit"
            " (PgBouncer: default_pool_size)"
        ) from None


async def enter_session(connection: Any) -> None:
    """
    Apply the startup parameters of *connection* to its session.

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
    settings: dict[str, str] = connection._params.server_settings or {}  # noqa: SLF001 - as sent
    if _OPTIONS in settings:
        raise PoolerError(
            "a pooler does not pass on the parameter options of DATABASE_URL: write each setting"
            " as a parameter of its own, such as search_path=events"
        )
    rows = await connection.fetch(statement("apply_settings"), [*settings], [*settings.values()])
    if {row["pid"] for row in rows} - {pid}:
        raise _shared()


async def _require_apart(first: Any, second: Any) -> None:
    """Raise when *second* uses the session of *first*, or *first* gets another one meanwhile."""
    pid = await _pid(first)
    busy, again = await asyncio.gather(
        _ask(second, statement("read_pid_after_a_while")), _pid_meanwhile(first)
    )
    if busy == pid or again != pid:
        raise _shared()


async def _pid_meanwhile(connection: Any) -> int:
    await asyncio.sleep(_MEANWHILE_S)
    return await _pid(connection)


async def _pid(connection: Any) -> int:
    return await _ask(connection, statement("read_pid"))


async def _ask(connection: Any, query: str) -> int:
    """Query by COPY, which is one message; a prepared statement is two, maybe in two sessions."""
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
