"""
The speed of the native core compared with plain Python and its libraries.

If these tests fail: a service on the same machine stores fewer events per second than before, and
answers its senders later.
"""

import json
import uuid
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import pytest

from bench.micro import encoder
from bench.micro.conftest import CLOCK_SKEW_MIN_US, Check, Gate, make_body
from service import _native
from service.pipeline.check import Arrival, random_row_ids, scan

NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
FLUSH_BODIES: Final = 10
BATCH_EVENTS: Final = 50
# Any OID: it is written, not looked up.
TYPE_OID: Final = 100_000

# Minimum speed as a multiple of the reference; comments: measured on two shared cores.
GUARD_MIN: Final = 3.0  # 6 to 8
DECODE_MIN: Final = {1: 0.08, 50: 0.25}  # by number of events in a body; measured: 0.2, 0.66
ROWS_MIN: Final = {1: 4.0, 50: 15.0}  # by number of events in a body; measured: 9, 40
FLUSH_MIN: Final = 2.0  # 15, and 5 where the allocator returns its pages after each flush
REQUEST_IDS_MIN: Final = 6.0  # 18
EVENT_IDS_MIN: Final = 4.0  # 10

both_sizes = pytest.mark.parametrize("events", [1, 50], ids=["1 event", "50 events"])


class DecodedEvent(msgspec.Struct, gc=False, rename="camel"):
    """An event with typed fields; documents are not decoded."""

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


@both_sizes
def test_the_guard_is_faster_than_a_parser_that_builds_dicts(gate: Gate, events: int) -> None:
    body = make_body(events)

    gate(lambda: scan(body, None, events), lambda: json.loads(body), GUARD_MIN)


@both_sizes
def test_checking_hashing_and_encoding_an_event_costs_a_few_times_its_decoding(
    gate: Gate, check: Check, events: int
) -> None:
    body = make_body(events)
    decoder = msgspec.json.Decoder(DecodedEvent)
    batch = msgspec.json.decode(body, type=dict[str, msgspec.Raw])["batch"]
    slices = [bytes(event) for event in msgspec.json.decode(batch, type=list[msgspec.Raw])]

    gate(lambda: check(body), lambda: [decoder.decode(one) for one in slices], DECODE_MIN[events])


@both_sizes
def test_rows_are_encoded_faster_than_by_plain_python(
    gate: Gate, check: Check, events: int
) -> None:
    body = make_body(events)

    gate(lambda: check(body), lambda: encoder.rows(body, NOW, 1), ROWS_MIN[events])


def test_a_flush_is_assembled_faster_than_by_plain_python(gate: Gate, check: Check) -> None:
    bodies = [make_body(BATCH_EVENTS, seed) for seed in range(FLUSH_BODIES)]
    parts = [check(body).payload.events for body in bodies]
    made = [encoder.rows(body, NOW, 1) for body in bodies]

    def flush() -> tuple[bytes, bytes]:
        plan = _native.Plan(parts)
        return plan.ledger_rows(TYPE_OID), plan.copy_data([])

    gate(flush, lambda: encoder.flush(made, NOW), FLUSH_MIN)


def test_a_request_id_and_its_text_are_cheaper_than_a_uuid(gate: Gate) -> None:
    ids = _native.RequestIds(seed=1)

    gate(ids.take, lambda: str(uuid.uuid4()), REQUEST_IDS_MIN)


def test_generated_event_ids_are_cheaper_than_uuids(gate: Gate) -> None:
    """Time of all rows of a batch without ids, compared with the time of the UUIDs alone."""
    ids = random_row_ids()
    arrival = Arrival(1, 1, "key", 1, "1.0", 1_800_000_000_000_000)
    batch: dict[str, Any] = {"batch": [{"type": "page"}] * BATCH_EVENTS}
    scanned = _native.scan_batch(json.dumps(batch).encode(), BATCH_EVENTS)
    assert isinstance(scanned, _native.Scan)

    gate(
        lambda: scanned.rows(ids, arrival, CLOCK_SKEW_MIN_US),
        lambda: [str(uuid.uuid4()) for _ in range(BATCH_EVENTS)],
        EVENT_IDS_MIN,
    )
