"""The data that the rooms hand to each other. No behaviour, no I/O."""

import enum
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from typing import Final, overload

import msgspec

from service._native import Rows
from service.reasons import Reason, Refusal

EVENT_TYPES: Final = ("track", "identify", "page", "screen", "group", "alias")


class Limits(msgspec.Struct, frozen=True):
    """How much one request may hold: decoded bytes, and events."""

    bytes_max: int
    events_max: int


class ApiKey(msgspec.Struct, frozen=True):
    """
    A key as stored; for a limit of None the setting of the service applies.

    `is_disabled`: the key has expired or was revoked, or its tenant is disabled. `expires_at`: when
    the first of these will happen; None: none of them is planned.
    """

    key_id: str
    tenant_id: int
    workspace_id: int
    secret_sha256: bytes
    events_max: int | None
    bytes_max: int | None
    expires_at: datetime | None
    is_disabled: bool


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


class Accepted(Sequence[Verdict]):
    """The verdicts of rows that are all new: made only for who looks at one."""

    def __init__(self, events: Rows) -> None:
        self._events = events

    def __len__(self) -> int:
        return len(self._events)

    @overload
    def __getitem__(self, place: int) -> Verdict: ...
    @overload
    def __getitem__(self, place: slice) -> list[Verdict]: ...
    def __getitem__(self, place: int | slice) -> Verdict | list[Verdict]:
        if isinstance(place, int):
            return Verdict(self._events.event_ids[place], Outcome.ACCEPTED)
        return [Verdict(event_id, Outcome.ACCEPTED) for event_id in self._events.event_ids[place]]

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self[:])

    def on_the_wire(self) -> bytes:
        """Return them as a JSON array."""
        return self._events.accepted()


class Payload(msgspec.Struct, frozen=True):
    """
    What one request brings to the store.

    `size_bytes` is what its rows take in memory; `rows` is their number, at least one, as an empty
    payload takes its place in the queue too.
    """

    events: Rows
    rejected: list[RejectedRow]
    size_bytes: int
    rows: int


Written = Sequence[Verdict] | Refusal
"""What became of one payload: a verdict per event row, or why there is none."""

Write = Callable[[list[Payload], float], Awaitable[Sequence[Written]]]
"""Store payloads together before a deadline (monotonic seconds)."""
