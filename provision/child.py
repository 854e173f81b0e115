"""The service as a child process of `forebay dev`: started, awaited, stopped in order."""

import asyncio
import contextlib
import http.client
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Final

from provision.errors import ProvisionError
from provision.leftovers import name_service

_READY_PATH: Final = "/health/ready"
_READY_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.05
_PROBE_TIMEOUT_S: Final = 2.0
# Beyond its own drain: connections close, workers and their parent end.
_STOP_MARGIN_S: Final = 15.0


class Service:
    """The running service."""

    def __init__(self, process: asyncio.subprocess.Process, address: tuple[str, int]) -> None:
        self._process = process
        self._address = address
        self._was_ready = False

    async def is_ready(self, stopping: asyncio.Event) -> bool:
        """
        Wait until it takes traffic; False when we were told to stop meanwhile.

        Raises
        ------
        ProvisionError
            It has ended, or is not ready in time.
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
        Return when we are told to stop.

        Raises
        ------
        ProvisionError
            It has ended by itself.
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
        Let it finish what it has accepted, then end it. Nothing happens when it has ended.

        Raises
        ------
        ProvisionError
            It did not end in order.
        """
        if self._process.returncode is not None:
            self._end_leftovers()
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), timeout_s)
        except TimeoutError:
            raise ProvisionError(
                f"the service did not stop within {timeout_s:.0f} s and was killed"
            ) from None
        finally:
            self._end_leftovers()
        # Told to stop before it could listen to that, it has nothing to finish either.
        is_unborn = not self._was_ready and self._process.returncode == -signal.SIGTERM
        if self._process.returncode != 0 and not is_unborn:
            raise ProvisionError(f"the service {self._end()} while it was stopping")

    def _end_leftovers(self) -> None:
        """End workers that have lost their parent: they would keep the port."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

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
    is_stdout_ours: bool,
    lock: int,
) -> AsyncIterator[Service]:
    """
    Start the service, and stop it when the block ends. Its log goes where ours goes.

    The service inherits *lock*; the next `forebay dev` uses it to find a service left running.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # a folder `service` where the user happens to stand is not ours
        *("-m", "service"),
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=sys.stderr if is_stdout_ours else None,
        # Ctrl-C reaches only us: we stop it, once, and it drains undisturbed.
        start_new_session=True,
        pass_fds=(lock,),
    )
    name_service(lock, process.pid)
    service = Service(process, address)
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
