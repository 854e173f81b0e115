"""
Background tasks: each one that ends is restarted, and its state is visible.

If these tests fail: after an error a worker no longer creates partitions or hears of revoked keys.
"""

import asyncio

import pytest

from service.supervisor import Supervisor


class _Panic(BaseException):
    """Like a panic of the native core: not an instance of Exception."""


async def test_a_task_that_fails_is_started_again_and_counted() -> None:
    failures: list[str] = []
    supervisor = Supervisor(failures.append, pause_min_s=0.001)
    third_run = asyncio.Event()
    runs = 0

    async def fail_twice() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise OSError("disk full")
        if runs == 3:
            third_run.set()
            await asyncio.Event().wait()

    supervisor.start("listener", fail_twice)
    await third_run.wait()

    assert ["listener", "listener"] == failures
    report = supervisor.report()["listener"]
    assert ("running", 2, "ended") == (report.status, report.restarts, report.last_error)
    await supervisor.stop()


async def test_a_task_that_waits_to_be_restarted_is_shown_with_its_error() -> None:
    failed = asyncio.Event()
    supervisor = Supervisor(lambda _task: failed.set())

    async def fail() -> None:
        raise OSError("disk full")

    supervisor.start("partitions", fail)
    await failed.wait()

    report = supervisor.report()["partitions"]
    assert ("restarting", "OSError") == (report.status, report.last_error)
    await supervisor.stop()


@pytest.mark.parametrize("error", [asyncio.CancelledError, _Panic, OSError])
async def test_a_task_continues_after_any_error_of_its_run_or_of_the_counter(
    error: type[BaseException],
) -> None:
    again = asyncio.Event()

    def cannot_count(_task: str) -> None:
        raise OSError("disk full")

    supervisor = Supervisor(cannot_count, pause_min_s=0.001)
    runs = 0

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise error
        again.set()
        await asyncio.Event().wait()

    supervisor.start("listener", run)
    await again.wait()

    assert 2 == supervisor.report()["listener"].restarts
    await supervisor.stop()


async def test_a_cancel_that_did_not_come_from_stop_ends_one_run_alone() -> None:
    supervisor = Supervisor(lambda _task: None, pause_min_s=0.001)
    runs: list[asyncio.Task[None]] = []
    again = asyncio.Event()

    async def run() -> None:
        task = asyncio.current_task()
        assert task is not None
        runs.append(task)
        if len(runs) == 1:
            task.cancel()
            await asyncio.sleep(0)
        assert not task.cancelling()
        again.set()
        await asyncio.Event().wait()

    supervisor.start("listener", run)
    await again.wait()
    await supervisor.stop()

    assert 2 == len(runs)
    assert runs[1].done()


async def test_stop_ends_every_task() -> None:
    supervisor = Supervisor(lambda _task: None)
    ended: list[str] = []

    def sleeper(name: str) -> None:
        async def sleep() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(name)

        supervisor.start(name, sleep)

    sleeper("one")
    sleeper("two")
    await asyncio.sleep(0)
    await supervisor.stop()

    assert ["one", "two"] == sorted(ended)
