"""The service as a real process, seen from outside: its ports, its log, its workers, its end."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import httpx
import msgspec

from provision.postgres import free_port

ROOT: Final = Path(__file__).parents[2]
HOST: Final = "127.0.0.1"
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.02
_OK: Final = 200

LogLine = dict[str, Any]
T = TypeVar("T")


async def until(condition: Callable[[], Awaitable[T]], timeout_s: float, promise: str) -> T:
    """Ask until the answer is true, and return it; *promise* is said when time is up."""
    deadline = time.monotonic() + timeout_s
    while True:
        if answer := await condition():
            return answer
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {promise}"
        await asyncio.sleep(_POLL_S)


class Service:
    """`python -m service` as a child, in a session of its own so that all of it can be ended."""

    def __init__(
        self, database_url: str, folder: Path, root: Path = ROOT, /, **settings: str
    ) -> None:
        """
        *settings* are the service's own, in lower case and without the prefix.

        *root*: where `service` is imported from, when it is not the one under development.
        """
        self.port, self.metrics_port = free_port(), free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.metrics_url = f"http://{HOST}:{self.metrics_port}/metrics"
        self.folder = folder
        self._log = folder / f"service-{self.port}.log"
        self._complaints = folder / f"service-{self.port}.stderr"
        self._process: subprocess.Popen[bytes] | None = None
        given = {"workers": "2", "log_format": "json"} | settings
        given |= {"port": str(self.port), "metrics_port": str(self.metrics_port)}
        self._given = given
        self._environment = os.environ | {"PYTHONPATH": str(root), "DATABASE_URL": database_url}
        self._environment |= {f"FOREBAY_{name.upper()}": value for name, value in given.items()}

    async def start(self) -> None:
        """Start it, and return when every worker serves."""
        started_before = len(self._started_pids())
        self.spawn()

        async def has_started() -> bool:
            assert self.is_running(), f"the service ended: {self.complaints}{self.log}"
            return len(self._started_pids()) - started_before >= self.workers

        await until(has_started, START_TIMEOUT_S, "every worker has started")
        await until(self.is_ready, START_TIMEOUT_S, "/health/ready answers 200")

    def spawn(self) -> None:
        """Start it without waiting for anything."""
        with self._log.open("ab") as log:
            self._spawn(log)

    def _spawn(self, stdout: IO[bytes] | int) -> None:
        with self._complaints.open("ab") as complaints:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service"],
                cwd=self.folder,  # where no developer's .env is
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=complaints,
                start_new_session=True,
            )

    async def is_ready(self) -> bool:
        try:
            async with httpx.AsyncClient(verify=False) as client:
                return (await client.get(f"{self.url}/health/ready")).status_code == _OK
        except httpx.TransportError:
            return False

    @property
    def pid(self) -> int:
        """The process that watches over the workers."""
        assert self._process is not None
        return self._process.pid

    @property
    def workers(self) -> int:
        """How many there are to be."""
        return int(self._given["workers"])

    @property
    def log(self) -> str:
        """All that it ever wrote to stdout."""
        return self._log.read_text(encoding="utf-8")

    @property
    def complaints(self) -> str:
        """All that it ever wrote to stderr."""
        return self._complaints.read_text(encoding="utf-8")

    def log_lines(self, event: str) -> list[LogLine]:
        """Return the lines called *event*; every line has to be a JSON object."""
        whole = self.log.rpartition("\n")[0]
        lines = [msgspec.json.decode(line, type=LogLine) for line in whole.splitlines()]
        return [line for line in lines if line["event"] == event]

    @property
    def worker_pids(self) -> list[int]:
        """The workers that live."""
        return [pid for pid in self._started_pids() if is_alive(pid)]

    async def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Wait for its own end, and return the exit code."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, timeout_s)

    async def stop(self) -> int:
        """Tell it to stop, as an operator does, and return the exit code."""
        self.terminate()
        return await self.wait()

    def terminate(self) -> None:
        self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End all of it, hard. Nothing happens when it has ended."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def is_running(self) -> bool:
        """Whether the process that watches over the workers lives."""
        return self._process is not None and self._process.poll() is None

    def _started_pids(self) -> list[int]:
        if not self._log.exists():
            return []
        return [line["pid"] for line in self.log_lines("worker_started")]


def is_alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Whether it has ended, and nobody has asked how: in a container perhaps nobody ever does."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # not on Linux, or gone just now
        return False
    return state == "Z"
