"""The connections of a worker: opening, checks before use, the pool, and deadlines of their use."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Final, NamedTuple

import asyncpg
import msgspec

from service.clock import Clock
from service.config import Config
from service.database_url import parse
from service.deadlines import Deadlines
from service.store.errors import UnsafeSessionError, is_about_standby, is_session_usable
from service.store.pooler import enter_session, require_session_pooling
from service.store.sql import statement

# Beyond FOREBAY_FLUSHES_MAX: one for a flush of light keys beside those of heavy ones, two for key
# look-ups, one for a probe, and one for the rest (partitions, ending a lost session).
_OTHER_CONNECTIONS: Final = 5
# Timeouts in seconds. A server may complete the handshake and then not answer.
_SET_UP_TIMEOUT_S: Final = 5.0
_RELEASE_TIMEOUT_S: Final = 1.0
# After its connection was closed at the deadline, a task has this time to end by itself.
_CANCEL_AFTER_S: Final = 1.0
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
    url_settings: dict[str, str] = {}
    """Parameters of the URL that are settings of the session."""
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
        """The settings of the session: every wait in the server is limited."""
        return self.url_settings | {
            "application_name": self.application_name,
            "timezone": "UTC",
            "statement_timeout": str(self.statement_timeout_ms),
            "lock_timeout": str(self.lock_timeout_ms),
            "idle_in_transaction_session_timeout": str(self.idle_in_transaction_timeout_ms),
            # How the server detects a silent connection: data not acknowledged, or long idle.
            "tcp_user_timeout": str(self.tcp_timeout_ms),
            "tcp_keepalives_idle": str(max(self.tcp_timeout_ms // 2_000, 1)),
            "tcp_keepalives_interval": "1",
        }


def pool_config(settings: Config, url: str) -> PoolConfig:
    """Return how a worker reaches the database."""
    parsed = parse(url)
    return PoolConfig(
        url=parsed.url,
        url_settings=parsed.server_settings,
        application_name=parsed.application_name or "forebay",
        connections_max=settings.flushes_max + _OTHER_CONNECTIONS,
        connect_timeout_s=settings.connect_timeout_s,
        acquire_timeout_s=settings.acquire_timeout_s,
        statement_timeout_ms=settings.statement_timeout_ms,
        lock_timeout_ms=settings.lock_timeout_ms,
        idle_in_transaction_timeout_ms=settings.idle_in_transaction_timeout_ms,
        tcp_timeout_ms=settings.tcp_timeout_ms,
    )


def connections_per_worker(settings: Config) -> int:
    """Return how many connections one worker opens at most; one listens for changed keys."""
    return settings.flushes_max + _OTHER_CONNECTIONS + 1


# --- one connection ------------------------------------------------------------------------------


class RowTypes(NamedTuple):
    """The OIDs of the composite types whose arrays a flush sends."""

    ledger_row: int
    event_row: int


class Connection(asyncpg.Connection):
    """A connection, what is known about its session, and the deadline of its current use."""

    pid: int = 0
    """With `backend_start` it identifies the session, so that another connection can end it."""
    backend_start: datetime | None = None
    row_types: RowTypes = RowTypes(0, 0)
    is_unconfirmed: bool = False
    """Whether a commit did not wait for its synchronous standby. Set to False before a commit."""
    wrapper: Any = None
    """The pool's wrapper of this connection while it is borrowed. `Pool.release` needs it."""
    _clock: Clock
    _deadlines: Deadlines
    _task: asyncio.Task[Any]
    _is_past_deadline = False
    _is_task_cancelled = False

    @property
    def itself(self) -> "Connection":
        """The connection without the pool's wrapper, which costs a microsecond for each call."""
        return self

    def get_reset_query(self) -> str:
        # Forebay's statements change nothing in a session; a reset would cost a round trip.
        return ""

    def borrowed(self, wrapper: Any, clock: Clock) -> None:
        """Prepare for uses with a deadline, after the pool has lent this connection."""
        self.wrapper, self._clock = wrapper, clock
        self._deadlines = Deadlines(self._deadline_exceeded, clock.monotonic)
        self.add_log_listener(self._note_unconfirmed)

    def released(self) -> Any:
        """Return what the pool takes back."""
        self.remove_log_listener(self._note_unconfirmed)
        return self.wrapper

    def begin_use(self, deadline: float) -> None:
        """
        Limit what the current task does with the connection until `end_use`.

        At *deadline* (monotonic seconds) the connection is closed, and the task is cancelled if it
        has not ended a second later. `asyncio.timeout` and the timeouts of asyncpg are not used:
        they cancel the statement, and a cancelled COMMIT reports success although its synchronous
        standby has not confirmed it.
        """
        self._task = self._deadlines.begin(deadline)

    def end_use(self, error: BaseException | None) -> None:
        """
        End a use, which succeeded or ended with *error*.

        Raises
        ------
        ConnectionResetError
            The deadline was exceeded, and *error* does not say so.
        """
        self._deadlines.end(self._task)
        if not self._is_past_deadline:
            return
        if not self._is_task_cancelled:
            if isinstance(error, AttributeError):
                # asyncpg raises it if the connection is closed between two messages of a statement.
                raise ConnectionResetError("closed at the deadline") from error
            return
        # A task that was cancelled by something else as well stays cancelled.
        is_only_ours = not self._task.uncancel()
        if is_only_ours and isinstance(error, asyncio.CancelledError):
            raise ConnectionResetError("the connection to the database is silent") from None

    def _deadline_exceeded(self, task: asyncio.Task[Any]) -> None:
        if not self._is_past_deadline:
            self._is_past_deadline = True
            self._deadlines.extend(task, self._clock.monotonic() + _CANCEL_AFTER_S)
            tear_down(self)
        else:
            # asyncpg waits without a limit to write to a connection whose buffers are full, even
            # when the connection is lost. It is closed by now, so a cancel cannot affect a COMMIT.
            self._is_task_cancelled = True
            task.cancel()

    def _note_unconfirmed(self, _connection: Any, message: asyncpg.PostgresLogMessage) -> None:
        if is_about_standby(message):
            self.is_unconfirmed = True


