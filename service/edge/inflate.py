"""Decoding of compressed bodies, up to the size limit."""

import zlib
from typing import Final

from service.reasons import Reason, RefusedError

_IDENTITY: Final = frozenset((b"identity", b""))
_GZIP_BITS: Final = 31
_DEFLATE_BITS: Final = 15
_WINDOW_BITS: Final = {b"gzip": _GZIP_BITS, b"x-gzip": _GZIP_BITS, b"deflate": _DEFLATE_BITS}
_RAW_DEFLATE_BITS: Final = -15
_GZIP_FIRST_BYTE: Final = 0x1F
# Each gzip member costs some microseconds, however small it is.
_MEMBERS_MAX: Final = 1_000
# At the end of each gzip member zlib copies the rest of its input. Small steps keep that short.
_STEP_BYTES: Final = 16 * 1024
_QUOTED_CHARS_MAX: Final = 64


def window_bits(encoding: bytes | None) -> int | None:
    """
    Return zlib's parameter for a value of Content-Encoding; None: the body is not compressed.

    Raises
    ------
    RefusedError
        The encoding is not supported.
    """
    if encoding is None:
        return None
    encoding = encoding.strip().lower()
    if encoding in _IDENTITY:
        return None
    if encoding in _WINDOW_BITS:
        return _WINDOW_BITS[encoding]
    name = encoding.decode("latin-1")[:_QUOTED_CHARS_MAX]
    fault = "has more than one coding" if b"," in encoding else "is not supported"
    raise RefusedError(
        Reason.UNSUPPORTED_ENCODING,
        f"Content-Encoding {name!r} {fault}; send one of identity, gzip and deflate.",
        field="Content-Encoding",
        actual=name,
    )


def inflated(body: bytes, bits: int, bytes_max: int) -> bytes:
    """
    Return the content of a complete compressed body; *bits* are its `window_bits`.

    A gzip body is one or more members, with nothing before, between or after them (RFC 1952); their
    contents are joined.

    Raises
    ------
    RefusedError
        The content has more than *bytes_max* bytes, or the body is not encoded as its header says.
    """
    try:
        return _inflated(body, bits, bytes_max)
    except zlib.error as error:
        raise _undecodable(str(error)) from None


def too_large(bytes_max: int, actual: str) -> RefusedError:
    """Return the refusal of a body of more than *bytes_max* bytes."""
    return RefusedError(
        Reason.PAYLOAD_TOO_LARGE,
        f"The body has {actual} bytes (decoded); at most {bytes_max} are allowed.",
        limit=bytes_max,
        actual=int(actual) if actual.isdigit() else actual,
    )


def _inflated(body: bytes, bits: int, bytes_max: int) -> bytes:
    decoder = _decoder(body, bits)
    pieces: list[bytes] = []
    size, members = 0, 1
    left = memoryview(body)
    while left:
        if decoder.eof:
            members += 1
            decoder = _next_decoder(left[0], bits, members)
        step = left[:_STEP_BYTES]
        piece = decoder.decompress(step, bytes_max - size + 1)
        size += len(piece)
        if size > bytes_max:
            raise too_large(bytes_max, f"more than {bytes_max}")
        pieces.append(piece)
        left = left[len(step) - len(decoder.unused_data) :]
    if not decoder.eof:
        raise _undecodable("it is cut off")
    return b"".join(pieces)


def _decoder(body: bytes, bits: int) -> "zlib._Decompress":
    """
    Return a decoder for the start of *body*.

    By the standard "deflate" has a zlib header; some old clients send it without one.
    """
    if bits == _DEFLATE_BITS:
        try:
            zlib.decompressobj(bits).decompress(body[:2])
        except zlib.error:
            return zlib.decompressobj(_RAW_DEFLATE_BITS)
    return zlib.decompressobj(bits)


def _next_decoder(first_byte: int, bits: int, members: int) -> "zlib._Decompress":
    if bits != _GZIP_BITS or first_byte != _GZIP_FIRST_BYTE:
        raise _undecodable("there are bytes after its end")
    if members > _MEMBERS_MAX:
        raise _undecodable(f"it has more than {_MEMBERS_MAX} gzip members")
    return zlib.decompressobj(bits)


def _undecodable(fault: str) -> RefusedError:
    return RefusedError(
        Reason.INVALID_ENCODING,
        f"The body cannot be decoded as Content-Encoding says: {fault}.",
        field="Content-Encoding",
    )
