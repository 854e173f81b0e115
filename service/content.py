"""
The content of one event: the core's canonical form, decoded, and written as JSON again.

Canonical is what the core makes of an event (service/_native.pyi): an array with a fixed place for
each field, the same for every spelling a sender may use. Whether two events with one id have the
same content is told by their hashes (`payload_hash`), not by these bytes.
"""

from datetime import datetime
from typing import Final

import msgspec

_NULL: Final = msgspec.Raw(b"null")


class RawEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """
    What a sender said about one event.

    The texts are checked, the four documents are JSON exactly as sent.
    """

    type: str
    event: str | None
    user_id: str | None
    anonymous_id: str | None
    group_id: str | None
    previous_id: str | None
    name: str | None
    category: str | None
    timestamp: str | None
    original_timestamp: str | None
    properties: msgspec.Raw
    traits: msgspec.Raw
    context: msgspec.Raw
    extra: msgspec.Raw


_DECODER: Final = msgspec.json.Decoder(RawEvent)


def decode_event(content: bytes) -> RawEvent:
    """Decode the canonical content of one event, on its own slice."""
    return _DECODER.decode(content)


def as_object(raw: RawEvent, event_id: str | None, sent_at: str | datetime | None) -> bytes:
    """Return the event as a JSON object again, ready to be sent once more."""
    members: dict[str, object] = {
        name: value
        for name in raw.__struct_fields__
        if name != "extra" and (value := getattr(raw, name)) not in (None, _NULL)
    }
    if event_id is not None:
        members["event_id"] = event_id
    if sent_at is not None:
        members["sent_at"] = sent_at
    if raw.extra != _NULL:
        members |= msgspec.json.decode(raw.extra, type=dict[str, msgspec.Raw])
    return msgspec.json.encode(members)
