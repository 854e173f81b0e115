"""A proxy that parses the messages of PostgreSQL's protocol, and fails at a given one."""

import asyncio
import contextlib
import enum
import socket
import struct
from contextlib import AbstractAsyncContextManager
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from tests.acceptance.proxy import listening
from tests.acceptance.running import HOST

_CHUNK_BYTES: Final = 65_536
_HEAD_BYTES: Final = 5
_LINGER_NOT: Final = struct.pack("ii", 1, 0)
_SLOW_S: Final = 1.0
_COPY_DATA: Final = b"d"
_TYPELESS: Final = (
    80_877_103,
    80_877_104,
)  # SSLRequest and GSSENCRequest, which are answered by one byte


class Failure(enum.Enum):
    """How a connection fails at the given message."""

    CLOSE = "closed before the message"
    RESET = "reset before the message"
    INSIDE = "reset inside the message"
    SILENCE = "silent from the message on"
    SLOW = "one byte a second from the message on"


class Way(enum.Enum):
    """A direction of a connection. Messages are ordered only within one direction."""

    UP = "from the service"
    DOWN = "from the server"


class Plan:
    """Fail at message number *at* in the direction *way*, counted from the first with *words*."""

    def __init__(self, words: bytes, way: Way, at: int, failure: Failure) -> None:
        self.failure = failure
        self.seen: dict[Way, list[str]] = {Way.UP: [], Way.DOWN: []}
        self.has_failed = False
        self._words, self._way, self._at = words, way, at

    @property
    def has_begun(self) -> bool:
        return bool(self.seen[Way.UP])

    def is_due(self, frame: bytes, way: Way) -> bool:
        """Count *frame*, and return whether to fail at it."""
        if self.has_failed:
            return False
        if not self.has_begun and not (way is Way.UP and self._words in frame):
            return False
        self.seen[way].append(frame[:1].decode("latin-1"))
        self.has_failed = way is self._way and len(self.seen[way]) > self._at
        return self.has_failed


class FrameProxy:
    """Forwards whole messages until the plan is due. A plan applies to one connection."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._tasks: set[asyncio.Task[None]] = set()
        self.plan: Plan | None = None
        self.owner: object | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """The URL of the server through this proxy."""
        user = self._parts.netloc.rpartition("@")[0]
        return urlunsplit(self._parts._replace(netloc=f"{user}@{HOST}:{self.port}"))

    def fail(self, plan: Plan) -> None:
        """Make one connection fail by *plan*."""
        self.owner, self.plan = None, plan

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        there, back = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await _Connection(self, (reader, writer), (there, back)).run()
        finally:
            for one in (writer, back):
                one.transport.abort()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Connection:
    def __init__(
        self,
        proxy: FrameProxy,
        service: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._proxy = proxy
        self._service, self._server = service, server
        self._is_slow = False
        self._is_silent = False

    async def run(self) -> None:
        try:
            if not await self._begin():
                return
            ways = [
                asyncio.create_task(self._carry(self._service[0], self._server[1], Way.UP)),
                asyncio.create_task(self._carry(self._server[0], self._service[1], Way.DOWN)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError):
            return

    async def _begin(self) -> bool:
        """Forward the first messages, which have no type; False when the connection ends there."""
        while True:
            head = await self._service[0].readexactly(8)
            length, code = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")
            self._server[1].write(head + await self._service[0].readexactly(length - 8))
            if code not in _TYPELESS:
                return code >> 16 == 3
            self._service[1].write(await self._server[0].readexactly(1))

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(_HEAD_BYTES)
                length = int.from_bytes(head[1:], "big")
                frame = head + await reader.readexactly(length + 1 - _HEAD_BYTES)
                if self._is_due(frame, way) and not self._fail(frame, writer):
                    return
                await self._write(frame, writer)

    def _is_due(self, frame: bytes, way: Way) -> bool:
        plan = self._proxy.plan
        if plan is None or self._proxy.owner not in (None, self):
            return False
        is_due = plan.is_due(frame, way)
        if plan.has_begun:
            self._proxy.owner = self
        return is_due

    def _fail(self, frame: bytes, writer: asyncio.StreamWriter) -> bool:
        """Fail as planned; return whether the connection stays open."""
        assert self._proxy.plan is not None
        failure = self._proxy.plan.failure
        self._is_silent = failure is Failure.SILENCE
        self._is_slow = failure is Failure.SLOW
        if failure is Failure.INSIDE:
            writer.write(frame[: max(len(frame) // 2, 1)])
        if failure in {Failure.INSIDE, Failure.RESET}:
            for one in (self._service[1], self._server[1]):
                raw = one.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        return self._is_silent or self._is_slow

    async def _write(self, frame: bytes, writer: asyncio.StreamWriter) -> None:
        if self._is_silent:
            await asyncio.Event().wait()
        if not self._is_slow:
            writer.write(frame)
            return
        for byte in frame:
            writer.write(bytes([byte]))
            await asyncio.sleep(_SLOW_S)


def framed(url: str) -> AbstractAsyncContextManager[FrameProxy]:
    """Run a proxy to the server of *url* during the block."""
    return listening(FrameProxy(url))
