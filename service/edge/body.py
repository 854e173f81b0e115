"""Reads a body: under a cap on its decoded bytes, and before a deadline."""

import asyncio
import zlib
from typing import Final

from service.edge.deadlines import Deadlines
from service.edge.inbound import Inbound
from service.reasons import Reason, Refusal

_IDENTITY: Final = b"identity"
_WINDOW_BITS: Final = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
_RAW_DEFLATE_BITS: Final = -15
_ZLIB_HEADER_BYTES: Final = 2
_GZIP_FIRST_BYTE: Final = 0x1F
# Each gzip member costs some microseconds, however small it is.
_MEMBERS_MAX: Final = 1_000
# After each gzip member zlib copies the bytes that follow: this bounds the copy.
_STEP_BYTES: Final = 16 * 1024


class ClientGoneError(Exception):
    """The sender left before its request was whole; there is nobody to answer."""


class BodyReader:
    """Reads bodies, each of which has the same time to arrive."""

    def __init__(self, timeout_s: float) -> None:
        self._deadlines = Deadlines(timeout_s)

    async def read(self, inbound: Inbound, bytes_max: int) -> bytes:
        """
        Return the decoded body.

        Raises
        ------
        Refusal
            It is too large, too late, or not encoded as its header says.
        ClientGoneError
            The connection ended first.
        """
        encoding = inbound.headers.get(b"content-encoding")
        inflater = None if encoding is None else _inflater(encoding, bytes_max)
        if inbound.length is not None and inbound.length > bytes_max:
            raise _too_large(bytes_max, str(inbound.length))
        chunks: list[bytes] = []
        task = self._deadlines.begin()
        try:
            while not inbound.is_whole:
                message = await inbound.receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                chunk = inbound.take(message)
                # As sent, too: there are encodings of nothing that never end.
                if inbound.received > bytes_max:
                    raise _too_large(bytes_max, f"more than {bytes_max}")
                chunks.append(chunk if inflater is None else inflater.feed(chunk))
        except asyncio.CancelledError:
            if not self._deadlines.forgive(task):
                raise
            inbound.give_up()
            raise Refusal(
                Reason.BODY_TIMEOUT,
                f"The body did not arrive within {self._deadlines.timeout_s:g} s; try again.",
            ) from None
        finally:
            self._deadlines.end(task)
        if inflater is not None:
            inflater.require_end()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _inflater(encoding: bytes, bytes_max: int) -> "_Inflater | None":
    encoding = encoding.strip().lower()
    if encoding in {_IDENTITY, b""}:
        return None
    if encoding in _WINDOW_BITS:
        return _Inflater(bytes_max, _WINDOW_BITS[encoding])
    name = encoding.decode("latin-1")[:64]
    fault = "has more than one coding" if b"," in encoding else "is not supported"
    raise Refusal(
        Reason.UNSUPPORTED_ENCODING,
        f"Content-Encoding {name!r} {fault}; send one of identity, gzip and deflate.",
        field="Content-Encoding",
        actual=name,
    )


class _Inflater:
    """
    Inflates gzip or deflate, up to the size limit.

    A gzip body is one or more members, with nothing before, between or after them (RFC 1952); their
    contents are joined.
    """

    def __init__(self, bytes_max: int, window_bits: int) -> None:
        self._bytes_max = bytes_max
        self._size = 0
        self._window_bits = window_bits
        self._inflate = zlib.decompressobj(window_bits)
        self._members = 1
        self._head = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return what *chunk* unfolds to."""
        pieces: list[bytes] = []
        left = memoryview(chunk)
        while left:
            if self._inflate.eof:
                self._begin_member(left[0])
            step = left[:_STEP_BYTES]
            try:
                piece = self._decompress(step)
            except zlib.error as error:
                raise _undecodable(str(error)) from None
            self._size += len(piece)
            if self._size > self._bytes_max:
                raise _too_large(self._bytes_max, f"more than {self._bytes_max}")
            pieces.append(piece)
            left = left[len(step) - len(self._inflate.unused_data) :]
        return b"".join(pieces)

    def require_end(self) -> None:
        """Refuse a body that is cut off."""
        if not self._inflate.eof:
            raise _undecodable("it is cut off")

    def _begin_member(self, first_byte: int) -> None:
        if self._window_bits != _WINDOW_BITS[b"gzip"] or first_byte != _GZIP_FIRST_BYTE:
            raise _undecodable("there are bytes after its end")
        if self._members == _MEMBERS_MAX:
            raise _undecodable(f"it has more than {_MEMBERS_MAX} gzip members")
        self._members += 1
        self._inflate = zlib.decompressobj(self._window_bits)

    def _decompress(self, step: memoryview) -> bytes:
        room = self._bytes_max - self._size + 1
        head, self._head = self._head, (self._head + step[:2])[:_ZLIB_HEADER_BYTES]
        try:
            return self._inflate.decompress(step, room)
        except zlib.error:
            # "deflate" is zlib by the standard, and bare deflate by a habit of old clients. The
            # header tells, and its two bytes may come apart.
            is_decided = len(head) == _ZLIB_HEADER_BYTES
            if is_decided or self._window_bits != _WINDOW_BITS[b"deflate"]:
                raise
            self._inflate = zlib.decompressobj(_RAW_DEFLATE_BITS)
            return self._inflate.decompress(head + step, room)


def _too_large(bytes_max: int, actual: str) -> Refusal:
    return Refusal(
        Reason.PAYLOAD_TOO_LARGE,
        f"The body has {actual} bytes (decoded); at most {bytes_max} are allowed.",
        limit=bytes_max,
        actual=int(actual) if actual.isdigit() else actual,
    )


def _undecodable(fault: str) -> Refusal:
    return Refusal(
        Reason.INVALID_ENCODING,
        f"The body cannot be decoded as Content-Encoding says: {fault}.",
        field="Content-Encoding",
    )
