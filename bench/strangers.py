"""Clients without a key: idle, with half a request, without reading, or with large bodies."""

import asyncio
import contextlib
import json
import socket
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Final

from bench.processes import HOST
from service import apikey

_PROBE: Final = b"GET /health/live HTTP/1.1\r\nHost: forebay.test\r\n\r\n"
_PIPELINED: Final = b"GET /health HTTP/1.1\r\nHost: forebay.test\r\n\r\n"
_POST: Final = b"POST /v1/batch HTTP/1.1\r\nHost: forebay.test\r\n"
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n\r\n"
# Nearly the largest body that a key may allow.
_BODY_BYTES: Final = 500_000
_EVENTS: Final = 200
# The buffers of clients that do not read are small, as those between distant machines.
_SEGMENT_BYTES: Final = 536
_BUFFER_BYTES: Final = 2_304
_SEND_TIMEOUT_S: Final = 20.0
# Soon the service does not read either.
_UNREAD_TIMEOUT_S: Final = 0.001
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
    - *gzip*: with a compressed body of 0.7 KB that stands for 500 KB, and lacks its end
    - *plain*: with a body of 500 KB that lacks its end
    - *made-up*: with a whole batch of 400 KB, and a made-up key in it
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
        data, timeout_s = _SENT[kind](), _SEND_TIMEOUT_S
        if data.startswith(_PIPELINED):
            timeout_s = _UNREAD_TIMEOUT_S
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT_BYTES)
        one.bind((self._address, 0))
        await asyncio.get_running_loop().sock_connect(one, (HOST, self._port))
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(timeout_s):
                await asyncio.get_running_loop().sock_sendall(one, data)
        return one


def _unfinished_gzip() -> bytes:
    encoder = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = encoder.compress(b" " * _BODY_BYTES) + encoder.flush(zlib.Z_SYNC_FLUSH)
    return _POST + b"Content-Encoding: gzip\r\n" + _CHUNKED + b"%x\r\n%b\r\n" % (len(data), data)


def _unfinished_body() -> bytes:
    return _POST + b"Content-Length: %d\r\n\r\n" % (_BODY_BYTES + 1) + b" " * _BODY_BYTES


def _batch_with_a_made_up_key() -> bytes:
    event = {"type": "track", "event": "e", "user_id": "u", "properties": {"x": "y" * 1_900}}
    batch = {"batch": [event] * _EVENTS, "writeKey": apikey.mint().text}
    data = json.dumps(batch).encode()
    return _POST + _CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)


def _always(data: bytes) -> Callable[[], bytes]:
    return lambda: data


_SENT: Final = {
    "idle": _always(_PROBE),
    "headers": _always(b"POST /v1/track HTTP/1.1\r\nHost: forebay.test\r\nX-Slow: "),
    "body": _always(_POST + b"Content-Length: 500\r\n\r\n{"),
    # Answers that fill the buffers of the kernel, and those of the HTTP server too.
    "unread": _always(_PIPELINED * 100),
    "blocked": _always(_PIPELINED * 300),
    "gzip": _always(_unfinished_gzip()),
    "plain": _always(_unfinished_body()),
    "made-up": _batch_with_a_made_up_key,
}


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
