"""
A second reading of HTTP/1.1 requests: which requests a stream of bytes contains by RFC 9112.

It is as strict as the standard allows, and stops where the standard lets a server choose. A request
that the service executes, but that is not found here, was smuggled.
"""

import gzip
import json
import re
import zlib
from typing import Any, Final, Literal

import msgspec

_REQUEST_LINE: Final = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^\x00-\x20\x7f]+) HTTP/1\.([01])"
)
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
# Recipients may take a single LF for the end of a line of the head.
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(?:;[^\r\n]*)?\r\n")
_LENGTH_DIGITS_MAX: Final = 20
_TRAILERS_MAX: Final = 100

State = Literal["open", "incomplete", "invalid", "closed"]
Headers = dict[bytes, list[bytes]]


class ReadRequest(msgspec.Struct, frozen=True):
    """A complete request."""

    method: bytes
    target: bytes
    headers: Headers
    body: bytes

    def event_ids(self) -> list[str]:
        """Return the ids of the events in the body."""
        return _ids_in(_decoded(self.body, self.headers))


class Reading(msgspec.Struct):
    """
    The complete requests of a stream, and what follows them.

    `open`: nothing; `incomplete`: a part of a request; `invalid`: bytes that are no request;
    `closed`: the server must not read on.
    """

    requests: list[ReadRequest]
    state: State = "open"


class _InvalidError(Exception):
    pass


class _IncompleteError(Exception):
    pass


def read_requests(stream: bytes) -> Reading:
    """Read *stream* to its end, or to the first byte that is not part of a request."""
    reading = Reading([])
    at = 0
    while reading.state == "open":
        while stream[at : at + 1] in {b"\r", b"\n"}:
            at += 1
        if at == len(stream):
            break
        try:
            request, at, is_last = _read_request(stream, at)
        except _InvalidError:
            reading.state = "invalid"
        except _IncompleteError:
            reading.state = "incomplete"
        else:
            reading.requests.append(request)
            if is_last:
                reading.state = "closed"
    return reading


def _read_request(stream: bytes, at: int) -> tuple[ReadRequest, int, bool]:
    end = _HEAD_END.search(stream, at)
    if end is None:
        raise _IncompleteError
    first, *lines = re.split(rb"\r?\n", stream[at : end.start()])
    found = _REQUEST_LINE.fullmatch(first)
    if found is None:
        raise _InvalidError
    headers: Headers = {}
    for line in lines:
        pair = _HEADER.fullmatch(line)
        if pair is None:
            raise _InvalidError
        headers.setdefault(pair[1].lower(), []).append(pair[2].rstrip(b" \t"))
    is_old = found[3] == b"0"
    body, at, is_ambiguous = _read_body(stream, end.end(), headers, is_old=is_old)
    tokens = {
        token.strip().lower()
        for value in headers.get(b"connection", [])
        for token in value.split(b",")
    }
    is_last = is_ambiguous or b"close" in tokens or (is_old and b"keep-alive" not in tokens)
    return ReadRequest(found[1], found[2], headers, body), at, is_last


def _read_body(
    stream: bytes, at: int, headers: Headers, *, is_old: bool
) -> tuple[bytes, int, bool]:
    """Return the body, its end, and whether its length is ambiguous."""
    codings = headers.get(b"transfer-encoding")
    lengths = headers.get(b"content-length")
    if codings is not None:
        last = codings[-1].rpartition(b",")[2].strip().lower()
        if is_old or last != b"chunked":
            raise _InvalidError
        body, at = _read_chunks(stream, at)
        return body, at, lengths is not None
    if lengths is None:
        return b"", at, False
    if not all(re.fullmatch(rb"[0-9]+", length) for length in lengths):
        raise _InvalidError
    # The same number twice is not ambiguous.
    numbers = {length.lstrip(b"0") or b"0" for length in lengths}
    if len(numbers) > 1 or len(min(numbers)) > _LENGTH_DIGITS_MAX:
        raise _InvalidError
    end = at + int(min(numbers))
    if end > len(stream):
        raise _IncompleteError
    return stream[at:end], end, False


def _read_chunks(stream: bytes, at: int) -> tuple[bytes, int]:
    body = b""
    while True:
        size = _CHUNK_SIZE.match(stream, at)
        if size is None:
            is_cut = re.fullmatch(rb"[0-9A-Fa-f]*[ \t]*(?:;[^\r\n]*)?\r?", stream[at:])
            raise _IncompleteError if is_cut else _InvalidError
        at = size.end()
        length = int(size[1], 16)
        if length == 0:
            return body, _end_of_trailers(stream, at)
        chunk = stream[at : at + length]
        at += length
        if len(chunk) < length or at + 2 > len(stream):
            raise _IncompleteError
        if stream[at : at + 2] != b"\r\n":
            raise _InvalidError
        body += chunk
        at += 2


def _end_of_trailers(stream: bytes, at: int) -> int:
    for _ in range(_TRAILERS_MAX + 1):
        end = stream.find(b"\r\n", at)
        if end < 0:
            raise _IncompleteError
        line, at = stream[at:end], end + 2
        if line == b"":
            return at
        if _HEADER.fullmatch(line) is None:
            raise _InvalidError
    raise _InvalidError


def _decoded(body: bytes, headers: Headers) -> bytes:
    coding = headers.get(b"content-encoding", [b""])[-1].strip().lower()
    try:
        if coding in {b"gzip", b"x-gzip"}:
            return gzip.decompress(body)
        if coding == b"deflate":
            return zlib.decompress(body)
    except (OSError, EOFError, zlib.error):
        return b""
    return body


def _ids_in(body: bytes) -> list[str]:
    try:
        content = json.loads(body)
    except ValueError:
        return []
    found: list[Any] = [content]
    if isinstance(content, dict) and isinstance(content.get("batch"), list):
        found += content["batch"]
    ids = [
        event.get("event_id", event.get("messageId")) for event in found if isinstance(event, dict)
    ]
    return [each for each in ids if isinstance(each, str)]
