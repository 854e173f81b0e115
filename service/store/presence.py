"""
The one connection that a worker keeps for itself.

It holds the worker's number, which makes its row ids unique, and it hears of changed keys. Both end
with it: the number is given up, and what was heard no longer counts until it is back.
"""

import asyncio
from typing import Final, Protocol

import structlog

from service.store.pool import PoolConfig, Session, connect
from service.store.sql import statement

log = structlog.get_logger()

# "forebay", so that the numbers do not meet another program's advisory locks.
_LOCK_CLASS: Final = 0x0F0BEBA1
_NUMBERS: Final = 1024
_CHANNEL: Final = "forebay_keys"
_RETRY_S: Final = 0.2


class Listener(Protocol):
    """Who is told what the connection brings."""

    def present(self, worker: int) -> None:
        """We hold this worker number, and hear of changed keys from now on."""

    def absent(self) -> None:
        """Our number is given up, and changes of keys may be missed."""

    def key_changed(self, key_id: str) -> None:
        """Something about this key is no longer what it was."""


class Presence:
    """Keeps the connection, and makes it again when it is lost."""

    def __init__(self, config: PoolConfig, listener: Listener, first_number: int) -> None:
        """*first_number* is where the search for a free number begins: best a random one."""
        self._config = config
        self._listener = listener
        self._first_number = first_number
        self._keeper: asyncio.Task[None] | None = None
        self._session: Session | None = None

    async def start(self) -> None:
        """Connect and take a number. Raises what asyncpg raises."""
        self._session = await self._join()
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Give the number up."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._session is not None:
            self._session.terminate()

    async def _join(self) -> Session:
        session = await connect(self._config)
        try:
            async with asyncio.timeout(self._config.tcp_timeout_ms / 1_000):
                number = await session.fetchval(
                    statement("lease_worker_number"), _LOCK_CLASS, self._first_number % _NUMBERS
                )
                if number is None:
                    raise RuntimeError(f"all {_NUMBERS} worker numbers are taken")
                await session.add_listener(_CHANNEL, self._hear)
        except BaseException:
            session.terminate()
            raise
        self._listener.present(number)
        return session

    def _hear(self, _session: object, _pid: int, _channel: str, payload: object) -> None:
        self._listener.key_changed(str(payload))

    async def _keep(self) -> None:
        while True:
            assert self._session is not None  # noqa: S101 - start() set it
            await self._until_lost(self._session)
            self._listener.absent()
            self._session.terminate()
            log.warning("presence_lost")
            self._session = await self._rejoin()
            log.info("presence_regained")

    async def _until_lost(self, session: Session) -> None:
        lost = asyncio.Event()
        # Half the time until the question, half for the answer.
        half_s = self._config.tcp_timeout_ms / 2_000
        session.add_termination_listener(lambda _session: lost.set())
        while not session.is_closed():
            try:
                await asyncio.wait_for(lost.wait(), half_s)
            except TimeoutError:
                # A peer that vanished without a word is only found by asking.
                try:
                    await session.fetchval(statement("ping"), timeout=half_s)
                except Exception:  # noqa: BLE001 - whatever it was, this connection is no good
                    return

    async def _rejoin(self) -> Session:
        while True:
            try:
                return await self._join()
            except Exception as error:  # noqa: BLE001 - the database is away; it is asked again
                log.debug("presence_retry", error=type(error).__name__)
                await asyncio.sleep(_RETRY_S)
