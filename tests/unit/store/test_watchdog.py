import asyncio

import asyncpg
import pytest

from service.store.watchdog import Watchdog

NEVER_S = 3600.0


class SilentLine:
    """A connection on which nothing ends by itself, or only when it is torn down."""

    def __init__(self, *, ends_when_torn_down: bool) -> None:
        self._ends_when_torn_down = ends_when_torn_down
        self._ended = asyncio.get_running_loop().create_future()
        self.is_torn_down = False

    def terminate(self) -> None:
        self.is_torn_down = True
        if self._ends_when_torn_down:
            self._ended.set_exception(ConnectionError("torn down"))

    async def wait(self) -> None:
        await self._ended


class LostLine(SilentLine):
    """A connection that is gone; the pool has taken it back, and nobody told who waits on it."""

    def __init__(self) -> None:
        super().__init__(ends_when_torn_down=False)

    def terminate(self) -> None:
        super().terminate()
        raise asyncpg.InterfaceError("it was released back to the pool")


async def guarded(line: SilentLine, timeout_s: float) -> None:
    with Watchdog(line, timeout_s):
        await line.wait()


async def test_who_is_in_time_keeps_the_connection() -> None:
    line = SilentLine(ends_when_torn_down=True)

    with Watchdog(line, 0.0):
        pass
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert not line.is_torn_down


async def test_past_the_deadline_the_connection_is_torn_down_and_ends_what_runs_on_it() -> None:
    line = SilentLine(ends_when_torn_down=True)

    with pytest.raises(ConnectionError, match="torn down"):
        await guarded(line, 0.0)

    assert line.is_torn_down


async def test_what_does_not_end_by_that_is_cancelled_and_told_as_a_silent_line() -> None:
    line = SilentLine(ends_when_torn_down=False)

    with pytest.raises(ConnectionResetError, match="silent"):
        await guarded(line, -1.0)

    task = asyncio.current_task()
    assert task is not None
    assert 0 == task.cancelling()


async def test_what_waits_on_a_lost_line_is_cancelled_too() -> None:
    line = LostLine()

    with pytest.raises(ConnectionResetError, match="silent"):
        await guarded(line, 0.0)

    assert line.is_torn_down


async def test_who_is_cancelled_by_somebody_else_is_cancelled() -> None:
    line = SilentLine(ends_when_torn_down=False)
    task = asyncio.create_task(guarded(line, NEVER_S))
    await asyncio.sleep(0)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert not line.is_torn_down
