import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable
from typing import NamedTuple

import asyncpg
import pytest

from service.clock import SystemClock
from service.store.watchdog import Watchdog
from tests.simulation.loop import SeededLoop
from tests.simulation.simulation import LoopClock

NEVER_S = 3600.0


class SilentLine:
    """A connection on which nothing ends by itself, or only when it is torn down."""

    def __init__(self, *, ends_when_torn_down: bool = True) -> None:
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


class HalfSpokenLine(SilentLine):
    """A connection torn down between the two halves of a statement, as asyncpg takes it."""

    def terminate(self) -> None:
        self.is_torn_down = True
        self._ended.set_exception(AttributeError("'NoneType' has no attribute 'bind_execute'"))


async def use(watchdog: Watchdog, deadline: float, work: Awaitable[None]) -> None:
    """Do *work* as a loan does it: guarded until its end, however it ends."""
    watchdog.start(deadline)
    try:
        await work
    except BaseException as error:
        watchdog.stop(error)
        raise
    watchdog.stop(None)


async def guarded(line: SilentLine, timeout_s: float) -> None:
    await use(Watchdog(line, SystemClock()), time.monotonic() + timeout_s, line.wait())


async def test_who_is_in_time_keeps_the_connection() -> None:
    line = SilentLine(ends_when_torn_down=True)
    watchdog = Watchdog(line, SystemClock())

    watchdog.start(time.monotonic())
    watchdog.stop(None)
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


class Use(NamedTuple):
    """One use of a line: what passes before it, what it may take, and what it takes."""

    pause_s: float
    allowed_s: float
    takes_s: float


class TimedLine:
    """A line on which all ends at its time; notes when it is torn down."""

    def __init__(self, clock: LoopClock, *, ends_when_torn_down: bool) -> None:
        self._clock = clock
        self._ends_when_torn_down = ends_when_torn_down
        self._answer: asyncio.Future[None] | None = None
        self.torn_down_at: list[float] = []

    def terminate(self) -> None:
        self.torn_down_at.append(self._clock.monotonic())
        if self._ends_when_torn_down and self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("torn down"))

    async def work(self, takes_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        loop.call_later(takes_s, self._come, self._answer)
        await self._answer

    @staticmethod
    def _come(answer: asyncio.Future[None]) -> None:
        if not answer.done():
            answer.set_result(None)


async def go_through(uses: list[Use], line: TimedLine, clock: LoopClock) -> float:
    """Use *line* until it is torn down; return when the last use ended."""
    watchdog = Watchdog(line, clock)
    for pause_s, allowed_s, takes_s in uses:
        await asyncio.sleep(pause_s)
        with contextlib.suppress(ConnectionError):
            await use(watchdog, clock.monotonic() + allowed_s, line.work(takes_s))
        if line.torn_down_at:
            break
    return clock.monotonic()


def times(uses: list[Use], begun_at: float, grace_s: float) -> tuple[list[float], float]:
    """Return when the line has to be torn down, if so, and when the last use then ends."""
    at = begun_at
    for use in uses:
        at += use.pause_s
        if use.takes_s > use.allowed_s:
            return [at + use.allowed_s], at + min(use.allowed_s + grace_s, use.takes_s)
        at += use.takes_s
    return [], at


@pytest.mark.parametrize("grace_s", [0.0, 1.0])
def test_of_many_uses_the_first_that_is_late_ends_at_its_deadline_and_no_other(
    grace_s: float,
) -> None:
    """In virtual time. What does not end by the teardown is given one second more."""
    chance = random.Random(1)
    for _ in range(500):
        uses = [
            Use(chance.randrange(4), chance.choice([0.5, 2.5, 9.5, 99.5]), chance.randrange(5))
            for _ in range(8)
        ]
        loop = SeededLoop(chance, is_in_order=True)
        clock = LoopClock(loop)
        line = TimedLine(clock, ends_when_torn_down=not grace_s)
        expected = times(uses, clock.monotonic(), grace_s)
        going = loop.create_task(go_through(uses, line, clock))

        loop.run(lambda: None, lambda: None)

        assert expected == (line.torn_down_at, going.result()), uses
        assert 0 == going.cancelling()


async def test_a_teardown_in_mid_statement_is_a_lost_line_and_no_fault_of_ours() -> None:
    with pytest.raises(ConnectionResetError):
        await guarded(HalfSpokenLine(), 0.01)


async def test_a_fault_of_ours_stays_one() -> None:
    async def fault() -> None:
        raise AttributeError("ours")

    with pytest.raises(AttributeError, match="ours"):
        await use(Watchdog(SilentLine(), SystemClock()), time.monotonic() + NEVER_S, fault())
