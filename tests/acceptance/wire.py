"""HTTP over a plain socket, for requests that no client library sends."""

import asyncio
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

_TIMEOUT_S: Final = 20.0


class Answer(NamedTuple):
    """An answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self) -> Answer | None:
        """Return the next answer, None if the connection was closed first."""
        async with asyncio.timeout(_TIMEOUT_S):
            try:
                head = await self._reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
            status_line, *lines = head.decode("latin-1").strip().split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
            }
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(status_line.split(" ")[1]), headers, body)

    @property
    def port(self) -> int:
        """The client's port."""
        return int(self._writer.get_extra_info("sockname")[1])

    def close_half(self) -> None:
        """Close the sending side only."""
        self._writer.write_eof()

    def close(self) -> None:
        self._writer.close()


async def connect(url: str) -> Wire:
    """Open a connection to the server of *url*."""
    parts = urlsplit(url)
    return Wire(*await asyncio.open_connection(parts.hostname, parts.port))


async def exchange(url: str, request: bytes) -> Answer:
    """Send *request* over a new connection and return the answer."""
    wire = await connect(url)
    try:
        await wire.send(request)
        answer = await wire.answer()
    finally:
        wire.close()
    assert answer is not None
    return answer


def post(path: str, *headers: str, body: bytes = b"", sized: bool = True) -> bytes:
    """Return a POST request, with Content-Length if *sized*."""
    own = [f"Content-Length: {len(body)}"] if sized else []
    head = [f"POST {path} HTTP/1.1", "Host: forebay.test", *headers, *own]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def chunked(body: bytes, size: int = 4096) -> bytes:
    """Return *body* in chunked transfer coding."""
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
