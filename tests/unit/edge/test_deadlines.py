"""Who waits too long is given up; who is cancelled by somebody else ends."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import pytest

from service.edge.deadlines import Deadlines

T = TypeVar("T")


async def within(deadlines: Deadlines, awaitable: Awaitable[T]) -> T:
    task = deadlines.begin()
    try:
        return await awaitable
    except asyncio.CancelledError:
        if deadlines.forgive(task):
            raise TimeoutError from None
        raise
    finally:
        deadlines.end(task)


async def never() -> None:
    await asyncio.get_running_loop().create_future()


async def test_what_comes_in_time_is_returned() -> None:
    async def answer() -> str:
        await asyncio.sleep(0)
        return "answer"

    assert "answer" == await within(Deadlines(10), answer())


async def test_what_fails_fails_as_it_did() -> None:
    async def fail() -> None:
        raise ValueError("own")

    with pytest.raises(ValueError, match="own"):
        await within(Deadlines(10), fail())


async def test_all_who_wait_too_long_are_given_up_and_may_go_on() -> None:
    deadlines = Deadlines(0.01)
    gone_on = []

    async def wait(number: int) -> None:
        with pytest.raises(TimeoutError):
            await within(deadlines, never())
        await asyncio.sleep(0)
        gone_on.append(number)

    await asyncio.gather(*(wait(number) for number in range(3)))
    await wait(3)

    assert [0, 1, 2, 3] == gone_on


async def test_who_begins_later_is_given_the_whole_time() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(0.1)

    async def waited_s(begin: asyncio.Event) -> float:
        await begin.wait()
        started = loop.time()
        with pytest.raises(TimeoutError):
            await within(deadlines, never())
        return loop.time() - started

    at_once, later = asyncio.Event(), asyncio.Event()
    at_once.set()
    tasks = [asyncio.create_task(waited_s(begin)) for begin in (at_once, later)]
    loop.call_later(0.05, later.set)

    for waited in await asyncio.gather(*tasks):
        assert waited > 0.09


async def test_who_is_cancelled_while_waiting_ends() -> None:
    deadlines = Deadlines(10)
    waiting = asyncio.create_task(within(deadlines, never()))
    await asyncio.sleep(0)

    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert waiting.cancelled()


async def test_who_is_cancelled_when_time_is_up_ends_too() -> None:
    deadlines = Deadlines(0.01)
    waiting: asyncio.Task[None] | None = None

    async def cancelled_when_given_up() -> None:
        try:
            await never()
        except asyncio.CancelledError:
            assert waiting is not None
            waiting.cancel()
            raise

    waiting = asyncio.create_task(within(deadlines, cancelled_when_given_up()))
    await asyncio.gather(waiting, return_exceptions=True)

    assert waiting.cancelled()
