"""The API key in the headers of a request."""

import base64
import binascii
from typing import Final

from service._native import sha256
from service.edge.request import Headers

_AUTHORIZATION: Final = b"authorization"
_NAMES: Final = (_AUTHORIZATION, b"x-api-key", b"x-write-key")


def first_digest(headers: Headers) -> bytes | None:
    """Return the digest of the first header that may hold a key, without parsing it."""
    for name in _NAMES:
        value = headers.get(name)
        if value is not None:
            return sha256(name + value)
    return None


def key_header(headers: Headers) -> tuple[bytes, bytes] | None:
    """
    Return name and value of the header that holds the key, None without one.

    An Authorization header with another scheme, which a proxy may have added, is ignored. An
    Authorization header with a supported scheme but no readable key is final: other headers are
    not tried.
    """
    for name in _NAMES:
        value = headers.get(name)
        if value is not None and (
            name != _AUTHORIZATION or _scheme(value) in {b"basic", b"bearer"}
        ):
            return name, value
    return None


def key_text(name: bytes, value: bytes) -> str:
    """Return the key in a header that `key_header` returned, "" when it holds none."""
    value = value.strip()
    if name != _AUTHORIZATION:
        return value.decode("latin-1")
    rest = value.partition(b" ")[2].strip()
    if _scheme(value) == b"bearer":
        return rest.decode("latin-1")
    try:
        pair = base64.b64decode(rest, validate=True)
    except binascii.Error:
        return ""
    return pair.partition(b":")[0].decode("latin-1")


def digest(name: bytes, value: bytes) -> bytes:
    """Return the SHA-256 of a header: the cache holds no key in clear text."""
    return sha256(name + value)


def _scheme(value: bytes) -> bytes:
    return value.strip().partition(b" ")[0].lower()
