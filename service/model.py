"""The data that edge, pipeline and store pass to each other. No behaviour, no I/O."""

import enum
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from typing import Final, overload

import msgspec

from service._native import Rows
from service.reasons import Reason, RefusedError

EVENT_TYPES: Final = ("track", "identify", "page", "screen", "group", "alias")


class Limits(msgspec.Struct, frozen=True):
    """
    How much one request may hold: decoded bytes of its body, and events.

    `events_per_second`: how many the key may send in all its requests; 0: no limit.
    """

    bytes_max: int
    events_max: int
    events_per_second: int = 0


SEGMENT: Final = Limits(bytes_max=512 * 1024, events_max=2_500)
"""What the API of Segment takes in one request, and what its SDKs send."""

PROFILE_LIMITS: Final[dict[str, Limits | None]] = {
    "default": None,
    "segment": SEGMENT,
    # RudderStack's SDKs for servers send up to 4 MB by default.
    "rudderstack": Limits(bytes_max=4 * 1024 * 1024, events_max=2_500),
}
"""Limits of each profile of an API key, rising. None: the settings of the service apply."""


class ApiKey(msgspec.Struct, frozen=True):
    """
    A key as stored. For a limit of None the setting of the service applies.

    `events_per_second`: 0 for no limit. `is_disabled`: the key has expired or was revoked, or its
    tenant is disabled. `expires_at`: the planned time of the first of these; None: none of them is
    planned.
    """

    key_id: str
    tenant_id: int
    workspace_id: int
    secret_sha256: bytes
    events_max: int | None
    bytes_max: int | None
    events_per_second: int | None
    expires_at: datetime | None
    is_disabled: bool


class RejectedRow(msgspec.Struct, frozen=True, gc=False):
    """A rejected event to be stored in quarantine; `payload` is the event as sent."""

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
    key_id: str


class Outcome(enum.StrEnum):
    """The result for one event."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    REJECTED = "rejected"


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The outcome of one event, with the fields of its JSON in the answer."""

    event_id: str | None
    status: Outcome
    code: Reason | None = None
    field: str | None = None
    message: str | None = None


class AcceptedVerdicts(Sequence[Verdict]):
    """The verdicts of events that are all accepted. Verdict objects are created on access only."""

    def __init__(self, events: Rows) -> None:
        self._events = events

    def __len__(self) -> int:
        return len(self._events)

    @overload
    def __getitem__(self, index: int) -> Verdict: ...
    @overload
    def __getitem__(self, index: slice) -> list[Verdict]: ...
    def __getitem__(self, index: int | slice) -> Verdict | list[Verdict]:
        if isinstance(index, int):
            return Verdict(self._events.event_ids[index], Outcome.ACCEPTED)
        return [Verdict(event_id, Outcome.ACCEPTED) for event_id in self._events.event_ids[index]]

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self[:])

    def to_json(self) -> bytes:
        """Return the verdicts as a JSON array."""
        return self._events.accepted()


class Payload(msgspec.Struct, frozen=True):
    """
    The rows of one request: event rows, and rejected events for quarantine.

    `size_bytes`: memory of the rows. `rows`: their number, but at least 1. `key_id`: of the API key
    that sent them; keys share the queue.
    """

    events: Rows
    rejected: list[RejectedRow]
    size_bytes: int
    rows: int
    key_id: str


WriteResult = Sequence[Verdict] | RefusedError
"""The result for one payload: a verdict per event row, or the error if it could not be stored."""

Write = Callable[[list[Payload], float], Awaitable[Sequence[WriteResult]]]
"""Stores payloads in one flush, until a deadline (monotonic seconds). Returns a result for each."""


class WorkerState(msgspec.Struct):
    """
    Whether a worker is being replaced or stopped. One object per worker.

    `is_leaving`: the worker is being replaced; it closes each connection after the next answer.
    `is_draining`: the worker is stopping; it finishes the requests that it has.
    """

    is_leaving: bool = False
    is_draining: bool = False
