"""Connections of a worker: how they are opened, and what is checked before one is used."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import asyncpg
import msgspec

from service.config import Config
from service.database_url import parse
from service.store.faults import UnsafeSessionError, is_about_standby, leaves_session_fit
from service.store.pooler import enter_session, require_session_pooling
from service.store.sql import statement

if TYPE_CHECKING:
    from service.store.watchdog import Watchdog

# Beyond the connections of flushes: two for key look-ups, one for a probe, and one for the rest
# (partitions, ending a lost session).
_SPARE_CONNECTIONS: Final = 4
# In seconds: a server may complete the handshake and then not answer.
_SET_UP_TIMEOUT_S: Final = 5.0
# For each setting, the values with which Forebay may store events.
_SAFE_SETTINGS: Final = {
    "synchronous_commit": ("on", "remote_apply"),
    "fsync": ("on",),
    "full_page_writes": ("on",),
    "transaction_read_only": ("off",),
    "server_encoding": ("UTF8",),
}


class PoolConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the database, and how long to wait for it."""

    url: str
    connections_max: int
    connect_timeout_s: float
    acquire_timeout_s: float
    statement_timeout_ms: int
    lock_timeout_ms: int
    idle_in_transaction_timeout_ms: int
    tcp_timeout_ms: int
    application_name: str = "forebay"

    @property
    def server_settings(self) -> dict[str, str]:
        """The session's settings: no wait in the server is without a bound."""
        return {
            "application_name": self.application_name,
            "timezone": "UTC",
            "statement_timeout": str(self.statement_timeout_ms),
            "lock_timeout": str(self.lock_timeout_ms),
            "idle_in_transaction_session_timeout": str(self.idle_in_transaction_timeout_ms),
            # The server's side of a silent line: data unacknowledged, or nothing to say for long.
            "tcp_user_timeout": str(self.tcp_timeout_ms),
            "tcp_keepalives_idle": str(max(self.tcp_timeout_ms // 2_000, 1)),
            "tcp_keepalives_interval": "1",
        }


class RowTypes(NamedTuple):
    """The numbers that this database has given to the types of a flush."""

    ledger_row: int
    event_row: int


class Session(asyncpg.Connection):
    """A connection with its identity in the server, so that another connection can end it."""

    pid: int = 0
    backend_start: datetime | None = None
    row_types: RowTypes = RowTypes(0, 0)
    watchdog: "Watchdog"
    """Enforces the flush deadline on this connection."""
    is_unconfirmed: bool = False
    """The wait of a commit for a synchronous standby was cancelled."""

    @property
    def itself(self) -> "Session":
        """The session without what the pool wraps around it: that costs a microsecond a call."""
        return self

    def hear(self, _connection: Any, message: asyncpg.PostgresLogMessage) -> None:
        """Note a notice that makes the outcome of a commit unknown."""
        if is_about_standby(message):
            self.is_unconfirmed = True

    def get_reset_query(self) -> str:
        # Our statements leave nothing behind in a session; a round trip per release for nothing.
        return ""


def pool_config(settings: Config, url: str) -> PoolConfig:
    """Return how a worker reaches the database."""
    parsed = parse(url)
    return PoolConfig(
        url=parsed.url,
        application_name=parsed.application_name or "forebay",
        connections_max=settings.flushes_max + _SPARE_CONNECTIONS,
        connect_timeout_s=settings.connect_timeout_s,
        acquire_timeout_s=settings.acquire_timeout_s,
        statement_timeout_ms=settings.statement_timeout_ms,
        lock_timeout_ms=settings.lock_timeout_ms,
        idle_in_transaction_timeout_ms=settings.idle_in_transaction_timeout_ms,
        tcp_timeout_ms=settings.tcp_timeout_ms,
    )


def connections_per_worker(settings: Config) -> int:
    """Return how many connections one worker opens at most; one listens for changed keys."""
    return settings.flushes_max + _SPARE_CONNECTIONS + 1


async def open_pool(config: PoolConfig) -> Any:
    """
    Open the pool, with one connection made and checked.

    Raises
    ------
    OSError, asyncpg.PostgresError, UnsafeSessionError
        The database cannot be reached, or could lose acknowledged events.
    """
    return await asyncpg.create_pool(  # type: ignore[call-overload]  # the stubs miss our class
        config.url,
        min_size=1,
        max_size=config.connections_max,
        # Idle connections are kept: the next burst should not wait for a handshake.
        max_inactive_connection_lifetime=0,
        # Past so many statements the pool would close one in good order, and wait for the server
        # without a bound: a flush gives its session back with no watchdog over it.
        max_queries=2**63,
        connection_class=Session,
        init=_prepare,
        timeout=config.connect_timeout_s,
        server_settings=config.server_settings,
    )


@contextlib.asynccontextmanager
async def lent(pool: Any, timeout_s: float | None = None) -> AsyncIterator[Any]:
    """
    Lend a connection whose statements may be given up; *timeout_s* bounds the wait for one.

    A statement that was given up is cancelled in the server by a message, and the pool would wait
    for its answer before it takes the connection back: without end when the line is silent. Such a
    connection is torn down instead.
    """
    async with pool.acquire(timeout=timeout_s) as connection:
        try:
            yield connection
        except BaseException as error:
            tear_down_unless_fit(connection, error)
            raise


def tear_down_unless_fit(connection: Any, error: BaseException) -> None:
    """End *connection* after *error*, unless it can be used again."""
    if not leaves_session_fit(error):
        tear_down(connection)


def tear_down(connection: Any) -> None:
    """Close *connection* at once, without a message to the server."""
    # Raised for a lost connection that the pool has already taken back.
    with contextlib.suppress(asyncpg.InterfaceError):
        connection.terminate()


async def connect(config: PoolConfig) -> Session:
    """Open one connection beside the pool."""
    connection = await _open(config)
    await _prepare(connection)
    return connection


async def connect_own_session(config: PoolConfig) -> Session:
    """Open one connection; raise PoolerError, with no setting changed, if a pooler shares it."""
    connection = await _open(config)
    try:
        await require_session_pooling(connection, partial(_open, config))
    except BaseException:
        connection.terminate()
        raise
    await _prepare(connection)
    return connection


async def _open(config: PoolConfig) -> Session:
    return await asyncpg.connect(
        config.url,
        connection_class=Session,
        timeout=config.connect_timeout_s,
        server_settings=config.server_settings,
    )


async def _prepare(connection: Session) -> None:
    try:
        async with asyncio.timeout(_SET_UP_TIMEOUT_S):
            await _set_up(connection)
    except BaseException:
        # The pool would close it gracefully, and wait for the server without a limit.
        connection.terminate()
        raise


async def _set_up(connection: Session) -> None:
    await enter_session(connection)
    await connection.set_type_codec(
        "uuid", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary"
    )
    (row,) = await connection.fetch(statement("check_session"))
    require_safe(row)
    connection.pid = row["pid"]
    connection.backend_start = row["backend_start"]
    # None: there is no schema yet, or not all of it.
    if None not in {row["ledger_rows"], row["event_rows"]}:
        connection.row_types = RowTypes(row["ledger_row"], row["event_row"])
        for oid in (row["ledger_rows"], row["event_rows"]):
            _pass_through(connection, oid)


def _pass_through(connection: Session, oid: int) -> None:
    """
    Send what the core wrote as a value of this type as it is.

    `set_type_codec` does the same, but for scalar types only.
    """
    codec = (bytes, bytes, "binary")
    connection.get_settings().add_python_codec(oid, "rows", "public", [], "scalar", *codec)


def require_safe(row: Any) -> None:
    """Refuse a session in which an answer of 200 would not survive a crash of the server."""
    for setting, allowed in _SAFE_SETTINGS.items():
        if row[setting] not in allowed:
            raise UnsafeSessionError(
                setting,
                f"the database has {setting} = {row[setting]}; Forebay needs"
                f" {' or '.join(allowed)}",
            )
