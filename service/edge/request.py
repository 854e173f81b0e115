"""A request as the edge reads it: headers by name, and what two of them may not say."""

import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

from service.reasons import Reason, Refusal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

Headers = dict[bytes, bytes]

# Two of these would let a proxy and us read two different requests, or take two different keys.
_ONCE: Final = frozenset({b"authorization", b"content-length", b"x-api-key", b"x-write-key"})
_SCHEMA_VERSION: Final = re.compile(r"[0-9]{1,5}\.[0-9]{1,5}(\.[0-9]{1,5})?")
_QUOTED_CHARS_MAX: Final = 64


def require_one_meaning(headers: Headers, pairs: Sequence[tuple[bytes, bytes]]) -> None:
    """
    Refuse a request that two readers could read differently.

    Raises
    ------
    Refusal
        A header that may stand only once is there twice, or the body has two lengths.
    """
    if len(headers) != len(pairs):
        _require_once([name for name, _ in pairs])
    if b"transfer-encoding" in headers and b"content-length" in headers:
        raise Refusal(
            Reason.INVALID_REQUEST,
            "The request has both Content-Length and Transfer-Encoding; send one of them.",
            field="content-length",
        )


def _require_once(names: list[bytes]) -> None:
    for name in _ONCE:
        if names.count(name) > 1:
            text = name.decode("latin-1")
            raise Refusal(
                Reason.INVALID_REQUEST,
                f"The header {text} is there twice; it may stand only once.",
                field=text,
            )


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
