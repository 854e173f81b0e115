"""Ids are cheap: one a request, one an event."""

import uuid
from typing import Final

from bench.micro.conftest import Gate
from service import _native

NOW_MS: Final = 1_800_000_000_000
EVENTS: Final = 50
# Seen: 18 and 126 on two shared cores.
REQUEST_IDS_AT_LEAST: Final = 6.0
ROW_IDS_AT_LEAST: Final = 30.0


def test_a_request_id_and_its_text_are_cheaper_than_a_uuid(gate: Gate) -> None:
    ids = _native.RequestIds(seed=1)

    gate(ids.take, lambda: str(uuid.uuid4()), REQUEST_IDS_AT_LEAST)


def test_the_row_ids_of_a_batch_are_cheaper_than_uuids(gate: Gate) -> None:
    ids = _native.RowIds(worker=1)

    gate(
        lambda: ids.take(NOW_MS, EVENTS),
        lambda: [uuid.uuid4() for _ in range(EVENTS)],
        ROW_IDS_AT_LEAST,
    )
