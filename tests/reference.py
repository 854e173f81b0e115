"""What has to be stored of an event, in plain Python: slow, and without a line of the core."""

import hashlib
import json
import re
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

import xxhash

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
AHEAD_MAX: Final = timedelta(hours=24)
IDS: Final = {
    "event_id": "messageId",
    "user_id": "userId",
    "anonymous_id": "anonymousId",
    "group_id": "groupId",
    "previous_id": "previousId",
}
SPELLINGS: Final = {**IDS, "original_timestamp": "originalTimestamp", "sent_at": "sentAt"}
TIMES: Final = ("timestamp", "original_timestamp", "sent_at")
DOCUMENTS: Final = ("properties", "traits", "context")
TEXTS: Final = (
    *("type", "event", "user_id", "anonymous_id", "group_id", "previous_id", "name", "category"),
    *("timestamp", "original_timestamp"),
)
KNOWN: Final = {*SPELLINGS, *SPELLINGS.values(), *TEXTS, *DOCUMENTS, "writeKey"}

_CLOCK: Final = r"\d\d(:?\d\d(:?\d\d([.,]\d+)?)?)?"
_DATE: Final = r"(\d{4}-\d\d-\d\d|\d{8}|\d{4}-W\d\d(-\d)?|\d{4}W\d{2,3})"
# Python passes over one character before an offset, dots without digits, and minutes with a
# fraction, which it takes for one of a second. None of that is ISO 8601.
_ISO_8601: Final = re.compile(rf"{_DATE}(.{_CLOCK}( ?(Z|[+-]{_CLOCK}))?)?", re.ASCII | re.DOTALL)
# The space is Ruby's. Python takes it as well, but not after a fraction.
_SPACE_BEFORE_OFFSET: Final = re.compile(r"(?<=\d) (?=Z|[+-])")
# Of an offset below one second Python takes none.
_LOST_FRACTION: Final = re.compile(r"([+-])00(?::?00){2}[.,](\d{1,6})\d*$", re.ASCII)
_HASH_BITS: Final = 60
_HASH_VERSION: Final = 1
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class Member(NamedTuple):
    """A name and a value as they were sent: JSON text, escapes and spaces included."""

    name: str
    value: str


class Arrival(NamedTuple):
    """What is true of a whole request."""

    tenant_id: int
    workspace_id: int
    request_id: int
    received_at: datetime
    schema_version: str
    first_id: int
    secret: bytes


class Expected(NamedTuple):
    """One event as it has to be stored: in the ledger, and by columns."""

    event_key: bytes
    payload_hash: int
    content: bytes
    columns: dict[str, Any]


class InvalidTimeError(ValueError):
    """A text that is no time, or none that can be stored."""


def expected(
    event: Sequence[Member], envelope: Mapping[str, str], arrival: Arrival, place: int
) -> Expected:
    """
    Return what has to be stored of the event at *place*.

    Raises InvalidTimeError; whatever else is wrong with an event is not for here.
    """
    given = {json.loads(member.name): member.value for member in event}
    texts = {name: _text(_sent(given, name)) for name in (*TEXTS, "event_id", "sent_at")}
    timestamp, original, sent_at = (read_time(texts[name]) for name in TIMES)
    sent_at = sent_at or read_time(_text(_sent(envelope, "sent_at")))
    row_id = (arrival.first_id + place) % 2**63
    event_id = texts["event_id"] or minted(arrival, row_id)
    content = _content(event, given, texts)
    columns = {
        **{name: texts[name] for name in TEXTS if "timestamp" not in name},
        "id": row_id,
        "tenant_id": arrival.tenant_id,
        "workspace_id": arrival.workspace_id,
        "request_id": arrival.request_id,
        "schema_version": arrival.schema_version,
        "event_id": event_id,
        "properties": _document(given.get("properties")),
        "traits": _document(given.get("traits")),
        "context": _merged(envelope.get("context"), given.get("context")),
        "extra": _document(_extra(event)),
        "original_timestamp": original or timestamp,
        "sent_at": sent_at,
        "received_at": arrival.received_at,
        "timestamp": _corrected(timestamp or original, sent_at, arrival.received_at),
    }
    key = hashlib.sha256(event_id.encode()).digest()[:16]
    return Expected(key, _hash(arrival.workspace_id, content), content, columns)


def read_time(text: str | None) -> datetime | None:
    """Return the time that *text* is, UTC; None where there is no text."""
    if not text:
        return None
    if not _ISO_8601.fullmatch(text):
        raise InvalidTimeError(text)
    lost = _LOST_FRACTION.search(text)
    ahead = timedelta(seconds=float(f"{lost[1]}0.{lost[2]}")) if lost else timedelta()
    try:
        moment = datetime.fromisoformat(_SPACE_BEFORE_OFFSET.sub("", text)) - ahead
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidTimeError(text) from error
    if moment < EARLIEST:
        raise InvalidTimeError(text)
    return moment


def minted(arrival: Arrival, row_id: int) -> str:
    """Return the event id of an event that came without one."""
    received_at_us = (arrival.received_at - EARLIEST) // timedelta(microseconds=1)
    numbers = struct.pack(">qq", row_id, received_at_us)
    digest = hashlib.sha256(arrival.secret + numbers).digest()
    return "".join(_DIGITS[byte % 36] for byte in digest[:20])


def loads(text: str) -> Any:
    """Return JSON as jsonb means it: numbers by their value, of two members the last."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def _sent(given: Mapping[str, str], name: str) -> str | None:
    """Return the JSON text of a field under either of its spellings, None when it is absent."""
    absent = ("null", '""') if name in IDS else ("null",)
    names = (name, SPELLINGS.get(name, name))
    sent = [given[spelling] for spelling in names if spelling in given]
    return next((value for value in sent if value not in absent), None)


def _text(value: str | None) -> str | None:
    if value is None:
        return None
    return str(json.loads(value)) if value.startswith('"') else value


def _corrected(given: datetime | None, sent_at: datetime | None, received_at: datetime) -> datetime:
    if given is None:
        return received_at
    try:
        timestamp = given if sent_at is None else received_at - (sent_at - given)
    except OverflowError as error:
        raise InvalidTimeError(given.isoformat()) from error
    if not EARLIEST <= timestamp <= received_at + AHEAD_MAX:
        raise InvalidTimeError(timestamp.isoformat())
    return timestamp


def _content(
    event: Sequence[Member], given: Mapping[str, str], texts: Mapping[str, str | None]
) -> bytes:
    parts = [json.dumps(texts[name], ensure_ascii=False) for name in TEXTS]
    parts += [given.get(name, "null") for name in DOCUMENTS]
    return f"[{','.join([*parts, _extra(event) or 'null'])}]".encode()


def _extra(event: Sequence[Member]) -> str | None:
    unknown = [member for member in event if json.loads(member.name) not in KNOWN]
    return f"{{{','.join(f'{name}:{value}' for name, value in unknown)}}}" if unknown else None


def _hash(workspace_id: int, content: bytes) -> int:
    digest = int(xxhash.xxh3_64_intdigest(content, seed=workspace_id % 2**64))
    return (_HASH_VERSION << _HASH_BITS) | digest % (1 << _HASH_BITS)


def _document(text: str | None) -> Any:
    return None if text is None else loads(text)


def _merged(shared: str | None, own: str | None) -> Any:
    both = [context for context in map(_document, (shared, own)) if context is not None]
    return {name: value for context in both for name, value in context.items()} if both else None
