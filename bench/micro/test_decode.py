"""All that is done to an event before it is stored, beside what a decoder alone would cost."""

from typing import Final

import msgspec

from bench.micro.conftest import Gate
from service.testing import Sender

AT_LEAST: Final = 0.03


class Decoded(msgspec.Struct, gc=False, rename="camel"):
    """The typed fields; documents stay bytes."""

    type: str
    message_id: str
    timestamp: str
    event: str | None = None
    name: str | None = None
    category: str | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    group_id: str | None = None
    previous_id: str | None = None
    properties: msgspec.Raw = msgspec.Raw()
    traits: msgspec.Raw = msgspec.Raw()
    context: msgspec.Raw = msgspec.Raw()


def test_an_event_is_checked_hashed_and_encoded_for_a_few_decodes(gate: Gate, body: bytes) -> None:
    sender = Sender()
    decoder = msgspec.json.Decoder(Decoded)
    events = msgspec.json.decode(body, type=dict[str, msgspec.Raw])["batch"]
    slices = [bytes(event) for event in msgspec.json.decode(events, type=list[msgspec.Raw])]

    gate(
        lambda: sender.check_body(body),
        lambda: [decoder.decode(event) for event in slices],
        AT_LEAST,
    )
