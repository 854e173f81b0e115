"""Headers of a request, and refusal of ambiguous ones."""

import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

from service.reasons import Reason, Refusal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

Headers = dict[bytes, bytes]

# A second one would let a proxy and the service read two different requests, or two different keys.
_ONCE: Final = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"transfer-encoding",
        b"x-api-key",
        b"x-event-schema-version",
        b"x-write-key",
    }
)
# Digits of a 64-bit number.
_LENGTH_DIGITS_MAX: Final = 19
_SCHEMA_VERSION: Final = re.compile(r"[0-9]{1,5}\.[0-9]{1,5}(\.[0-9]{1,5})?")
_QUOTED_CHARS_MAX: Final = 64


def content_length(headers: Headers) -> int | None:
    """Return the declared length of the body, None without a readable one."""
    value = headers.get(b"content-length")
    if value is None or len(value) > _LENGTH_DIGITS_MAX or not value.isdigit():
        return None
    return int(value)


def require_one_meaning(headers: Headers, pairs: Sequence[tuple[bytes, bytes]]) -> None:
    """
    Refuse a request that two readers could read differently.

    Raises
    ------
    Refusal
        A header that may occur once is duplicated, or the length of the body is ambiguous.
    """
    if len(headers) != len(pairs):
        _require_once([name for name, _ in pairs])
    coding = headers.get(b"transfer-encoding")
    if coding is not None:
        _require_chunked(coding)
        if b"content-length" in headers:
            raise _invalid("content-length", "Both Content-Length and Transfer-Encoding; send one.")
    elif b"content-length" in headers and content_length(headers) is None:
        raise _invalid(
            "content-length",
            f"Content-Length is not a number of at most {_LENGTH_DIGITS_MAX} digits.",
        )


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
            "transfer-encoding", f"Transfer-Encoding {shown!r} is not supported; chunked is."
        )


def _invalid(field: str, message: str) -> Refusal:
    return Refusal(Reason.INVALID_REQUEST, message, field=field)


def schema_version(headers: Headers, default: str, supported: frozenset[str]) -> str:
    """
    Return the schema version of the request's events.

    Raises
    ------
    Refusal
        It is not MAJOR.MINOR or MAJOR.MINOR.PATCH, or none of *supported* (empty: all are).
    """
    value = headers.get(b"x-event-schema-version")
    if value is None:
        return default
    text = value.decode("latin-1").strip()
    if not _SCHEMA_VERSION.fullmatch(text):
        raise _invalid_version(text, "is not MAJOR.MINOR or MAJOR.MINOR.PATCH, such as 1.0")
    if supported and text not in supported:
        raise _invalid_version(text, f"is not supported; {', '.join(sorted(supported))} are")
    return text


def _invalid_version(text: str, fault: str) -> Refusal:
    shown = text[:_QUOTED_CHARS_MAX]
    return Refusal(
        Reason.INVALID_SCHEMA_VERSION,
        f"X-Event-Schema-Version {shown!r} {fault}.",
        field="X-Event-Schema-Version",
        actual=shown,
    )
