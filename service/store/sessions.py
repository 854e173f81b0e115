"""The connections that flushes use: borrowed from the pool once, and kept from flush to flush."""

import asyncio
from types import TracebackType
from typing import Any, Final

from service.clock import Clock
from service.store.pool import Session, tear_down, tear_down_unless_fit
from service.store.watchdog import Watchdog

_RELEASE_TIMEOUT_S: Final = 1.0


class Sessions:
    """
    Lends connections to flushes, and keeps each until it ends.

    The pool makes a task of each loan and of each return: some turns of the loop, and a third of
    what a small flush costs beside its statement.
    """

    def __init__(self, pool: Any, clock: Clock, *, wait_s: float) -> None:
        """
        *pool* has to have a connection for each flush, beside those that others need.

        *wait_s* bounds the wait for one of them.
        """
        self._pool = pool
        self._clock = clock
        self._wait_s = wait_s
        self._kept: list[Session] = []
        # What the pool lent and wants back, by the session in it.
        self._loans: dict[Session, Any] = {}
        self._waiting = 0

    @property
    def idle(self) -> int:
        """Connections that wait for a flush, and are open."""
        return sum(not session.is_closed() for session in self._kept)

    @property
    def in_use(self) -> int:
        """Connections that flushes use now."""
        return len(self._loans) - len(self._kept)

    def lent(self, deadline: float) -> "_Loan":
        """
        Lend a session for an `async with`, until *deadline* (monotonic seconds).

        The session is kept after success, and after an error that leaves it fit. It is torn down
        after any other error, and when its use exceeds *deadline*.
        """
        return _Loan(self, deadline)

    async def take(self, deadline: float) -> Session:
        """Return a session that is open, as far as can be seen."""
        left_s = deadline - self._clock.monotonic()
        if left_s <= 0:
            raise TimeoutError("the deadline of the flush has passed")
        while self._kept:
            session = self._kept.pop()
            if not session.is_closed():
                return session
            await self._release(session)
        return await self._borrow(min(left_s, self._wait_s))

    async def put_back(self, session: Session) -> None:
        """Keep *session* for the next use, unless it is of no use to that."""
        is_fit = not session.is_closed() and not session.is_in_transaction()
        if is_fit and not self._waiting:
            self._kept.append(session)
            return
        if not is_fit:
            # In a transaction: the next flush would be in it too, and answered before its commit.
            tear_down(session)
        await self._release(session)

    async def _borrow(self, timeout_s: float) -> Session:
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                loan = await self._pool.acquire()
        finally:
            self._waiting -= 1
        session: Session = loan.itself
        session.watchdog = Watchdog(session, self._clock)
        session.add_log_listener(session.hear)
        self._loans[session] = loan
        return session

    async def _release(self, session: Session) -> None:
        session.remove_log_listener(session.hear)
        # Bounded, as the pool waits for the end of a cancelled statement.
        await self._pool.release(self._loans.pop(session), timeout=_RELEASE_TIMEOUT_S)


class _Loan:
    """One use of a session; `asynccontextmanager` would cost as much as all that it does."""

    __slots__ = ("_deadline", "_session", "_sessions")

    def __init__(self, sessions: Sessions, deadline: float) -> None:
        self._sessions = sessions
        self._deadline = deadline

    async def __aenter__(self) -> Session:
        self._session = session = await self._sessions.take(self._deadline)
        session.watchdog.start(self._deadline)
        return session

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Raise ConnectionResetError when the use had to be cancelled, past its deadline."""
        session = self._session
        try:
            session.watchdog.stop(error)
        finally:
            if error is not None:
                tear_down_unless_fit(session, error)
            await self._sessions.put_back(session)
