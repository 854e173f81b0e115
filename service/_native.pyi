# ruff: noqa: PYI021 - this stub is the core's contract, and the docs are part of it
"""
The native core: bytes and numbers in, values out.

It has no clock and does no I/O, and no input makes it panic. This stub is its contract.
"""

from typing import Final, Protocol, Self, final, type_check_only

__all__ = [
    "BATCH_CONTEXT_BYTES_MAX",
    "CONTENT_HASH_VERSION",
    "ROW_ID_EPOCH_MS",
    "Event",
    "Malformed",
    "Plan",
    "RequestIds",
    "Row",
    "RowIds",
    "Rows",
    "Scan",
    "Violation",
    "__version__",
    "base36_decode",
    "base36_encode",
    "build_profile",
    "content_hash",
    "event_columns",
    "event_key",
    "is_same_content",
    "row_id_parts",
    "scan_batch",
    "scan_event",
    "sha256",
    "source_fingerprint",
    "violation_codes",
]

__version__: Final[str]

build_profile: Final[str]
"""`release` or `debug`; a benchmark refuses to measure the second."""

source_fingerprint: Final[str]
"""
FNV-1a of 64 bits over the sources it was built from, in 16 hexadecimal digits.

For each of native/src/**/*.rs, native/build.rs, native/Cargo.toml, Cargo.toml and Cargo.lock,
sorted by their path from the repository's root: the path, a NUL, the content, a NUL.
"""

# --- ids ------------------------------------------------------------------------------------------

def base36_encode(value: int) -> str:
    """
    Write 64 bits as 13 characters of 0-9a-z, which sort as the numbers do.

    Raises OverflowError below 0 and from 2**64 on.
    """

def base36_decode(text: str) -> int:
    """
    Read what `base36_encode` wrote.

    Raises ValueError, which says what is wrong, for any other text.
    """

@final
class RequestIds:
    """64 random bits for each request, which no other one of this object gets in 2**64 steps."""

    def __new__(cls, seed: int) -> Self:
        """*seed* is 64 bits from the operating system: the core asks nobody for anything."""

    def take(self) -> tuple[int, str]:
        """Give the next id: as the signed number that a bigint holds, and as base36 text."""

ROW_ID_EPOCH_MS: Final[int]
"""2024-01-01T00:00:00Z: row ids count milliseconds from here, and end in 2093."""

@final
class RowIds:
    """
    The row ids of one worker: 63 bits, never negative, in the order of time.

    41 bits of milliseconds since the epoch, 10 of worker, 12 of counter.
    """

    def __new__(cls, worker: int) -> Self:
        """*worker* is 0 to 1023, held by nobody else at this time; else ValueError."""

    def take(self, now_ms: int, count: int) -> list[int]:
        """
        *count* ids, each above all that this object ever gave.

        A clock that steps back keeps the last millisecond, and a full counter borrows the next one.
        Raises ValueError when *now_ms* is before the epoch or *count* is not 0 to 2**20, and
        OverflowError when the 41 bits are used up.
        """

def row_id_parts(id: int) -> tuple[int, int, int]:  # noqa: A002 - the glossary's word
    """
    Milliseconds since 1970, worker and counter of a row id.

    Raises ValueError for a negative number.
    """

# --- hashes ---------------------------------------------------------------------------------------

def event_key(event_id: str) -> bytes:
    """Make the key of an event in the ledger: the first 16 bytes of SHA-256 of its UTF-8."""

def sha256(content: bytes) -> bytes:
    """Give SHA-256 as `hashlib` does, for a quarter of the price where bytes are few."""

CONTENT_HASH_VERSION: Final[int]
"""Raised whenever the canonical content of the same event changes."""

def content_hash(workspace_id: int, content: bytes) -> int:
    """
    Hash the canonical content of an event.

    4 bits of version, then 60 of xxh3 with the workspace as its seed: a positive bigint.
    """

def is_same_content(stored: int, given: int) -> bool:
    """
    Whether two hashes may stand for the same content.

    Hashes of different versions cannot be compared, and count as the same.
    """

# --- the guard ------------------------------------------------------------------------------------

def scan_event(body: bytes, event_type: str) -> Scan | Malformed:
    """
    Check a body that is one event of *event_type*.

    Raises ValueError for an *event_type* that is not one of the six; never for a body.
    """

def scan_batch(body: bytes, events_max: int) -> Scan | Malformed:
    """
    Check a body of many events: `{"batch": […], "sentAt": …, "context": {…}, "writeKey": …}`.

    What lies past the first *events_max* events is held to the grammar and counted, no more.
    Never raises for a body.
    """

BATCH_CONTEXT_BYTES_MAX: Final[int]
"""Of a batch's own context: it is stored with each event, so it must not multiply a request."""

def violation_codes() -> list[str]:
    """Every code that a `Violation` or a `Malformed` may carry, sorted."""

