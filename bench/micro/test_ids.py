"""Ids are cheap: one a request, one an event."""

import json
import uuid
from typing import Final

from bench.micro.conftest import Gate
from service import _native
from service.pipeline.check import Arrival, random_row_ids

ARRIVAL: Final = Arrival(1, 1, "key", 1, "1.0", 1_800_000_000_000_000)
EVENTS: Final = 50
# Seen: 18 and 10 on two shared cores.
REQUEST_IDS_AT_LEAST: Final = 6.0
MINTED_IDS_AT_LEAST: Final = 4.0


def test_a_request_id_and_its_text_are_cheaper_than_a_uuid(gate: Gate) -> None:
    ids = _native.RequestIds(seed=1)

    gate(ids.take, lambda: str(uuid.uuid4()), REQUEST_IDS_AT_LEAST)


def test_minted_event_ids_are_cheaper_than_uuids(gate: Gate) -> None:
    """Of a batch without ids all is made, rows included; of the reference its ids alone."""
    ids = random_row_ids()
    batch = json.dumps({"batch": [{"type": "page"}] * EVENTS}).encode()
    scanned = _native.scan_batch(batch, EVENTS)
    assert isinstance(scanned, _native.Scan)

    gate(
        lambda: scanned.rows(ids, ARRIVAL),
        lambda: [str(uuid.uuid4()) for _ in range(EVENTS)],
        MINTED_IDS_AT_LEAST,
    )
