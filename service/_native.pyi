# ruff: noqa: PYI021 - this stub documents the core
"""
The native core: scans bodies, checks events, and encodes rows for PostgreSQL.

It has no clock, does no I/O, and no input makes it panic. This stub is its documentation.
Times are microseconds since 1970, UTC.
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
    """Generates request ids of 64 pseudorandom bits, without a repetition in 2**64 calls."""

    def __new__(cls, seed: int) -> Self:
        """*seed*: 64 random bits. Raises OverflowError if it is not an unsigned 64-bit number."""

    def take(self) -> tuple[int, str]:
        """Return the next id: as a signed 64-bit number, and as 13 characters of base36."""

@final
class RowIds:
    """
    Generates the row ids of one worker, and event ids for events without one.

    Row ids come from a 63-bit counter and are never negative; after 2**63 - 1 it continues with 0.
    A generated event id has 20 characters of 0-9a-z (103 bits) from the SHA-256 of the secret, the
    row id and the time of arrival.
    """

    def __new__(cls, start: int, secret: bytes) -> Self:
        """
        Start the counter at the low 63 bits of *start*.

        Both arguments must be random and generated in each process. Raises ValueError if *secret*
        does not have 32 bytes, and OverflowError if *start* is not an unsigned 64-bit number.
        """

# --- hashes ---------------------------------------------------------------------------------------

def sha256(content: bytes) -> bytes:
    """Return the SHA-256 of *content*, 32 bytes. Four times as fast as hashlib for short input."""

def is_same_content(stored: int, given: int) -> bool:
    """
    Return whether two values of `payload_hash` count as the same content.

    Hashes of different versions cannot be compared, and always count as the same content.
    """

# --- bodies ---------------------------------------------------------------------------------------

def scan_event(body: bytes, event_type: str) -> Scan | Malformed:
    """
    Scan a body that is one event of *event_type*.

    Raises ValueError if *event_type* is not one of the six types. Never raises because of *body*.
    """

def scan_batch(body: bytes, events_max: int) -> Scan | Malformed:
    """
    Scan a body with many events: `{"batch": […], "sentAt": …, "context": {…}, "writeKey": …}`.

    Events after the first *events_max* are counted, and checked only for valid JSON. Never raises
    because of *body*.
    """

def violation_codes() -> list[str]:
    """Return all codes that a `Violation` or a `Malformed` can have, sorted."""

@final
class Scan:
    """A scanned body, with the results of the checks of its events."""

    @property
    def write_key(self) -> str | None:
        """
        The `writeKey` of the batch or of the single event, if it is text that can be stored.

        If the batch has none, the `writeKey` of its events, unless they have different ones.
        """

    @property
    def has_different_keys(self) -> bool:
        """Whether the batch has no `writeKey` and its events have different ones."""

    @property
    def count(self) -> int:
        """The number of events in the body, including those after `events_max`."""

    @property
    def context_bytes(self) -> int:
        """
        Size of the batch's `context` as it is stored with each event; 0 without one.

        A number with an exponent counts with all its digits, as PostgreSQL returns it.
        """

    def rows(
        self, ids: RowIds, arrival: Arrival, clock_skew_min_us: int
    ) -> tuple[Rows, list[tuple[int, int, Violation]]]:
        """
        Make the rows of the valid events. Each event, valid or not, takes one id of *ids*.

        *clock_skew_min_us*: how much earlier than the arrival `sentAt` may be, in microseconds,
        before the sender's clock must be wrong and the time of the event is corrected.

        Returns the rows, and a tuple for each event without a row: its index in the body, the id
        that was reserved for its row, and the reason. Raises OverflowError if a number of *arrival*
        is not a signed 64-bit number.
        """

@type_check_only
class Arrival(Protocol):
    """The values that all events of one request share."""

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
    """The reason why one event is refused."""

    @property
    def code(self) -> str:
        """One of `violation_codes()`."""

    @property
    def field(self) -> str | None:
        """The invalid member, as the sender spelled it; None if the event is not an object."""

    @property
    def message(self) -> str:
        """A sentence with the field, the limit and the actual value."""

    @property
    def event_id(self) -> str | None:
        """The id of the event, if it has a valid id."""

    @property
    def payload(self) -> bytes:
        """
        The event as it was sent, with `"***"` in place of secrets.

        These are the value of its `writeKey`, and values of unknown members that have the form of
        an API key.
        """

@final
class Malformed:
    """The reason why a whole body is refused."""

    @property
    def code(self) -> str:
        """One of `violation_codes()`."""

    @property
    def field(self) -> str | None:
        """The invalid member of the envelope; None if the error has no member."""

    @property
    def message(self) -> str:
        """A sentence with the expected and the actual value."""

    @property
    def offset(self) -> int | None:
        """The position of the error in the body, in bytes from 0; None if it has no position."""

    @property
    def limit(self) -> int | None:
        """The limit that was exceeded; None for another error."""

    @property
    def actual(self) -> int | str | None:
        """The actual size or kind; None if the message alone describes it."""

# --- rows -----------------------------------------------------------------------------------------

def event_columns() -> list[str]:
    """Return the names of the columns of `events`, in the order in which rows have them."""

def content_names() -> list[str]:
    """Return the names of the values in `Row.content`, in order. The last one is `extra`."""

@final
class Rows:
    """
    All or some of the rows of a payload.

    Each row has a ledger key, a content hash, and its bytes for COPY.
    """

    def __len__(self) -> int: ...
    @property
    def key_id(self) -> str:
        """The id of the API key that sent the payload."""

    @property
    def received_at_us(self) -> int:
        """The time of arrival of the payload, in microseconds since 1970."""

    @property
    def size_bytes(self) -> int:
        """The memory of all rows of the payload in bytes, even if this object is a part."""

    @property
    def types(self) -> dict[str, int]:
        """The number of rows of the whole payload by event type; types without rows are missing."""

    @property
    def ids(self) -> list[int]:
        """The row ids, in order."""

    @property
    def event_ids(self) -> list[str]:
        """The event ids, in order: from the sender, or generated."""

    def accepted(self) -> bytes:
        """Return the results for an answer that accepts all rows: a JSON array."""

    def all(self) -> list[Row]:
        """Return an object for each row. Costs more than 1 us per row."""

    def part(self, start: int, stop: int) -> Rows:
        """Return the rows from index *start* up to but not including *stop*, as a slice does."""

    def copy_data(self) -> bytes:
        """Return the rows as a binary COPY stream: sorted by key, without duplicates."""

@final
class Row:
    """One event that passed all checks."""

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
        """The key in the ledger: the first 16 bytes of the SHA-256 of the event id in UTF-8."""

    @property
    def payload_hash(self) -> int:
        """
        A hash of the workspace and the content: 4 bits of version, 60 bits of hash; never negative.

        It does not depend on the form of times, white space, escapes, and the order of members. If
        members of a document have the same name, the last one counts. Numbers are compared by their
        digits: 1.0 and 1 are different.
        """

    @property
    def event_id(self) -> str: ...
    @property
    def content(self) -> bytes:
        """
        The canonical content: a JSON array with a value for each of `content_names()`.

        It does not depend on the spelling of fields and on escapes in texts. A missing value is
        null. Texts have as few escapes as possible. An id that is a number is text with the same
        digits; a time that is a number stays one. Documents are the bytes as sent. extra is an
        object with the unknown members as sent, without those whose value has the form of an API
        key, or null if there are none.
        """

    @property
    def request_id(self) -> int: ...
    @property
    def sent_at_us(self) -> int | None:
        """The time of sending by the sender's clock, in microseconds since 1970."""

    @property
    def received_at_us(self) -> int: ...

@final
class Plan:
    """
    The rows of one flush: the first row of each key, in the order that all flushes use.

    Other rows with the same key are duplicates, which are not written.
    """

    def __new__(cls, parts: list[Rows]) -> Self: ...
    def __len__(self) -> int:
        """Return the number of keys."""

    @property
    def has_duplicates(self) -> bool:
        """Whether there are rows with the same key."""

    def ledger_rows(self, oid: int) -> bytes:
        """Return the ledger rows as a binary array; *oid*: OID of the type `ledger_row_vN`."""

    def event_rows(self, oid: int) -> bytes:
        """Return the event rows as a binary array; *oid*: OID of the type `event_row_vN`."""

    def copy_data(self, ids: list[int]) -> bytes:
        """Return the rows as a binary COPY stream, without the rows that have one of *ids*."""

    def not_inserted(self, ids: list[int]) -> list[Row]:
        """Return the rows that were not inserted: rows with one of *ids*, then all duplicates."""
