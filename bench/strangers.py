"""Clients without a key that hold connections: idle, with half a request, or without reading."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Final

from bench.processes import HOST

_PROBE: Final = b"GET /health/live HTTP/1.1\r\nHost: forebay.test\r\n\r\n"
_PIPELINED: Final = b"GET /health HTTP/1.1\r\nHost: forebay.test\r\n\r\n"
_SENT: Final = {
    "idle": _PROBE,
    "headers": b"POST /v1/track HTTP/1.1\r\nHost: forebay.test\r\nX-Slow: ",
    "body": b"POST /v1/track HTTP/1.1\r\nHost: forebay.test\r\nContent-Length: 500\r\n\r\n{",
    # Answers that fill the buffers of the kernel, and those of the HTTP server too.
    "unread": _PIPELINED * 100,
    "blocked": _PIPELINED * 300,
}
# The buffers of clients that do not read are small, as those between distant machines.
_SEGMENT_BYTES: Final = 536
_BUFFER_BYTES: Final = 2_304
# Fewer than wait in the backlog of a listening socket.
_AT_ONCE: Final = 200
_CONNECT_TIMEOUT_S: Final = 30.0
_ESTABLISHED: Final = 1


class Strangers:
    """
    Open connections to a service.

    - *idle*: with one answered request
    - *headers*: with a part of the headers of a request
    - *body*: with a part of the body of a request
    - *unread*: with answers that the client does not read
    - *blocked*: with so many of them that the HTTP server cannot send more
    """

    def __init__(self, port: int, address: str = HOST) -> None:
        """*address*: of the clients."""
        self._port = port
        self._address = address
        self.sockets: list[socket.socket] = []

    async def open(self, kind: str, count: int) -> None:
        """Open *count* connections of a kind."""
        for start in range(0, count, _AT_ONCE):
            batch = range(min(_AT_ONCE, count - start))
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                self.sockets += await asyncio.gather(*(self._connect(kind) for _ in batch))

    def closed(self) -> int:
        """Return how many connections the service has ended."""
        return sum(_is_closed(one) for one in self.sockets)

    def close(self) -> None:
        """Close all of them."""
        for one in self.sockets:
            one.close()

    async def _connect(self, kind: str) -> socket.socket:
        one = socket.socket()
        one.setblocking(False)
        data = _SENT[kind]
        if data.startswith(_PIPELINED):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT_BYTES)
        one.bind((self._address, 0))
        await asyncio.get_running_loop().sock_connect(one, (HOST, self._port))
        with contextlib.suppress(BlockingIOError, ConnectionError):
            one.send(data)
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
    state = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state != _ESTABLISHED
