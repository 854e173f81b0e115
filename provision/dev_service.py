"""The service as a child process of `forebay dev`."""

import asyncio
import contextlib
import http.client
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final

from provision.errors import ProvisionError
from provision.process_lock import lock_file, take_over, try_lock

_READY_PATH: Final = "/health/ready"
_READY_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.05
_PROBE_TIMEOUT_S: Final = 2.0
# Added to the drain timeout: the time to close connections and to end all processes.
_STOP_MARGIN_S: Final = 15.0
_LEFTOVER_TIMEOUT_S: Final = 30.0
_PID_BYTES: Final = 20


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[int]:
    """
    Lock *folder* for this `forebay dev`, and stop the service of a killed one if it still runs.

    Yields the descriptor of the lock file that the service inherits. The file contains the process
    id of the service.

    Raises
    ------
    ProvisionError
        Another `forebay dev` runs on this folder.
    """
    with lock_file(folder / "lock") as own, lock_file(folder / "service.lock") as service:
        if not try_lock(own):
            raise ProvisionError(
                f"another `forebay dev` runs on {folder}: stop it, or set another folder with"
                " --data-dir"
            )
        if not take_over(service, partial(_signal_leftover, service), _LEFTOVER_TIMEOUT_S):
            _kill_group(int(os.pread(service, _PID_BYTES, 0) or 0))
        os.ftruncate(service, 0)
        yield service


def _signal_leftover(lock: int) -> None:
    # The file is empty if `forebay dev` was killed before it wrote the process id.
    if pid := os.pread(lock, _PID_BYTES, 0):
        with contextlib.suppress(ProcessLookupError):  # only workers are left
            os.kill(int(pid), signal.SIGTERM)


def _kill_group(pid: int) -> None:
    """Kill the service and its workers, because workers without a parent would keep the port."""
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


class ServiceProcess:
    """The service, running as a child process."""

    def __init__(self, process: asyncio.subprocess.Process, address: tuple[str, int]) -> None:
        self._process = process
        self._address = address
        self._was_ready = False

    async def is_ready(self, stopping: asyncio.Event) -> bool:
        """
        Wait until the service is ready; return False if *stopping* is set first.

        Raises
        ------
        ProvisionError
            The service has ended, or is not ready after 60 s.
        """
        deadline = asyncio.get_running_loop().time() + _READY_TIMEOUT_S
        while not stopping.is_set():
            if await asyncio.to_thread(_answers_ready, *self._address):
                self._was_ready = True
                return True
            if self._process.returncode is not None:
                raise ProvisionError(f"the service {self._end()} before it was ready")
            if asyncio.get_running_loop().time() > deadline:
                raise ProvisionError(f"the service is not ready after {_READY_TIMEOUT_S:.0f} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), _POLL_S)
        return False

    async def run_until(self, stopping: asyncio.Event) -> None:
        """
        Wait until *stopping* is set.

        Raises
        ------
        ProvisionError
            The service has ended by itself.
        """
        ended = asyncio.create_task(self._process.wait())
        told = asyncio.create_task(stopping.wait())
        await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if not stopping.is_set():
            raise ProvisionError(f"the service {self._end()}")
        ended.cancel()

    async def stop(self, timeout_s: float) -> None:
        """
        Stop the service after it has drained, within *timeout_s*. If it has ended, do nothing.

        Raises
        ------
        ProvisionError
            The service did not stop in time and was killed, or ended with an error.
        """
        if self._process.returncode is not None:
            _kill_group(self._process.pid)
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), timeout_s)
        except TimeoutError:
            raise ProvisionError(
                f"the service did not stop within {timeout_s:.0f} s and was killed"
            ) from None
        finally:
            _kill_group(self._process.pid)
        # A service that is still starting ends by SIGTERM: it has no requests to finish.
        was_starting = not self._was_ready and self._process.returncode == -signal.SIGTERM
        if self._process.returncode != 0 and not was_starting:
            raise ProvisionError(f"the service {self._end()} while it was stopping")

    def _end(self) -> str:
        code = self._process.returncode
        if code is not None and code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"


@contextlib.asynccontextmanager
async def service_process(
    environment: Mapping[str, str],
    *,
    address: tuple[str, int],
    drain_timeout_s: float,
    logs_to_stderr: bool,
    lock: int,
) -> AsyncIterator[ServiceProcess]:
    """
    Start the service, and stop it when the block ends.

    The service inherits the descriptor *lock*. If this process is killed, the next `forebay dev`
    finds the service by this lock.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # a folder `service` in the current folder is not the package
        *("-m", "service"),
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=sys.stderr if logs_to_stderr else None,
        # In a session of its own: Ctrl-C reaches only `forebay dev`, which then stops the service.
        start_new_session=True,
        pass_fds=(lock,),
    )
    os.pwrite(lock, str(process.pid).encode(), 0)
    service = ServiceProcess(process, address)
    try:
        yield service
    finally:
        await service.stop(drain_timeout_s + _STOP_MARGIN_S)


def _answers_ready(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=_PROBE_TIMEOUT_S)
    try:
        connection.request("GET", _READY_PATH)
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
