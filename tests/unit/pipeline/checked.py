"""Helpers that check one event, and return its stored columns or its quarantine row."""

from collections.abc import Sequence
from typing import Any

from service.model import RejectedRow
from tests.doubles import Sender
from tests.pgcopy import read_copy


def only(rows: Sequence[Any]) -> Any:
    (row,) = rows
    return row


def rejected(sender: Sender, event: Any, **envelope: Any) -> RejectedRow:
    payload = sender.check(event, **envelope).payload
    assert 0 == len(payload.events)
    row: RejectedRow = only(payload.rejected)
    return row


def accepted(sender: Sender, event: Any, **envelope: Any) -> dict[str, Any]:
    """Return the stored columns of *event*, and its hash."""
    payload = sender.check(event, **envelope).payload
    assert payload.rejected == []
    row: dict[str, Any] = only(read_copy(payload.events.copy_data()))
    return row | {"payload_hash": only(payload.events.all()).payload_hash}
