# ruff: noqa: PYI021 - this stub is the core's contract, and the docs are part of it
"""
The native core: bytes and numbers in, values out.

It has no clock, does no I/O, and no input makes it panic. This stub is its contract.
Times are microseconds since 1970, UTC, unless a name says otherwise.
"""

from typing import Final, Protocol, Self, final, type_check_only

__all__ = [
    "Malformed",
    "Plan",
    "RequestIds",
    "Row",
    "RowIds",
    "Rows",
    "Scan",
    "Violation",
    "__version__",
    "content_names",
    "event_columns",
    "is_same_content",
    "scan_batch",
    "scan_event",
    "sha256",
    "violation_codes",
]

__version__: Final[str]

# --- ids ------------------------------------------------------------------------------------------

@final
class RequestIds:
    """Request ids: 64 random bits each. One object repeats none in 2**64 calls."""

    def __new__(cls, seed: int) -> Self:
        """*seed*: 64 random bits. Raises OverflowError for a number that does not fit them."""

    def take(self) -> tuple[int, str]:
        """Return the next id: as a signed 64-bit number, and as 13 characters of base36."""

@final
class RowIds:
    """
    The ids of one worker's rows, and event ids for events that came without one.

    A row id is a counter of 63 bits, never negative; 0 follows after 2**63 - 1. A minted event id
    is 20 characters of 0-9a-z from SHA-256 of the secret, the row id and the arrival: 103 bits.
    """

    def __new__(cls, start: int, secret: bytes) -> Self:
        """
        Count from *start*, of which the low 63 bits are used.

        Both arguments must be random, and new in each process. Raises ValueError unless *secret*
        has 32 bytes, and OverflowError unless *start* fits 64 bits.
        """

# --- hashes ---------------------------------------------------------------------------------------

def sha256(content: bytes) -> bytes:
    """Return the SHA-256 of *content*, 32 bytes. For short input four times as fast as hashlib."""

def is_same_content(stored: int, given: int) -> bool:
    """
    Tell whether two `payload_hash` values may stand for the same content.

    Hashes of different versions cannot be compared and count as the same.
    """

# --- bodies ---------------------------------------------------------------------------------------

def scan_event(body: bytes, event_type: str) -> Scan | Malformed:
    """
    Scan a body that is one event of *event_type*.

    Raises ValueError if *event_type* is not one of the six types; no *body* raises.
    """

def scan_batch(body: bytes, events_max: int) -> Scan | Malformed:
    """
    Scan a body of many events: `{"batch": […], "sentAt": …, "context": {…}, "writeKey": …}`.

    Events after the first *events_max* are only counted, and checked to be JSON. No *body* raises.
    """

def violation_codes() -> list[str]:
    """Return every code of a `Violation` or a `Malformed`, sorted."""

@final
class Scan:
    """A body that is JSON, with the result of every check of its events."""

    @property
    def write_key(self) -> str | None:
        """The `writeKey` of the batch, or of the single event, if it is text."""

    @property
    def count(self) -> int:
        """The number of events, those after `events_max` included."""

    def rows(self, ids: RowIds, arrival: Arrival) -> tuple[Rows, list[tuple[int, int, Violation]]]:
        """
        Make the rows of the events; each event takes one id of *ids*.

        Returns the rows, and for each event without a row: its index in the body, the id that its
        row would have had, and the reason. Raises OverflowError for a number of *arrival* that does
        not fit 64 bits.
        """

@type_check_only
class Arrival(Protocol):
    """What is the same for every event of one request."""

    @property
    def tenant_id(self) -> int: ...
    @property
    def workspace_id(self) -> int: ...
    @property
    def key_id(self) -> str: ...
    @property
    def request_id(self) -> int: ...
    @property
    def received_at_us(self) -> int: ...
    @property
    def schema_version(self) -> str: ...

@final
class Violation:
    """Why one event is refused."""

    @property
    def code(self) -> str:
        """One of `violation_codes()`."""

    @property
    def field(self) -> str | None:
        """The wrong member, as the client spelled it; None if the event is not an object."""

    @property
    def message(self) -> str:
        """A sentence with the field, the limit and the value that was found."""

    @property
    def event_id(self) -> str | None:
        """The event's id, if it has a valid one."""

    @property
    def payload(self) -> bytes:
        """
        The event as it was sent, with `"***"` in place of secrets.

        These are the value of its own `writeKey`, and values of unknown members that have the form
        of an API key.
        """

