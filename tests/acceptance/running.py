"""The service as a child process: its ports, log, workers and exit code."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
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
    """Call *condition* until its result is true, and return it; *promise* names it in the error."""
    deadline = time.monotonic() + timeout_s
    while True:
        if answer := await condition():
            return answer
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {promise}"
        await asyncio.sleep(_POLL_S)


class Service:
    """`python -m service` as a child in its own session: `kill` ends all its processes."""

    def __init__(
        self, database_url: str, folder: Path, root: Path = ROOT, /, **settings: str
    ) -> None:
        """
        *settings* are the service's own, in lower case and without the prefix.

        *root* is the folder that `service` is imported from.
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
        """Start the service, and return when every worker serves."""
        started_before = len(self._started_pids())
        self.spawn()

        async def has_started() -> bool:
            assert self.is_running(), f"the service ended: {self.complaints}{self.log}"
            return len(self._started_pids()) - started_before >= self.workers

        await until(has_started, START_TIMEOUT_S, "every worker has started")
        await until(self.is_ready, START_TIMEOUT_S, "/health/ready answers 200")

    def spawn(self) -> None:
        """Start the service without waiting."""
        with self._log.open("ab") as log:
            self._spawn(log)

    def _spawn(self, stdout: IO[bytes] | int) -> None:
        with self._complaints.open("ab") as complaints:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service"],
                cwd=self.folder,  # so that a developer's .env is not read
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
        """Process id of the parent of the workers."""
        assert self._process is not None
        return self._process.pid

    @property
    def workers(self) -> int:
        """How many workers are configured."""
        return int(self._given["workers"])

    @property
    def log(self) -> str:
        """Its stdout so far."""
        return self._log.read_text(encoding="utf-8")

    @property
    def complaints(self) -> str:
        """Its stderr so far."""
        return self._complaints.read_text(encoding="utf-8")

    def log_lines(self, event: str) -> list[LogLine]:
        """Return the log lines of *event*; every line of the log must be a JSON object."""
        whole = self.log.rpartition("\n")[0]
        lines = [msgspec.json.decode(line, type=LogLine) for line in whole.splitlines()]
        return [line for line in lines if line["event"] == event]

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers that run."""
        return [pid for pid in self._started_pids() if is_alive(pid)]

    def worker_of(self, *, client_port: int) -> int:
        """Return the process id of the worker that has accepted a connection (Linux only)."""
        socket = f"socket:[{_inode(self.port, client_port)}]"
        # Not by the log, which some tests damage.
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        (pid,) = (pid for pid in map(int, children) if socket in _descriptors(pid))
        return pid

    async def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Wait for the exit of the service, and return the exit code."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, timeout_s)

    async def stop(self) -> int:
        """Stop it with SIGTERM, and return the exit code."""
        self.terminate()
        return await self.wait()

    async def complaint(self) -> str:
        """Start the service, which must refuse to start with one line; return the line."""
        self.spawn()
        assert await self.wait() == 1
        (line,) = self.complaints.splitlines()
        assert line.startswith("forebay: ")
        assert self.log == ""
        return line

    def terminate(self) -> None:
        self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill all running processes of the service."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def is_running(self) -> bool:
        """Whether the parent of the workers runs."""
        return self._process is not None and self._process.poll() is None

    async def until_replaced(
        self, gone: Iterable[int] = (), timeout_s: float = START_TIMEOUT_S
    ) -> list[int]:
        """Wait until every worker of *gone* is replaced; return the process ids of all workers."""

        async def new_pids() -> list[int]:
            pids = self.worker_pids
            return pids if len(pids) == self.workers and not set(pids) & set(gone) else []

        return await until(new_pids, timeout_s, "every worker runs, and is new")

    async def is_refused(self) -> bool:
        """Whether no process accepts new connections."""
        try:
            _, writer = await asyncio.open_connection(HOST, self.port)
        except ConnectionError:  # or reset, if the socket is being closed
            return True
        writer.close()
        return False

    def _started_pids(self) -> list[int]:
        if not self._log.exists():
            return []
        return [line["pid"] for line in self.log_lines("worker_started")]


def is_alive(pid: int) -> bool:
    """Whether a process runs and is not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not _is_zombie(pid)


async def until_ended(pids: Iterable[int], timeout_s: float) -> None:
    """Wait until none of the processes runs."""

    async def have_ended() -> bool:
        return not any(is_alive(pid) for pid in pids)

    await until(have_ended, timeout_s, "the processes have ended")


def _inode(local_port: int, remote_port: int) -> str:
    """Return the inode of the server's socket of a connection over IPv4."""
    ends = (f":{local_port:04X}", f":{remote_port:04X}")
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, *rest = line.split()
        if (local[-5:], remote[-5:]) == ends:
            return rest[6]
    raise LookupError(f"no connection from port {remote_port} to port {local_port}")


def _descriptors(pid: int) -> set[str]:
    """Return the targets of the open file descriptors of a process."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(entry.readlink()))
    return found


def _is_zombie(pid: int) -> bool:
    """Whether the process has ended and was not reaped, as can happen in a container."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # not Linux, or the process has just ended
        return False
    return state == "Z"
