"""All that is done to an event before it is stored, beside what a decoder alone would cost."""

from typing import Final

import msgspec

from bench.micro.conftest import Gate
from tests.doubles import Sender

# By events a body: 1 has the cost of a request to itself. Seen: 0.2 and 0.66 on two shared cores.
AT_LEAST: Final = {1: 0.08, 50: 0.25}


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


def test_an_event_is_checked_hashed_and_encoded_for_a_few_decodes(
    gate: Gate, body: bytes, events: int
) -> None:
    sender = Sender()
    decoder = msgspec.json.Decoder(Decoded)
    batch = msgspec.json.decode(body, type=dict[str, msgspec.Raw])["batch"]
    slices = [bytes(event) for event in msgspec.json.decode(batch, type=list[msgspec.Raw])]

    gate(
        lambda: sender.check_body(body),
        lambda: [decoder.decode(event) for event in slices],
        AT_LEAST[events],
    )
