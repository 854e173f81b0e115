"""What is measured, as real processes: the service, the bare HTTP server, a peer."""

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

from bench import processes
from provision.postgres import free_port

ROOT: Final = Path(__file__).parents[1]
HOST: Final = "127.0.0.1"
_START_TIMEOUT_S: Final = 60.0
_STOP_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.05
# A start is over when its processes rest this long.
_REST_S: Final = 0.3
_OK: Final = 200


class ServerError(Exception):
    """A server did not start, or did not stop as it should."""


class Server:
    """A running server and the processes below it."""

    def __init__(
        self, process: subprocess.Popen[bytes], ports: tuple[int, int | None], folder: Path
    ) -> None:
        """*ports* are that of HTTP, and that of the metrics where there are any."""
        self._process = process
        self.port, metrics_port = ports
        self.address = f"{HOST}:{self.port}"
        self.metrics_url = f"http://{HOST}:{metrics_port}/metrics" if metrics_port else None
        self._folder = folder

    @property
    def pid(self) -> int:
        """The process above the others."""
        return self._process.pid

    @property
    def log(self) -> Path:
        """What it wrote."""
        return self._folder / "log"

    def cpu_s(self) -> float:
        """Return the CPU time of all of its processes."""
        return processes.cpu_s(self.pid)

    def peak_rss_bytes(self) -> int:
        """Return the most memory that any of its processes had: of a worker, that is."""
        return max(processes.peak_rss_bytes(pid) for pid in processes.tree(self.pid))

    def rss_bytes(self) -> int:
        """Return the memory of its largest process now."""
        return max(processes.rss_bytes(pid) for pid in processes.tree(self.pid))

    def wait_until_ready(self, path: str) -> None:
        """Return when *path* answers 200 and every process has finished its start."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not (self._answers(path) and self._rests()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServerError(f"{self._process.args!r} did not start: {self._last_words()}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Tell it to stop and wait until it has."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            raise ServerError(
                f"{self._process.args!r} did not stop: {self._last_words()}"
            ) from None

    def _answers(self, path: str) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=_START_TIMEOUT_S)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == _OK
        except OSError:
            return False
        finally:
            connection.close()

    def _rests(self) -> bool:
        """Workers that start beside the one that answered would take the first second's CPU."""
        before = self.cpu_s()
        time.sleep(_REST_S)
        return self.cpu_s() - before < _REST_S / 10

    def _last_words(self) -> str:
        return self.log.read_text(errors="replace")[-2_000:]


def service(
    database_url: str,
    workers: int,
    *,
    request_log: bool = True,
    settings: dict[str, str] | None = None,
) -> contextlib.AbstractContextManager[Server]:
    """Run the service; *settings* are further ones of its own, by their variables' names."""
    port, metrics_port = free_port(), free_port()
    given = {
        "DATABASE_URL": database_url,
        "FOREBAY_PORT": str(port),
        "FOREBAY_METRICS_PORT": str(metrics_port),
        "FOREBAY_WORKERS": str(workers),
        "FOREBAY_REQUEST_LOG": str(request_log).lower(),
        "FOREBAY_LOG_FORMAT": "json",
    }
    command = [sys.executable, "-m", "service"]
    return _running(command, (port, metrics_port), given | (settings or {}), "/health/ready")


def http_floor(workers: int) -> contextlib.AbstractContextManager[Server]:
    """Run the bare HTTP server."""
    port = free_port()
    options = ["--port", str(port), "--workers", str(workers)]
    return _running(
        [sys.executable, "-m", "bench.floors.http_floor", *options], (port, None), {}, "/"
    )


def naive_peer(database_url: str, workers: int) -> contextlib.AbstractContextManager[Server]:
    """Run the naive peer."""
    port = free_port()
    options = ["--port", str(port), "--workers", str(workers)]
    command = [sys.executable, "-m", "bench.peers.naive", *options]
    return _running(command, (port, None), {"DATABASE_URL": database_url}, "/health/ready")


@contextlib.contextmanager
def _running(
    command: list[str], ports: tuple[int, int | None], given: dict[str, str], ready_path: str
) -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="forebay-bench-server-"))
    try:
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=folder,  # where no developer's .env is
                env=_environment() | given,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = Server(process, ports, folder)
        try:
            server.wait_until_ready(ready_path)
            yield server
        finally:
            if process.poll() is None:
                server.stop()
    finally:
        shutil.rmtree(folder)


def _environment() -> dict[str, str]:
    """Nothing of the caller's settings: what is measured is what the benchmark says."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FOREBAY_")}
    kept.pop("DATABASE_URL", None)
    return kept | {"PYTHONPATH": str(ROOT)}