async def connect(config: PoolConfig) -> Connection:
    """Open one connection beside the pool."""
    connection = await _open(config)
    await _prepare(connection, config.server_settings)
    return connection


async def connect_own_session(config: PoolConfig) -> Connection:
    """Open one connection; raise PoolerError, with no setting changed, if a pooler shares it."""
    connection = await _open(config)
    try:
        await require_session_pooling(connection, partial(_open, config))
    except BaseException:
        connection.terminate()
        raise
    await _prepare(connection, config.server_settings)
    return connection


async def _open(config: PoolConfig) -> Connection:
    return await asyncpg.connect(
        config.url,
        connection_class=Connection,
        timeout=config.connect_timeout_s,
        server_settings=config.server_settings,
    )


async def _prepare(connection: Connection, settings: Mapping[str, str]) -> None:
    try:
        async with asyncio.timeout(_SET_UP_TIMEOUT_S):
            await _set_up(connection, settings)
    except BaseException:
        # The pool would close the connection gracefully, and wait for the server without a limit.
        connection.terminate()
        raise


async def _set_up(connection: Connection, settings: Mapping[str, str]) -> None:
    await enter_session(connection, settings)
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
            _send_as_given(connection, oid)


def _send_as_given(connection: Connection, oid: int) -> None:
    """
    Send values of the type *oid*, which the core has encoded, as they are.

    `set_type_codec` does the same, but for scalar types only. This is the one private API of
    asyncpg that Forebay uses: docs/decisions/0025-private-apis-of-asyncpg.md.
    """
    codec = (bytes, bytes, "binary")
    connection.get_settings().add_python_codec(oid, "rows", "public", [], "scalar", *codec)


def require_safe(row: Any) -> None:
    """Raise UnsafeSessionError if a setting in *row* could lose committed events in a crash."""
    for setting, allowed in _SAFE_SETTINGS.items():
        if row[setting] not in allowed:
            raise UnsafeSessionError(
                setting,
                f"the database has {setting} = {row[setting]}; Forebay needs"
                f" {' or '.join(allowed)}",
            )


def tear_down(connection: Any) -> None:
    """Close *connection* at once, without a message to the server."""
    # InterfaceError: the connection was lost, and the pool has already taken it back.
    with contextlib.suppress(asyncpg.InterfaceError):
        connection.terminate()


# --- the pool ------------------------------------------------------------------------------------


