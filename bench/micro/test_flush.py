"""What the payloads of a flush become: the ledger's rows and the stream of COPY."""

import json
from typing import Final

from bench.events import EventMaker
from bench.micro import encoder
from bench.micro.conftest import SEED, Gate
from service import _native
from tests.doubles import NOON, Sender

PAYLOADS: Final = 10
EVENTS: Final = 50
# Any type's number will do: it is written, not looked up.
TYPE_OID: Final = 100_000
# Seen: 15 on two shared cores, and 5 where the allocator gives its pages back after each flush.
AT_LEAST: Final = 2.0


def test_a_flush_is_joined_faster_than_plain_python_joins_it(gate: Gate) -> None:
    sender, maker = Sender(), EventMaker(SEED)
    bodies = [json.dumps(maker.batch(EVENTS)).encode() for _ in range(PAYLOADS)]
    parts = [sender.check_body(body).payload.events for body in bodies]
    made = [encoder.rows(body, NOON, 1) for body in bodies]

    def flush() -> tuple[bytes, bytes]:
        plan = _native.Plan(parts)
        return plan.ledger(TYPE_OID), plan.copy([])

    gate(flush, lambda: encoder.flush(made, NOON), AT_LEAST)
