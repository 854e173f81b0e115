"""
A program that sends with a client, as a child process.

It reads one line of JSON with `url`, `key`, `client` and `calls`, creates the client and says
`ready`. After the line `go` it makes the calls; a browser stays open until the line `stop`. Each
line of its stdout is a JSON object with `said`; the last one is `closed`.
"""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.acceptance.running import until
from tests.sdks.calls import Call
from tests.sdks.clients import SdkClient, Side
from tests.sdks.installs import command

_LINE_BYTES_MAX: Final = 4 * 1024 * 1024
_READY_TIMEOUT_S: Final = 60
_STDERR_CHARACTERS: Final = 600

Said = dict[str, Any]


class Driver:
    """A running driver. `said` is the list of its printed messages."""

    def __init__(self, process: asyncio.subprocess.Process, stderr: Path, key: str) -> None:
        self._process = process
        self._stderr = stderr
        self._key = key
        self._listening = asyncio.create_task(self._listen())
        self.said: list[Said] = []

    def has_said(self, what: str) -> bool:
        return any(line["said"] == what for line in self.said)

    async def see(self, has_come: Callable[[], bool], timeout_s: float, promise: str) -> None:
        """Wait until *has_come* is true; fail if the driver ends before."""

        async def has_said() -> bool:
            if has_come():
                return True
            assert not self._listening.done(), f"the driver ended: {self.told}"
            return False

        await until(has_said, timeout_s, promise)

    async def ready(self) -> None:
        """Wait until the client exists and, in a browser, has its settings."""
        await self.see(lambda: self.has_said("ready"), _READY_TIMEOUT_S, "the client is ready")

    def write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    async def exit_code(self, timeout_s: float) -> int:
        """Wait for its exit."""
        async with asyncio.timeout(timeout_s):
            await asyncio.shield(self._listening)
            return await self._process.wait()

    @property
    def told(self) -> str:
        """What its user would see: the first error that the client reports, or its stderr."""
        errors = [str(line["reason"]) for line in self.said if line["said"] == "error"]
        text = errors[0] if errors else self._stderr.read_text(errors="replace").strip()
        return text.replace(self._key, "<key>")[:_STDERR_CHARACTERS]

    async def end(self) -> None:
        """End the driver and, by its own handler, the browser that it has started."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(10):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
        await self._listening

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.said.append(msgspec.json.decode(line, type=Said))


@contextlib.asynccontextmanager
async def driver(
    sdk: SdkClient,
    url: str,
    key: str,
    calls: list[Call],
    folder: Path,
    *,
    program: str | None = None,
) -> AsyncIterator[Driver]:
    """
    Start the driver of *sdk* and wait until it is ready; its stderr goes into *folder*.

    *program* replaces the program of the page of a browser.
    """
    stderr = folder / "driver.stderr"
    arguments, working_folder = command(sdk)
    with stderr.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            cwd=working_folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=_LINE_BYTES_MAX,
        )
    running = Driver(process, stderr, key)
    try:
        given: dict[str, Any] = {"url": url, "key": key, "client": sdk.driver, "calls": calls}
        given |= {} if program is None else {"program": program}
        running.write(json.dumps(given))
        await running.ready()
        yield running
    finally:
        await running.end()


async def finished(running: Driver, sdk: SdkClient, timeout_s: float) -> int:
    """Wait until a driver of the server side has ended by itself; end a browser."""
    if sdk.side is Side.BROWSER:
        running.write("stop")
    return await running.exit_code(timeout_s)
