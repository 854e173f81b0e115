"""A TCP proxy to PostgreSQL whose connections a test can cut or silence at a chosen moment."""

import asyncio
import contextlib
import enum
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar
from urllib.parse import urlsplit, urlunsplit

from tests.acceptance.running import HOST

_CHUNK_BYTES = 65_536


class Line(enum.Enum):
    """How the proxy treats data."""

    OPEN = "open"
    CUT = "cut"
    """It resets every connection, also new ones."""
    SILENT = "silent"
    """It forwards nothing, and closes nothing."""


class CutAt(enum.Enum):
    """When to cut a connection over which the service has sent the given words."""

    BEFORE_SERVER = "before the server receives them"
    BEFORE_ANSWER = "after the server has answered, before the service receives the answer"


class Proxy:
    """Forwards connections to the server of a URL. A change takes effect at once."""

    def __init__(self, url: str) -> None:
        self._target = url
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_open = asyncio.Event()
        self._line = Line.OPEN
        self._is_open.set()
        self.port = 0
        self._handlers: set[asyncio.Task[None]] = set()
        self.words = b""
        self.cuts_left = 0
        self.cut_at = CutAt.BEFORE_ANSWER
        self.is_silent_after_cut = False
        self.connections_left: int | None = None

    @property
    def url(self) -> str:
        """The URL of the server through this proxy."""
        return _at(self._target, HOST, self.port)

    def set_line(self, line: Line) -> None:
        self._line = line
        if line is Line.CUT:
            self._reset_all()
        if line is Line.OPEN:
            self._is_open.set()
        else:
            self._is_open.clear()

    def retarget(self, url: str) -> None:
        """Forward new connections to the server of *url*."""
        self._target = url

    def cut(self, words: bytes, count: int, cut_at: CutAt) -> None:
        """Cut the next *count* connections over which the service sends *words*."""
        self.words, self.cuts_left, self.cut_at = words, count, cut_at

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)
        if self.connections_left is not None:
            self.connections_left -= 1
            if self.connections_left < 0:
                self._line = Line.CUT
        if self._line is Line.CUT:
            writer.transport.abort()
            return
        self._writers.add(writer)
        parts = urlsplit(self._target)
        try:
            there, back = await asyncio.open_connection(parts.hostname, parts.port)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(back)
        await _Pair(self, (reader, writer), (there, back)).run()
        self._writers -= {writer, back}

    async def close(self) -> None:
        self.set_line(Line.CUT)
        self._is_open.set()
        await asyncio.gather(*self._handlers)

    async def passable(self) -> None:
        await self._is_open.wait()

    def _reset_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


class _Pair:
    """Both directions of one connection."""

    def __init__(
        self,
        proxy: Proxy,
        service: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._proxy = proxy
        self._service = service
        self._server = server
        self._is_answer_due = False

    async def run(self) -> None:
        await asyncio.gather(self._up(), self._down(), return_exceptions=True)
        self._abort()

    async def _up(self) -> None:
        proxy = self._proxy
        while data := await self._service[0].read(_CHUNK_BYTES):
            await proxy.passable()
            if proxy.cuts_left and proxy.words in data:
                proxy.cuts_left -= 1
                if proxy.is_silent_after_cut:
                    proxy.set_line(Line.SILENT)
                if proxy.cut_at is CutAt.BEFORE_SERVER:
                    break
                self._is_answer_due = True
            self._server[1].write(data)
        self._abort()

    async def _down(self) -> None:
        while data := await self._server[0].read(_CHUNK_BYTES):
            await self._proxy.passable()
            if self._is_answer_due:
                break
            self._service[1].write(data)
        self._abort()

    def _abort(self) -> None:
        self._service[1].transport.abort()
        self._server[1].transport.abort()


class Listener(Protocol):
    """A proxy that gets to know its own port."""

    port: int

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...
    async def close(self) -> None: ...


ListenerT = TypeVar("ListenerT", bound=Listener)


@contextlib.asynccontextmanager
async def listening(proxy: ListenerT) -> AsyncIterator[ListenerT]:
    """Let *proxy* listen on a free port during the block."""
    server = await asyncio.start_server(proxy.accept, HOST, 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()


def proxied(url: str) -> AbstractAsyncContextManager[Proxy]:
    """Run a proxy to the server of *url* during the block."""
    return listening(Proxy(url))


def _at(url: str, host: str, port: int) -> str:
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{user}@{host}:{port}" if user else f"{host}:{port}"))