async def open_pool(config: PoolConfig) -> Any:
    """
    Open the pool, with one connection made and checked.

    Raises
    ------
    OSError, asyncpg.PostgresError, UnsafeSessionError
        The database cannot be reached, or could lose acknowledged events.
    """
    settings = config.server_settings
    return await asyncpg.create_pool(
        config.url,
        min_size=1,
        max_size=config.connections_max,
        # Idle connections stay open: the next burst should not wait for a handshake.
        max_inactive_connection_lifetime=0,
        # After so many statements the pool would close a connection gracefully, and wait for the
        # server without a limit.
        max_queries=2**63,
        connection_class=Connection,
        init=partial(_prepare, settings=settings),
        timeout=config.connect_timeout_s,
        server_settings=settings,
    )


class PoolState(msgspec.Struct, frozen=True):
    """Connections of this worker's pool."""

    size: int
    idle: int
    max: int


def pool_state(pool: Any, idle: int = 0) -> PoolState:
    """Return how many connections there are; *idle* are lent to flushes, and not in use."""
    return PoolState(pool.get_size(), pool.get_idle_size() + idle, pool.get_max_size())


@contextlib.asynccontextmanager
async def lent(pool: Any) -> AsyncIterator[Any]:
    """
    Lend a connection whose statements may be cancelled.

    asyncpg cancels a statement by a message to the server, and the pool would wait for the answer
    before it takes the connection back: without a limit when the connection is silent. Such a
    connection is torn down instead.
    """
    async with pool.acquire() as connection:
        try:
            yield connection
        except BaseException as error:
            if not is_session_usable(error):
                tear_down(connection)
            raise


class FlushConnections:
    """
    The connections of flushes: borrowed from the pool once, and reused from flush to flush.

    The pool creates a task for each loan and each return. The reuse saves a third of the time that
    a small flush needs beside its statement.
    """

    def __init__(self, pool: Any, clock: Clock, *, wait_s: float) -> None:
        """
        *pool* must have a connection for each flush, beside those for other uses.

        *wait_s* limits the wait for a connection of the pool.
        """
        self._pool = pool
        self._clock = clock
        self._wait_s = wait_s
        self._idle: list[Connection] = []
        self._borrowed = 0
        self._waiting = 0

    @property
    def idle(self) -> int:
        """Open connections that no flush uses."""
        return sum(not connection.is_closed() for connection in self._idle)

    @property
    def in_use(self) -> int:
        """Connections that flushes use now."""
        return self._borrowed - len(self._idle)

    def lend(self, deadline: float) -> "_Loan":
        """
        Lend a connection for an `async with`, until *deadline* (monotonic seconds).

        It is reused after success, and after an error that leaves its session usable. Otherwise it
        is torn down; also at the deadline, see `Connection.begin_use`.

        Raises
        ------
        TimeoutError
            No connection was free in time.
        ConnectionResetError
            The deadline was exceeded.
        """
        return _Loan(self, deadline)

    async def take(self, deadline: float) -> Connection:
        """Return a connection that is not known to be closed."""
        left_s = deadline - self._clock.monotonic()
        if left_s <= 0:
            raise TimeoutError("the deadline of the flush has passed")
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            await self._release(connection)
        return await self._borrow(min(left_s, self._wait_s))

    async def put_back(self, connection: Connection) -> None:
        """Retain *connection* for the next use, or return it to the pool."""
        is_usable = not connection.is_closed() and not connection.is_in_transaction()
        if is_usable and not self._waiting:
            self._idle.append(connection)
            return
        if not is_usable:
            # In an open transaction the next flush would be answered before the commit.
            tear_down(connection)
        await self._release(connection)

    async def _borrow(self, timeout_s: float) -> Connection:
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                wrapper = await self._pool.acquire()
        finally:
            self._waiting -= 1
        self._borrowed += 1
        connection: Connection = wrapper.itself
        connection.borrowed(wrapper, self._clock)
        return connection

    async def _release(self, connection: Connection) -> None:
        self._borrowed -= 1
        # With a limit, because the pool waits for the end of a cancelled statement.
        await self._pool.release(connection.released(), timeout=_RELEASE_TIMEOUT_S)


class _Loan:
    """One use of a connection; with `asynccontextmanager` a use would take twice as long."""

    __slots__ = ("_connection", "_connections", "_deadline")

    def __init__(self, connections: FlushConnections, deadline: float) -> None:
        self._connections = connections
        self._deadline = deadline

    async def __aenter__(self) -> Connection:
        self._connection = connection = await self._connections.take(self._deadline)
        connection.begin_use(self._deadline)
        return connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        connection = self._connection
        try:
            connection.end_use(error)
        finally:
            if error is not None and not is_session_usable(error):
                tear_down(connection)
            await self._connections.put_back(connection)
