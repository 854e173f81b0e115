"""
One timer for the deadlines of many tasks: in order, never early, and never for ended uses.

If these tests fail: requests hang past their timeout, or end before it.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any, NamedTuple

from service.deadlines import Deadlines
from tests.simulation.loop import SeededLoop


def cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()


async def never() -> None:
    await asyncio.get_running_loop().create_future()


class Limited:
    """Awaits with a timeout, like the reader of a request body."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.deadlines = Deadlines(cancel, monotonic)
        self._monotonic = monotonic

    async def sleep(self, sleep_s: float, timeout_s: float) -> None:
        task = self.deadlines.begin(self._monotonic() + timeout_s)
        try:
            await asyncio.sleep(sleep_s)
        except asyncio.CancelledError:
            if self.deadlines.is_exceeded(task) and not task.uncancel():
                raise TimeoutError from None
            raise
        finally:
            self.deadlines.end(task)


class Use(NamedTuple):
    pause_s: float
    timeout_s: float
    sleep_s: float


def virtual_loop(seed: int) -> SeededLoop:
    return SeededLoop(random.Random(seed), is_in_order=True)


def run(loop: SeededLoop, *tasks: asyncio.Task[Any]) -> None:
    loop.run(lambda: None, lambda: None)
    assert all(task.done() for task in tasks)


async def go_through(uses: list[Use], limited: Limited) -> list[tuple[str, float]]:
    """Return how each use ended, and how long it took."""
    loop = asyncio.get_running_loop()
    observed = []
    for use in uses:
        await asyncio.sleep(use.pause_s)
        started = loop.time()
        try:
            await limited.sleep(use.sleep_s, use.timeout_s)
        except TimeoutError:
            observed.append(("exceeded", loop.time() - started))
        else:
            observed.append(("done", loop.time() - started))
    return observed


def test_a_use_ends_at_its_deadline_and_the_next_use_has_its_own() -> None:
    """In virtual time: uses of one task, one after the other, with deadlines in any order."""
    for seed in range(300):
        chance = random.Random(seed)
        uses = [
            Use(chance.randrange(4), chance.choice([0.5, 2.5, 9.5, 99.5]), chance.randrange(5))
            for _ in range(8)
        ]
        loop = virtual_loop(seed)
        task = loop.create_task(go_through(uses, Limited(loop.time)))
        run(loop, task)

        expected = [
            ("exceeded", use.timeout_s) if use.sleep_s > use.timeout_s else ("done", use.sleep_s)
            for use in uses
        ]
        assert expected == task.result(), uses
        assert 0 == task.cancelling()


def test_concurrent_uses_each_end_at_their_deadline() -> None:
    loop = virtual_loop(1)
    limited = Limited(loop.time)
    ended: dict[int, float] = {}

    async def wait(number: int, pause_s: float, sleep_s: float) -> None:
        await asyncio.sleep(pause_s)
        try:
            await limited.sleep(sleep_s, timeout_s=2.0)
        except TimeoutError:
            ended[number] = limited._monotonic() - began

    began = loop.time()
    tasks = [
        loop.create_task(wait(0, 0.0, 1.0)),
        loop.create_task(wait(1, 0.0, 60.0)),
        loop.create_task(wait(2, 0.5, 60.0)),
        loop.create_task(wait(3, 0.5, 60.0)),
        loop.create_task(wait(4, 9.0, 60.0)),
    ]
    run(loop, *tasks)

    assert {1: 2.0, 2: 2.5, 3: 2.5, 4: 11.0} == ended


def test_deadlines_can_be_brought_forward_and_the_first_one_exceeded_at_once() -> None:
    loop = virtual_loop(1)
    limited = Limited(loop.time)
    ended: dict[int, float] = {}

    async def wait(number: int) -> None:
        await asyncio.sleep(number)
        try:
            await limited.sleep(60.0, timeout_s=10.0)
        except TimeoutError:
            ended[number] = loop.time() - began

    async def intervene() -> None:
        await asyncio.sleep(4.0)
        assert not limited.deadlines.exceed_first(began + 9.9)
        assert limited.deadlines.exceed_first(began + 10.1)
        limited.deadlines.bring_forward(began + 11.5)

    began = loop.time()
    tasks = [loop.create_task(wait(number)) for number in range(4)]
    run(loop, *tasks, loop.create_task(intervene()))

    assert {0: 4.0, 1: 11.0, 2: 11.5, 3: 11.5} == ended
    assert not limited.deadlines.exceed_first(loop.time() + 100)


def test_an_exceeded_deadline_can_be_extended() -> None:
    loop = virtual_loop(1)
    called_at: list[float] = []

    def note(task: asyncio.Task[Any]) -> None:
        called_at.append(loop.time() - began)
        if len(called_at) == 1:
            deadlines.extend(task, loop.time() + 1.0)
        else:
            task.cancel()

    deadlines = Deadlines(note, loop.time)

    async def wait() -> None:
        task = deadlines.begin(loop.time() + 5.0)
        try:
            await never()
        finally:
            deadlines.end(task)

    began = loop.time()
    task = loop.create_task(wait())
    run(loop, task)

    assert [5.0, 6.0] == called_at
    assert task.cancelled()


async def test_a_task_cancelled_by_another_task_is_cancelled() -> None:
    limited = Limited(asyncio.get_running_loop().time)
    waiting = asyncio.create_task(limited.sleep(60, timeout_s=60))
    await asyncio.sleep(0)

    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert waiting.cancelled()


async def test_a_task_cancelled_by_another_task_at_its_deadline_is_cancelled() -> None:
    loop = asyncio.get_running_loop()

    def cancel_twice(task: asyncio.Task[Any]) -> None:
        task.cancel()
        task.cancel()

    limited = Limited(loop.time)
    limited.deadlines = Deadlines(cancel_twice, loop.time)
    waiting = asyncio.create_task(limited.sleep(60, timeout_s=0))
    await asyncio.gather(waiting, return_exceptions=True)

    assert waiting.cancelled()
