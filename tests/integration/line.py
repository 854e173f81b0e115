"""A proxy between client and server that can cut connections, also in place of an answer."""

import asyncio
from typing import Final
from urllib.parse import urlsplit, urlunsplit

_CHUNK: Final = 65_536
# CancelRequest, which a client sends over another connection to cancel a statement.
_CANCEL: Final = b"\x00\x00\x00\x10\x04\xd2\x16\x2e"


class Line:
    """Forwards bytes both ways. `cut_at` and `half_cut_at` cut once, in place of an answer."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._target = (parts.hostname, parts.port or 5432)
        self._parts = parts
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = 0
        self._is_shut = True
        self._cut_at: bytes | None = None
        self._is_half_cut = False
        self._half_open: set[asyncio.StreamWriter] = set()
        self.cancels = 0

    @property
    def url(self) -> str:
        """The URL of the database through this proxy."""
        credentials = self._parts.netloc.rpartition("@")[0]
        host = f"{credentials}@127.0.0.1:{self._port}" if credentials else f"127.0.0.1:{self._port}"
        return urlunsplit(self._parts._replace(netloc=host))

    async def open(self) -> None:
        """Start to forward."""
        self._is_shut = False
        if self._server is None:
            self._server = await asyncio.start_server(self._join, "127.0.0.1")
            self._port = self._server.sockets[0].getsockname()[1]

    def cut_at(self, answer: bytes) -> None:
        """Cut when the server sends *answer*, which is not forwarded."""
        self._cut_at = answer
        self._is_half_cut = False

    def half_cut_at(self, answer: bytes) -> None:
        """Like `cut_at`, but the connection to the server stays open."""
        self._cut_at = answer
        self._is_half_cut = True

    def cut(self) -> None:
        """Abort every connection."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def shut(self) -> None:
        """Abort every connection, and each new one immediately."""
        self._is_shut = True
        self.cut()

    async def close(self) -> None:
        """Abort every connection and stop listening."""
        self.shut()
        if self._server is not None:
            self._server.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._target)
        self._writers |= {writer, back}
        if self._is_shut:
            self.cut()
            return
        for one in (self._forward(reader, back), self._forward_back(there, writer, back)):
            task = asyncio.create_task(one)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(_CHUNK):
                self.cancels += chunk.startswith(_CANCEL)
                writer.write(chunk)
        except OSError:
            pass
        if writer not in self._half_open:
            writer.close()

    async def _forward_back(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        try:
            while chunk := await reader.read(_CHUNK):
                if self._cut_at is not None and self._cut_at in chunk:
                    self._cut_at = None
                    if self._is_half_cut:
                        self._half_open.add(back)
                        writer.transport.abort()
                    else:
                        self.cut()
                    return
                writer.write(chunk)
        except OSError:
            pass
        writer.close()
