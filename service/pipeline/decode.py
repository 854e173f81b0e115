"""The msgspec decoder of an event, built once, and the reading of its times."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from service.model import RawEvent

_DECODER: Final = msgspec.json.Decoder(RawEvent)
_NULL: Final = b"null"


def decode_event(content: bytes) -> RawEvent:
    """Decode the canonical content of one event, on its own slice."""
    return _DECODER.decode(content)


def document(raw: msgspec.Raw) -> bytes | None:
    """Return the bytes of a JSON document as sent; None for null."""
    data = bytes(raw)
    return None if data == _NULL else data


def parse_time(text: str) -> datetime | None:
    """
    Read an ISO 8601 time; None when it is not one.

    A time without an offset is UTC. Digits past the microsecond are cut.
    """
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def merge_documents(outer: bytes | None, inner: bytes | None) -> bytes | None:
    """Return the members of both JSON objects; where both have one, *inner*'s."""
    if outer is None or inner is None:
        return inner or outer
    merged = msgspec.json.decode(outer, type=dict[str, msgspec.Raw])
    merged |= msgspec.json.decode(inner, type=dict[str, msgspec.Raw])
    return msgspec.json.encode(merged)
