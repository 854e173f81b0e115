"""Decoding of compressed bodies, up to the size limit."""

import zlib
from typing import Final

from service.reasons import Reason, RefusedError

_IDENTITY: Final = b"identity"
_WINDOW_BITS: Final = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
_RAW_DEFLATE_BITS: Final = -15
_ZLIB_HEADER_BYTES: Final = 2
_GZIP_FIRST_BYTE: Final = 0x1F
# Each gzip member costs some microseconds, however small it is.
_MEMBERS_MAX: Final = 1_000
# At the end of each gzip member zlib copies the rest of its input. Small steps keep that short.
_STEP_BYTES: Final = 16 * 1024
_QUOTED_CHARS_MAX: Final = 64


class Inflater:
    """
    Decodes gzip or deflate, up to the size limit.

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
        """Return the decoded bytes of the next *chunk* of the body."""
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
                raise too_large(self._bytes_max, f"more than {self._bytes_max}")
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
        left_bytes = self._bytes_max - self._size + 1
        head, self._head = self._head, (self._head + step[:2])[:_ZLIB_HEADER_BYTES]
        try:
            return self._inflate.decompress(step, left_bytes)
        except zlib.error:
            # By the standard "deflate" has a zlib header; some old clients send it without one. The
            # first two bytes, which may be in different chunks, show which of them it is.
            is_decided = len(head) == _ZLIB_HEADER_BYTES
            if is_decided or self._window_bits != _WINDOW_BITS[b"deflate"]:
                raise
            self._inflate = zlib.decompressobj(_RAW_DEFLATE_BITS)
            return self._inflate.decompress(head + step, left_bytes)


def inflater_for(encoding: bytes, bytes_max: int) -> Inflater | None:
    """
    Return the decoder for the value of Content-Encoding; None for a body that is not compressed.

    Raises
    ------
    RefusedError
        The encoding is not supported.
    """
    encoding = encoding.strip().lower()
    if encoding in {_IDENTITY, b""}:
        return None
    if encoding in _WINDOW_BITS:
        return Inflater(bytes_max, _WINDOW_BITS[encoding])
    name = encoding.decode("latin-1")[:_QUOTED_CHARS_MAX]
    fault = "has more than one coding" if b"," in encoding else "is not supported"
    raise RefusedError(
        Reason.UNSUPPORTED_ENCODING,
        f"Content-Encoding {name!r} {fault}; send one of identity, gzip and deflate.",
        field="Content-Encoding",
        actual=name,
    )


def too_large(bytes_max: int, actual: str) -> RefusedError:
    """Return the refusal of a body of more than *bytes_max* bytes."""
    return RefusedError(
        Reason.PAYLOAD_TOO_LARGE,
        f"The body has {actual} bytes (decoded); at most {bytes_max} are allowed.",
        limit=bytes_max,
        actual=int(actual) if actual.isdigit() else actual,
    )


def _undecodable(fault: str) -> RefusedError:
    return RefusedError(
        Reason.INVALID_ENCODING,
        f"The body cannot be decoded as Content-Encoding says: {fault}.",
        field="Content-Encoding",
    )
