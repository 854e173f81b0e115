"""A request as HTTP has it: its headers, rejection of ambiguous ones, and its body."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from service.deadlines import Deadlines
from service.edge.body_budget import BodyBudget
from service.edge.inflate import inflated, too_large, window_bits
from service.reasons import Reason, RefusedError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

Headers = dict[bytes, bytes]
"""By name in lower case. Of a repeated header the last value counts."""

# If one of these is duplicated, a proxy and the service could read different requests or keys.
_ONCE: Final = (
    b"authorization",
    b"content-encoding",
    b"content-length",
    b"transfer-encoding",
    b"x-api-key",
    b"x-event-schema-version",
    b"x-write-key",
)
# Digits of a 64-bit number.
_LENGTH_DIGITS_MAX: Final = 19
_QUOTED_CHARS_MAX: Final = 64
_DISCARDED_BYTES_MAX: Final = 4 * 1024 * 1024
_DISCARD_TIMEOUT_S: Final = 1.0
# Memory of a chunk beside its bytes: the header of the object, and its place in the list.
_CHUNK_OVERHEAD_BYTES: Final = 48


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


class RequestBody:
    """The body of one request: reads it, or discards it after an early error."""

    __slots__ = (
        "_budget",
        "_deadlines",
        "_headers",
        "_is_abandoned",
        "_is_complete",
        "_receive",
        "_received_bytes",
        "_timeout_s",
        "length",
    )

    def __init__(
        self,
        headers: Headers,
        receive: Receive,
        budget: BodyBudget,
        deadlines: Deadlines,
        timeout_s: float,
    ) -> None:
        """
        *receive* is the server's function; *timeout_s* is the time for the whole body, in seconds.

        *budget* limits the memory of all bodies. *deadlines* cancels a task at its deadline
        (`body_deadlines`).
        """
        self._headers = headers
        self._receive = receive
        self._budget = budget
        self._deadlines = deadlines
        self._timeout_s = timeout_s
        self.length = content_length(headers)
        """As declared, in bytes; None for a chunked body."""
        # Granian enforces the declared length, so the body is complete at its last byte. Granian's
        # last message, which is empty, is not awaited.
        self._is_complete = self.length == 0
        self._received_bytes = 0
        self._is_abandoned = False

    async def read(self, bytes_max: int, key_id: str | None) -> bytes:
        """
        Return the decoded body of at most *bytes_max* bytes.

        *key_id* is the key of the headers, None if they have none. The body is decoded when it is
        complete: meanwhile a compressed body takes no more memory than was sent.

        Raises
        ------
        RefusedError
            It is too large, too slow, or not encoded as its header says; or incomplete bodies take
            too much memory.
        ClientGoneError
            The connection was closed before the end of the body.
        """
        bits = window_bits(self._headers.get(b"content-encoding"))
        if self.length is not None and self.length > bytes_max:
            raise too_large(bytes_max, str(self.length))
        began = time.monotonic()
        task = self._deadlines.begin(began + self._timeout_s)
        try:
            # Most bodies are complete with their first chunk, and never have to be held.
            body = b"" if self._is_complete else self._take(await self._receive(), bytes_max)
            if not self._is_complete:
                body = await self._join(body, bytes_max, key_id)
        except asyncio.CancelledError:
            # If another task has cancelled this one too, it has to end.
            if not self._deadlines.is_exceeded(task) or task.uncancel():
                raise
            self._is_abandoned = True
            raise RefusedError(
                Reason.BODY_TIMEOUT,
                # Less than the timeout when the worker stops, or has no room for other requests.
                f"The body did not arrive within {round(time.monotonic() - began, 2):g} s;"
                " try again.",
            ) from None
        finally:
            self._deadlines.end(task)
        return body if bits is None else inflated(body, bits, bytes_max)

    @contextmanager
    def held(self, body_bytes: int, key_id: str | None) -> Iterator[None]:
        """
        Count the memory of the body while it waits for something else, after `read`.

        Raises
        ------
        RefusedError
            `overloaded`: bodies take too much memory.
        """
        self._budget.take(key_id, body_bytes)
        try:
            yield
        finally:
            self._budget.give_back(key_id, body_bytes)

    async def discard(self) -> None:
        """
        Read and discard the rest of the body after an early error, up to 4 MiB and for 1 s.

        A connection that is closed while the client is still sending is reset, and the client loses
        the answer: it sees a network error, and retries a request that will always be refused.

        A body that was too slow, or refused for memory without a key, is not read any more.
        """
        if not self._is_coming():
            return
        bytes_max = self._received_bytes + _DISCARDED_BYTES_MAX
        try:
            async with asyncio.timeout(_DISCARD_TIMEOUT_S):
                while not self._is_complete:
                    self._take(await self._receive(), bytes_max)
        except (TimeoutError, ClientGoneError, RefusedError):
            return

    async def until_client_is_gone(self, timeout_s: float) -> None:
        """Return when the client has closed the connection, at the latest after *timeout_s*."""
        if not self._is_complete and self._has_body():
            await asyncio.sleep(timeout_s)
            return
        try:
            async with asyncio.timeout(timeout_s):
                while (await self._receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            return

    async def _join(self, chunk: bytes, bytes_max: int, key_id: str | None) -> bytes:
        """Return the whole body, of which *chunk* is the first part."""
        chunks = [chunk]
        held_bytes = 0
        try:
            while not self._is_complete:
                more_bytes = len(chunk) + _CHUNK_OVERHEAD_BYTES
                try:
                    self._budget.take(key_id, more_bytes)
                except RefusedError:
                    # Perhaps an attack: to read the rest would cost what the refusal is to save.
                    self._is_abandoned = key_id is None
                    raise
                held_bytes += more_bytes
                chunk = self._take(await self._receive(), bytes_max)
                chunks.append(chunk)
            return b"".join(chunks)
        finally:
            # The traceback of an error refers to this list for as long as the answer takes.
            chunks.clear()
            self._budget.give_back(key_id, held_bytes)

    def _take(self, message: MutableMapping[str, Any], bytes_max: int) -> bytes:
        """Return the chunk of the body in *message*; refuse more than *bytes_max* bytes in all."""
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk: bytes = message.get("body", b"")
        self._received_bytes += len(chunk)
        # Of the compressed bytes too: some encodings of an empty body never end.
        if self._received_bytes > bytes_max:
            raise too_large(bytes_max, f"more than {bytes_max}")
        is_last = not message.get("more_body", False)
        self._is_complete = is_last or self._received_bytes == self.length
        return chunk

    def _is_coming(self) -> bool:
        """Whether the client is going to send the rest of the body."""
        if self._is_abandoned or not self._has_body():
            return False
        # A client that sent `Expect: 100-continue` has not begun to send the body.
        return self._received_bytes > 0 or b"expect" not in self._headers

    def _has_body(self) -> bool:
        return b"content-length" in self._headers or b"transfer-encoding" in self._headers


class HttpRequest(NamedTuple):
    """A request without events."""

    scope: Scope
    headers: Headers
    body: RequestBody


def body_deadlines() -> Deadlines:
    """Return the deadlines of the request bodies of one worker."""
    return Deadlines(_cancel)


def content_length(headers: Headers) -> int | None:
    """Return the declared length of the body in bytes; None if it is missing or not a number."""
    value = headers.get(b"content-length")
    if value is None or len(value) > _LENGTH_DIGITS_MAX or not value.isdigit():
        return None
    return int(value)


def reject_ambiguous_headers(
    headers: Headers, pairs: Sequence[tuple[bytes, bytes]], length: int | None
) -> None:
    """
    Refuse a request that a proxy and the service could read differently.

    *pairs* are the headers as received; *length* is the `content_length` of *headers*.

    Raises
    ------
    RefusedError
        A header that may occur once is duplicated, or the length of the body is ambiguous.
    """
    if len(headers) != len(pairs):
        _require_once([name for name, _ in pairs])
    coding = headers.get(b"transfer-encoding")
    if coding is not None:
        _require_chunked(coding)
        if b"content-length" in headers:
            raise _invalid("content-length", "Both Content-Length and Transfer-Encoding; send one.")
    elif length is None and b"content-length" in headers:
        raise _invalid(
            "content-length",
            f"Content-Length is not a number of at most {_LENGTH_DIGITS_MAX} digits.",
        )


def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()


def _require_once(names: list[bytes]) -> None:
    for name in _ONCE:
        if names.count(name) > 1:
            text = name.decode("latin-1")
            raise _invalid(text, f"Duplicate header: {text}.")


def _require_chunked(coding: bytes) -> None:
    # The HTTP server decodes `chunked`, once, and no other transfer coding.
    if coding.strip().lower() != b"chunked":
        shown = coding.decode("latin-1")[:_QUOTED_CHARS_MAX]
        raise _invalid(
            "transfer-encoding", f"Transfer-Encoding {shown!r} is not supported; send chunked."
        )


def _invalid(field: str, message: str) -> RefusedError:
    return RefusedError(Reason.INVALID_REQUEST, message, field=field)
