"""
The text form of an API key: `fb1_<id>_<secret><check>`.

The id is public (look-up, display); the secret is 32 base62 characters, 190 random bits; the six
check characters are a CRC-32 that detects a mistyped key without a query. Only the SHA-256 of the
whole text is stored: the secret is random enough that no slow hash is needed.
"""

import hashlib
import re
import secrets
import string
import zlib
from typing import Final, NamedTuple

PREFIX: Final = "fb1"
_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_CHARS: Final = 12
_SECRET_CHARS: Final = 32
_CHECK_CHARS: Final = 6
# All pairs of digits, in the order of their value.
_PAIRS: Final = [high + low for high in _ALPHABET for low in _ALPHABET]
# Any other character in an id is refused here. A NUL would make the query fail as if the database
# were unavailable, and the check characters do not prevent it: anybody can compute them.
_SHAPE: Final = re.compile(
    rf"{PREFIX}_[0-9A-Za-z]{{{_ID_CHARS}}}_[0-9A-Za-z]{{{_SECRET_CHARS + _CHECK_CHARS}}}"
)


class Credential(NamedTuple):
    """The parts of a well-formed key: the id to look up, and the digest to compare."""

    key_id: str
    secret_sha256: bytes


class MintedKey(NamedTuple):
    """A new key. `text` is shown once and not stored."""

    text: str
    credential: Credential


def mint() -> MintedKey:
    """Make a new random key."""
    body = f"{PREFIX}_{_random(_ID_CHARS)}_{_random(_SECRET_CHARS)}"
    text = body + _check(body)
    return MintedKey(text, _credential(text))


def parse(text: str) -> Credential | None:
    """Parse a key as sent; None if its form or checksum is wrong."""
    if _SHAPE.fullmatch(text) is None:
        return None
    if text[-_CHECK_CHARS:] != _check(text[:-_CHECK_CHARS]):
        return None
    return _credential(text)


def before_colon(text: bytes) -> bytes:
    """Return the key in *text*, which may be `<key>:<anything>`: Jitsu's SDK sends such keys."""
    return text.partition(b":")[0]


def _credential(text: str) -> Credential:
    start = len(PREFIX) + 1
    key_id = text[start : start + _ID_CHARS]
    return Credential(key_id, hashlib.sha256(text.encode("ascii")).digest())


def _random(chars: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(chars))


def _check(body: str) -> str:
    rest, low = divmod(zlib.crc32(body.encode("ascii")), len(_PAIRS))
    high, middle = divmod(rest, len(_PAIRS))
    return _PAIRS[high] + _PAIRS[middle] + _PAIRS[low]
