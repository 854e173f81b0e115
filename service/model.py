"""The data that the rooms hand to each other. No behaviour, no I/O."""

import enum
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from service.content import RawEvent
from service.reasons import Reason, Refusal

EVENT_TYPES: Final = ("track", "identify", "page", "screen", "group", "alias")


class Limits(msgspec.Struct, frozen=True):
    """How much one request may hold: decoded bytes, and events."""

    bytes_max: int
    events_max: int


class ApiKey(msgspec.Struct, frozen=True):
    """A key as the store knows it; a limit of None means the service's own."""

    key_id: str
    tenant_id: int
    workspace_id: int
    secret_sha256: bytes
    events_max: int | None
    bytes_max: int | None
    expires_at: datetime | None
    is_disabled: bool


class EventRow(msgspec.Struct, frozen=True, gc=False):
    """One event that passed every check, as it will be stored. Times are UTC."""

    id: int
    tenant_id: int
    workspace_id: int
    key_id: str
    event_key: bytes
    payload_hash: int
    event_id: str
    raw: RawEvent
    properties: bytes | None
    traits: bytes | None
    context: bytes | None
    extra: bytes | None
    schema_version: str
    request_id: int
    original_timestamp: datetime | None
    sent_at: datetime | None
    received_at: datetime
    timestamp: datetime


class RejectedRow(msgspec.Struct, frozen=True, gc=False):
    """One refused event on its way to quarantine; `payload` is what was sent."""

    id: int
    tenant_id: int
    workspace_id: int
    event_id: str | None
    code: Reason
    field: str | None
    message: str
    payload: bytes
    request_id: int
    received_at: datetime


class Outcome(enum.StrEnum):
    """How one event ended."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    REJECTED = "rejected"


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The answer for one event, in the shape it has on the wire."""

    event_id: str | None
    status: Outcome
    code: Reason | None = None
    field: str | None = None
    message: str | None = None


class Payload(msgspec.Struct, frozen=True):
    """
    What one request brings to the store.

    `size_bytes` is about what its rows hold: the decoded body, and the batch's context in each row.
    """

    events: list[EventRow]
    rejected: list[RejectedRow]
    size_bytes: int

    @property
    def rows(self) -> int:
        """The number of rows, at least one: an empty payload takes its place in the queue too."""
        return len(self.events) + len(self.rejected) or 1


Written = list[Verdict] | Refusal
"""What became of one payload: a verdict per event row, or why there is none."""

Write = Callable[[list[Payload], float], Awaitable[Sequence[Written]]]
"""Store payloads together before a deadline (monotonic seconds)."""
