"""Clients without a key that hold connections: idle, with half a request, or without reading."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Final

from tests.acceptance.running import HOST

PROBE: Final = b"GET /health/live HTTP/1.1\r\nHost: forebay.test\r\n\r\n"
HALF_A_REQUEST: Final = b"POST /v1/track HTTP/1.1\r\nHost: forebay.test\r\nX-Slow: "
_HALF_A_BODY: Final = (
    b"POST /v1/track HTTP/1.1\r\nHost: forebay.test\r\nContent-Length: 500\r\n\r\n{"
)
_PIPELINED: Final = b"GET /health HTTP/1.1\r\nHost: forebay.test\r\n\r\n"
# Answers that fill the buffers of the kernel, and those of the HTTP server too. The buffers of the
# client are small, as those between distant machines.
_ANSWERS_OF_KERNEL: Final = 100
_ANSWERS_OF_SERVER: Final = 300
_SEGMENT_BYTES: Final = 536
_BUFFER_BYTES: Final = 2_304
# Fewer than wait in the backlog of a listening socket.
_AT_ONCE: Final = 200
_CONNECT_TIMEOUT_S: Final = 30.0


class Strangers:
    """Open connections to a service."""

    def __init__(self, port: int, address: str = HOST) -> None:
        """*address*: of the clients."""
        self._port = port
        self._address = address
        self.sockets: list[socket.socket] = []

    async def idle(self, count: int) -> None:
        """Open connections; each has one answered request."""
        await self._open(count, PROBE, reads=True)

    async def half(self, count: int) -> None:
        """Open connections; each has sent a part of the headers of a request."""
        await self._open(count, HALF_A_REQUEST, reads=False)

    async def slow(self, count: int) -> None:
        """Open connections; each has sent a part of the body of a request."""
        await self._open(count, _HALF_A_BODY, reads=False)

    async def deaf(self, count: int) -> None:
        """Open connections; each has sent many requests, and reads no answer."""
        await self._open(count, _PIPELINED * _ANSWERS_OF_KERNEL, reads=False)

    async def blocking(self, count: int) -> None:
        """Open connections; each reads no answer, so that the HTTP server cannot send more."""
        await self._open(count, _PIPELINED * _ANSWERS_OF_SERVER, reads=False)

    def closed(self) -> int:
        """Return how many connections the service has ended."""
        return sum(_is_closed(one) for one in self.sockets)

    def close(self) -> None:
        for one in self.sockets:
            one.close()

    async def _open(self, count: int, data: bytes, *, reads: bool) -> None:
        for start in range(0, count, _AT_ONCE):
            batch = range(min(_AT_ONCE, count - start))
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                self.sockets += await asyncio.gather(
                    *(self._connect(data, reads=reads) for _ in batch)
                )

    async def _connect(self, data: bytes, *, reads: bool) -> socket.socket:
        loop = asyncio.get_running_loop()
        one = socket.socket()
        one.setblocking(False)
        if data.startswith(_PIPELINED):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT_BYTES)
        one.bind((self._address, 0))
        await loop.sock_connect(one, (HOST, self._port))
        with contextlib.suppress(BlockingIOError, ConnectionError):
            one.send(data)
        if reads:
            with contextlib.suppress(ConnectionError):
                await loop.sock_recv(one, 4096)
        return one


@contextlib.asynccontextmanager
async def strangers(port: int, address: str = HOST) -> AsyncIterator[Strangers]:
    """Lend strangers whose connections are closed afterwards."""
    crowd = Strangers(port, address)
    try:
        yield crowd
    finally:
        crowd.close()


def _is_closed(one: socket.socket) -> bool:
    """Whether the other side has closed or reset a connection, whose data nobody reads."""
    info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    # TCP_ESTABLISHED of Linux. After the other side's end the state is another one.
    return info[0] != 1