@final
class Scan:
    """What a body holds."""

    @property
    def write_key(self) -> str | None:
        """The envelope's `writeKey`, if it is text. Of one event's body: the event's."""

    @property
    def sent_at(self) -> str | None:
        """The envelope's `sentAt` or `sent_at`. Of one event's body None: it is on the event."""

    @property
    def context(self) -> bytes | None:
        """The batch's own context, an object's bytes as they were sent."""

    @property
    def count(self) -> int:
        """Events seen, also those past the limit."""

    @property
    def events(self) -> list[Event | Violation]:
        """The events up to the limit, in order; made each time that somebody asks."""

    def rows(self, ids: RowIds, arrival: Arrival) -> tuple[Rows, list[tuple[int, int, Violation]]]:
        """
        Make what is stored of the events, with an id each.

        Beside it, for each event that has no row: which of the body's events it was, the id that
        it would have had, and why. Raises what `RowIds.take` raises.
        """

@type_check_only
class Arrival(Protocol):
    """What is true for every event of one request; times in microseconds since 1970."""

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
class Event:
    """An event that passed every check of the core."""

    @property
    def event_id(self) -> str | None:
        """The client's id; None when it was absent, null or empty."""

    @property
    def sent_at(self) -> str | None:
        """When the client's clock said that it sent this event, as text."""

    @property
    def content(self) -> bytes:
        """
        The canonical content, which is decoded and hashed.

        A JSON array with fixed places: type, event, user_id, anonymous_id, group_id, previous_id,
        name, category, timestamp, original_timestamp, properties, traits, context, extra.
        What was absent is null. Texts are written with the fewest escapes, and a number that is an
        id is text, digit by digit: neither spelling nor escapes change the content.
        properties, traits and context are the bytes as sent; extra is an object of all unknown
        members as sent, null when there were none.
        """

@final
class Violation:
    """Why one event is refused."""

    @property
    def code(self) -> str:
        """One of `violation_codes()`."""

    @property
    def field(self) -> str | None:
        """The member at fault, as the client spelled it; None when the event is no object."""

    @property
    def message(self) -> str:
        """A sentence that names the field, the limit and what was found."""

    @property
    def event_id(self) -> str | None:
        """The event's id, if it can be told."""

    @property
    def payload(self) -> bytes:
        """The event as it was sent, but for the value of its own `writeKey`: `"***"`."""

@final
class Malformed:
    """Why the whole body is refused."""

    @property
    def code(self) -> str:
        """One of `violation_codes()`."""

    @property
    def field(self) -> str | None:
        """The envelope's member at fault."""

    @property
    def message(self) -> str:
        """A sentence that says what was expected and what was found."""

    @property
    def offset(self) -> int | None:
        """The byte of the body at which it went wrong, counted from 0."""

    @property
    def limit(self) -> int | None:
        """The limit that was passed."""

    @property
    def actual(self) -> int | str | None:
        """What was found instead, where it can be named."""

# --- rows -----------------------------------------------------------------------------------------

def event_columns() -> list[str]:
    """Give the columns of `events` in the order in which rows are written."""

@final
class Rows:
    """Rows of one payload, each with its ledger key, its hash and its bytes for COPY."""

    def __len__(self) -> int: ...
    @property
    def key_id(self) -> str:
        """The API key that sent them."""

    @property
    def received_at_us(self) -> int:
        """When they came: microseconds since 1970."""

    @property
    def size_bytes(self) -> int:
        """What the whole payload's rows take in memory."""

    @property
    def types(self) -> dict[str, int]:
        """How many rows of each type the whole payload has; none with zero."""

    @property
    def ids(self) -> list[int]:
        """The row ids, in order."""

    @property
    def event_ids(self) -> list[str]:
        """The event ids, in order: the client's, or the row's id in base36."""

    def accepted(self) -> bytes:
        """Write the verdicts of rows that are all new: a JSON array as the wire has it."""

    def all(self) -> list[Row]:
        """Take the rows apart, for who has to look at each."""

    def part(self, start: int, stop: int) -> Rows:
        """Give some of the rows; what is past the end is not there."""

    def copy(self) -> bytes:
        """Write all rows as a stream of COPY in its binary form, sorted and without twins."""

@final
class Row:
    """One event that passed every check, on its way to the store."""

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
        """As `event_key` makes it."""

    @property
    def payload_hash(self) -> int:
        """As `content_hash` makes it."""

    @property
    def event_id(self) -> str: ...
    @property
    def content(self) -> bytes:
        """The canonical content, as `Event.content` has it."""

    @property
    def request_id(self) -> int: ...
    @property
    def sent_at_us(self) -> int | None:
        """When it was sent, by the clock of its sender: microseconds since 1970."""

    @property
    def received_at_us(self) -> int: ...

@final
class Plan:
    """
    Rows that go down together: one per key, in the one order that all writers use.

    Further rows with the same keys are twins: they are not written, and judged like late ones.
    """

    def __new__(cls, parts: list[Rows]) -> Self: ...
    def __len__(self) -> int:
        """Count the rows without twins."""

    @property
    def has_twins(self) -> bool:
        """Whether two rows have one key."""

    def ledger(self, oid: int) -> bytes:
        """Write a binary array of `ledger_row_v1`, the type with this number."""

    def records(self, oid: int) -> bytes:
        """Write a binary array of `event_row_v1`, the type with this number."""

    def copy(self, late_ids: list[int]) -> bytes:
        """Write the rows as a stream of COPY in its binary form, but for the late ones."""

    def late(self, late_ids: list[int]) -> list[Row]:
        """Give the rows that did not come first: the late ones, then twins as they came."""
