"""
The content of one event as a JSON object, for quarantine.

The JSON is not used to compare events: two events with the same id have the same content if their
hashes (`payload_hash`) are equal.
"""

from datetime import datetime
from typing import Final

import msgspec

from service._native import content_names

_NULL: Final = msgspec.Raw(b"null")
_NAMES: Final = tuple(content_names())
_DECODER: Final = msgspec.json.Decoder(list[msgspec.Raw])


def as_object(content: bytes, event_id: str | None, sent_at: str | datetime | None) -> bytes:
    """
    Return an event as a JSON object that can be sent again.

    *content* is `Row.content`. Raises msgspec.DecodeError if it is not a JSON array, and ValueError
    if it has another number of values.
    """
    members: dict[str, object] = {
        name: value
        for name, value in zip(_NAMES, _DECODER.decode(content), strict=True)
        if value != _NULL
    }
    extra = members.pop("extra", None)
    if event_id is not None:
        members["event_id"] = event_id
    if sent_at is not None:
        members["sent_at"] = sent_at
    if isinstance(extra, msgspec.Raw):
        members |= msgspec.json.decode(extra, type=dict[str, msgspec.Raw])
    return msgspec.json.encode(members)