@final
class Malformed:
    """Why a whole body is refused."""

    @property
    def code(self) -> str:
        """One of `violation_codes()`."""

    @property
    def field(self) -> str | None:
        """The wrong member of the envelope."""

    @property
    def message(self) -> str:
        """A sentence with what was expected and what was found."""

    @property
    def offset(self) -> int | None:
        """The offset of the error in the body, in bytes from 0."""

    @property
    def limit(self) -> int | None:
        """The limit that was exceeded."""

    @property
    def actual(self) -> int | str | None:
        """The value that was found instead, if it has a name."""

# --- rows -----------------------------------------------------------------------------------------

def event_columns() -> list[str]:
    """Return the columns of `events`, in the order in which rows are written."""

def content_names() -> list[str]:
    """Return the names of the values of `Row.content`, in order; the last is `extra`."""

@final
class Rows:
    """
    Rows of one payload, or a part of them.

    Each row has its ledger key, its content hash, and its bytes for COPY.
    """

    def __len__(self) -> int: ...
    @property
    def key_id(self) -> str:
        """The API key that sent the payload."""

    @property
    def received_at_us(self) -> int:
        """The arrival of the payload."""

    @property
    def size_bytes(self) -> int:
        """The memory of the whole payload's rows, in bytes."""

    @property
    def types(self) -> dict[str, int]:
        """The number of rows by event type in the whole payload, without types that have none."""

    @property
    def ids(self) -> list[int]:
        """The row ids, in order."""

    @property
    def event_ids(self) -> list[str]:
        """The event ids, in order: from the client, or minted."""

    def accepted(self) -> bytes:
        """Return the results for rows that are all new: a JSON array, as the answer has it."""

    def all(self) -> list[Row]:
        """Return each row as an object. Costs more than 1 us a row."""

    def part(self, start: int, stop: int) -> Rows:
        """Return the rows from *start* up to *stop*, as a slice does."""

    def copy_data(self) -> bytes:
        """Return the rows as a stream of COPY in its binary form: sorted, without duplicates."""

@final
class Row:
    """One event that passed every check."""

    @property
    def id(self) -> int: ...
    @property
    def tenant_id(self) -> int: ...
    @property
    def workspace_id(self) -> int: ...
    @property
    def key_id(self) -> str: ...
    @property
    def event_key(self) -> bytes:
        """The key in the ledger: the first 16 bytes of SHA-256 of the event id in UTF-8."""

    @property
    def payload_hash(self) -> int:
        """
        A hash of the workspace and the content: 4 bits of version, then 60 of hash; never negative.

        It covers the instants of the times. White space, escapes and the order of members in
        documents and unknown members do not change it; of members with one name the last counts.
        Numbers are compared by their digits: 1.0 is not 1.
        """

    @property
    def event_id(self) -> str: ...
    @property
    def content(self) -> bytes:
        """
        The canonical content: a JSON array with a value for each of `content_names()`.

        The same for every spelling and every escape. A missing value is null. Texts have the fewest
        escapes possible, and a number that is an id is text, digit by digit. Documents are the
        bytes as sent; extra is an object of the unknown members as sent, without those whose value
        has the form of an API key; null if there are none.
        """

    @property
    def request_id(self) -> int: ...
    @property
    def sent_at_us(self) -> int | None:
        """When it was sent, by the sender's clock."""

    @property
    def received_at_us(self) -> int: ...

@final
class Plan:
    """
    The rows of one flush: the first row of each key, in the order that all writers use.

    The other rows with the same keys are duplicates. They are not written.
    """

    def __new__(cls, parts: list[Rows]) -> Self: ...
    def __len__(self) -> int:
        """Return the number of keys."""

    @property
    def has_duplicates(self) -> bool:
        """Whether two rows have the same key."""

    def ledger_rows(self, oid: int) -> bytes:
        """Return the ledger rows as a binary array; *oid* is that of the type `ledger_row_vN`."""

    def event_rows(self, oid: int) -> bytes:
        """Return the event rows as a binary array; *oid* is that of the type `event_row_vN`."""

    def copy_data(self, ids: list[int]) -> bytes:
        """Return the rows as a stream of COPY in its binary form, without those with *ids*."""

    def not_inserted(self, ids: list[int]) -> list[Row]:
        """Return the rows that were not inserted: those with *ids*, then every duplicate."""
