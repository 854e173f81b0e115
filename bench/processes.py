"""Server processes that are measured: the service, the bare HTTP server, the naive peer."""

import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from provision.postgres import free_port

ROOT: Final = Path(__file__).parents[1]
HOST: Final = "127.0.0.1"
_TIMEOUT_S: Final = 60.0  # to start, and to stop
_POLL_S: Final = 0.05
_IDLE_CHECK_S: Final = 0.3
_OK: Final = 200
_MODULES: Final = {"http_floor": "bench.http_floor", "naive": "bench.peers.naive"}
_PROC: Final = Path("/proc")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat after the name, counted from 0.
_PARENT: Final = 1
_CPU: Final = slice(11, 15)  # utime, stime, cutime, cstime
# Fields of the first line of /proc/stat: idle and iowait.
_IDLE: Final = (3, 4)
_COUNTED: Final = 8  # the fields after these are part of the first two


class ServerError(Exception):
    """A server did not start, or did not stop in time."""


class ServerProcess:
    """A running server with its child processes."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", port: int, metrics_port: int | None, log: Path
    ) -> None:
        self.pid = process.pid
        self.address = f"{HOST}:{port}"
        self.metrics_url = f"http://{HOST}:{metrics_port}/metrics" if metrics_port else None
        self.log = log
        self._process = process

    def cpu_s(self) -> float:
        """Return the CPU time of all processes of the server, in seconds."""
        return cpu_s(self.pid)

    def rss_bytes(self, field: str = "VmRSS:") -> int:
        """Return the memory of its largest process; *field* "VmHWM:" gives the peak."""
        return max(rss_bytes(pid, field) for pid in process_tree(self.pid))

    def wait_until_ready(self) -> None:
        """Return when the server is ready and all processes have finished their start."""
        deadline = time.monotonic() + _TIMEOUT_S
        while not (self._is_ready() and self._is_idle()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServerError(f"{self._process.args!r} did not start: {self._end_of_log()}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Stop the server and wait for its end."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            raise ServerError(
                f"{self._process.args!r} did not stop: {self._end_of_log()}"
            ) from None

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(self.address, timeout=_TIMEOUT_S)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == _OK
        except OSError:
            return False
        finally:
            connection.close()

    def _is_idle(self) -> bool:
        """Return whether no process is still starting, which would count in the first sample."""
        before = self.cpu_s()
        time.sleep(_IDLE_CHECK_S)
        return self.cpu_s() - before < _IDLE_CHECK_S / 10

    def _end_of_log(self) -> str:
        return self.log.read_text(errors="replace")[-2_000:]


@contextlib.contextmanager
def running(
    side: str,
    workers: int,
    database_url: str = "",
    *,
    request_log: bool = True,
    settings: dict[str, str] | None = None,
    tree: Path = ROOT,
) -> Iterator[ServerProcess]:
    """
    Run the server of a side: "service", "naive" (the peer) or "http_floor" (the bare HTTP server).

    *settings* are environment variables of the service, such as FOREBAY_FLUSHES_MAX. *tree*: the
    checkout whose service runs, after its `make setup`.
    """
    port, metrics_port = free_port(), None
    environment = {"DATABASE_URL": database_url}
    if side == "service":
        metrics_port = free_port()
        environment |= {
            "FOREBAY_PORT": str(port),
            "FOREBAY_METRICS_PORT": str(metrics_port),
            "FOREBAY_WORKERS": str(workers),
            "FOREBAY_REQUEST_LOG": str(request_log).lower(),
            "FOREBAY_LOG_FORMAT": "json",
        } | (settings or {})
        command = ["-m", "service"]
    else:
        command = ["-m", _MODULES[side], str(port), str(workers)]
    # Without the caller's settings and without an `.env` of the current folder.
    inherited = {name: value for name, value in os.environ.items() if name[:8] != "FOREBAY_"}
    folder = Path(tempfile.mkdtemp(prefix="forebay-bench-server-"))
    try:
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable if tree == ROOT else str(tree / ".venv/bin/python"), *command],
                cwd=folder,
                env=inherited | {"PYTHONPATH": str(tree)} | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = ServerProcess(process, port, metrics_port, folder / "log")
        try:
            server.wait_until_ready()
            yield server
        finally:
            if process.poll() is None:
                server.stop()
    finally:
        shutil.rmtree(folder)


def process_tree(pid: int) -> list[int]:
    """Return *pid* and its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[_PARENT]), []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def cpu_s(pid: int) -> float:
    """Return the CPU time of *pid* and its descendants, ended ones included, in seconds."""
    ticks = (int(field) for member in process_tree(pid) for field in _stat(member)[_CPU])
    return sum(ticks) / _TICKS_PER_S


def machine_cpu_s() -> float:
    """Return the CPU time of the machine including stolen time, in seconds."""
    fields = (_PROC / "stat").read_text().splitlines()[0].split()[1:]
    busy = (int(ticks) for at, ticks in enumerate(fields[:_COUNTED]) if at not in _IDLE)
    return sum(busy) / _TICKS_PER_S


def rss_bytes(pid: int, field: str = "VmRSS:") -> int:
    """Return the memory of one process; *field* "VmHWM:" gives the peak; 0 when it has ended."""
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)


def _stat(pid: int) -> list[str]:
    """Return the fields after the name, which may contain spaces; nothing when it has ended."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()
