"""A Node application that sends with Segment's SDK, run as a child process."""

import asyncio
import contextlib
import functools
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from tests.acceptance.running import until

FOLDER: Final = Path(__file__).parent
_MANIFEST: Final = FOLDER / "package.json"
SDK: Final = "@segment/analytics-node"
# Set on machines that must have Node: there, missing programs are a failure, not a skip.
REQUIRED: Final = "TESTS_REQUIRE_NODE"
_INSTALL: Final = ("install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
_INSTALL_TIMEOUT_S: Final = 45
_LINE_BYTES_MAX: Final = 4 * 1024 * 1024

Call = dict[str, Any]
Said = dict[str, Any]


def sdk_version() -> str:
    """Return the required version of the SDK."""
    return _wanted()[SDK]


class Application:
    """A running application. `said` is the list of its printed messages."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._listening = asyncio.create_task(self._listen())
        self.said: list[Said] = []

    def all_said(self, what: str) -> list[Said]:
        return [line for line in self.said if line["said"] == what]

    @property
    def statuses(self) -> list[int]:
        """Status of every answer that the SDK received."""
        return [line["status"] for line in self.all_said("response")]

    @property
    def in_flight_max(self) -> int:
        """The largest number of concurrent requests."""
        steps = {"request": 1, "response": -1}
        depth = deepest = 0
        for line in self.said:
            depth += steps.get(line["said"], 0)
            deepest = max(deepest, depth)
        return deepest

    async def see(self, has_come: Callable[[], bool], promise: str) -> None:
        """Wait until *has_come*, which reads the printed messages, is true."""

        async def has_said() -> bool:
            return has_come()

        await until(has_said, 20, promise)

    async def ended(self, timeout_s: float = 50) -> None:
        """Wait for its exit, which must be without an error."""
        async with asyncio.timeout(timeout_s):
            await asyncio.shield(self._listening)
            assert await self._process.wait() == 0
        assert self.said[-1] == {"said": "closed"}

    async def delivered(self) -> list[Said]:
        """Wait for its exit; return the events, which have no error, in the order of the calls."""
        await self.ended()
        assert self.all_said("error") == []
        delivered = sorted(self.all_said("delivered"), key=lambda line: int(line["call"]))
        assert [None] * len(delivered) == [line["error"] for line in delivered]
        return [line["event"] for line in delivered]

    async def end(self) -> None:
        """Kill the application if it runs."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._listening

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.said.append(msgspec.json.decode(line, type=Said))


@contextlib.asynccontextmanager
async def application(
    url: str, key: str, calls: list[Call], **options: Any
) -> AsyncIterator[Application]:
    """Run an application that makes *calls*; *options* replace defaults of the SDK."""
    node = await asyncio.to_thread(_node)
    process = await asyncio.create_subprocess_exec(
        node,
        "send.mjs",
        cwd=FOLDER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES_MAX,
    )
    running = Application(process)
    try:
        assert process.stdin is not None
        given = {"url": url, "key": key, "calls": calls, "options": options}
        process.stdin.write(json.dumps(given).encode())
        process.stdin.write_eof()
        yield running
    finally:
        await running.end()


def _node() -> str:
    """Return the path of Node; skip or fail the test if Node, npm or the SDK is missing."""
    node = shutil.which("node") or ""
    missing = _missing()
    if missing is not None:
        if REQUIRED in os.environ:
            pytest.fail(missing)
        pytest.skip(f"the SDK for Node cannot be had: {missing}")
    return node


@functools.cache
def _missing() -> str | None:
    """Install the SDK if it is missing; return the reason of a failure. Tried only once."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            return f"{SDK} needs {program}, which is not on this machine"
    if _installed() == _wanted():
        return None
    command = ["npm", *_INSTALL, "--silent"]
    try:
        done = subprocess.run(
            command, cwd=FOLDER, capture_output=True, timeout=_INSTALL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"npm did not install {SDK} within {_INSTALL_TIMEOUT_S} s"
    if done.returncode != 0 or _installed() != _wanted():
        return f"npm could not install {SDK}: {done.stderr.decode(errors='replace').strip()}"
    return None


def _wanted() -> dict[str, str]:
    """Return the required versions, by package."""
    dependencies: dict[str, str] = json.loads(_MANIFEST.read_bytes())["dependencies"]
    return dependencies


def _installed() -> dict[str, str]:
    """Return the installed versions from npm's list, which npm writes last."""
    listed = FOLDER / "node_modules" / ".package-lock.json"
    if not listed.exists():
        return {}
    packages = json.loads(listed.read_bytes())["packages"]
    return {path.removeprefix("node_modules/"): its["version"] for path, its in packages.items()}
