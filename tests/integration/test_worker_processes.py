"""
The parent process of the workers, with workers that do nothing.

If these tests fail: ended workers are not restarted, or workers outlive their parent.
"""

import os
import signal
import time
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final

import pytest

from service.workers import Workers
from tests.acceptance.running import is_alive

HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Breaking:
    """A server that is told to stop after the first start, and then raises."""

    def __init__(self) -> None:
        self.process: BaseProcess | None = None

    def make(self, _number: int, _ready: Connection) -> BaseProcess:
        os.kill(os.getpid(), signal.SIGTERM)
        self.process = get_context("spawn").Process(target=time.sleep, args=(600,), daemon=True)
        return self.process

    def refuse(self, number: int) -> None:
        """Do nothing."""

    def close(self, number: int) -> None:
        raise RuntimeError(f"place {number} cannot be closed")


class Failing:
    """A server that cannot create a process, and is told to stop at the fourth attempt."""

    def __init__(self) -> None:
        self.tries: list[float] = []

    def make(self, _number: int, _ready: Connection) -> BaseProcess:
        self.tries.append(time.monotonic())
        if len(self.tries) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        raise OSError("no process can be made")

    def refuse(self, number: int) -> None:
        """Do nothing."""

    def close(self, number: int) -> None:
        """Do nothing."""


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Restore the signal handlers after each test."""
    before = {number: signal.getsignal(number) for number in HANDLED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_an_error_of_the_loop_leaves_no_worker_behind() -> None:
    server = Breaking()
    with pytest.raises(RuntimeError, match="place 0 cannot be closed"):
        Workers(1, 20.0, lambda _pid: None).run(server)

    assert server.process is not None
    pid = server.process.pid
    assert pid is not None
    server.process.join(10)
    assert not is_alive(pid)


def test_a_worker_that_cannot_start_is_started_again_after_growing_pauses() -> None:
    server = Failing()
    Workers(1, 20.0, lambda _pid: None).run(server)

    pauses = [b - a for a, b in zip(server.tries, server.tries[1:], strict=False)]
    assert [True] * 3 == [
        pause >= least for pause, least in zip(pauses, (0.2, 0.4, 0.8), strict=True)
    ]
