"""Background tasks that end are started again, and their state is visible."""

import asyncio

from service.supervisor import Supervisor


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
