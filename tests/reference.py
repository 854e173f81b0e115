"""The expected row of an event, computed in plain Python: slow, and independent of the core."""

import contextlib
import functools
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
_MICROSECOND: Final = timedelta(microseconds=1)
IDS: Final = {
    "event_id": ("messageId", "message_id"),
    "user_id": ("userId",),
    "anonymous_id": ("anonymousId",),
    "group_id": ("groupId",),
    "previous_id": ("previousId",),
}
SPELLINGS: Final = {**IDS, "original_timestamp": ("originalTimestamp",), "sent_at": ("sentAt",)}
TIMES: Final = ("timestamp", "original_timestamp", "sent_at")
DOCUMENTS: Final = ("properties", "traits", "context")
TEXTS: Final = (
    *("type", "event", "user_id", "anonymous_id", "group_id", "previous_id", "name", "category"),
    *("timestamp", "original_timestamp"),
)
KNOWN: Final = {*SPELLINGS, *TEXTS, *DOCUMENTS, "writeKey"}.union(*SPELLINGS.values())

# Hours, minutes and seconds, all with colons or all without.
_CLOCK: Final = (
    r"(?P<{0}h>\d\d)(?:(?P<{0}colon>:?)(?P<{0}m>\d\d)"
    r"(?:(?P={0}colon)(?P<{0}s>\d\d)(?:[.,](?P<{0}f>\d{{1,9}}))?)?)?"
)
_ISO_8601: Final = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d?)-(?P<day>\d\d?)|(?P<basic>\d{4}))"
    rf"(?:[Tt ]{_CLOCK.format('')}(?:(?P<space> ?)(?:[Zz]|(?P<sign>[+-]){_CLOCK.format('o')}))?)?",
    re.ASCII,
)
_NUMBER_OF_TIME: Final = re.compile(
    r"(?:(?P<seconds>[1-9][0-9]{9})|[1-9][0-9]{12})(?:\.[0-9]+)?", re.ASCII
)
_HASH_BITS: Final = 60
_HASH_VERSION: Final = 2
_WORD: Final = 2**64 - 1
_LEFT, _RIGHT = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F
_SCALAR, _ARRAY, _OBJECT = 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class Member(NamedTuple):
    """A name and a value as they were sent: JSON text, escapes and spaces included."""

    name: str
    value: str


class Spelled(str):
    """A number, by its digits as they were sent."""

    __slots__ = ()


class Arrival(NamedTuple):
    """The data that all events of a request have in common."""

    tenant_id: int
    workspace_id: int
    request_id: int
    received_at: datetime
    schema_version: str
    first_id: int
    secret: bytes
    clock_skew_min: timedelta = timedelta()


class Expected(NamedTuple):
    """The expected ledger row and the expected columns of one event."""

    event_key: bytes
    payload_hash: int
    content: bytes
    columns: dict[str, Any]


class InvalidTimeError(ValueError):
    """A text that is not a time, or one that cannot be stored."""


def expected(
    event: Sequence[Member], envelope: Mapping[str, str], arrival: Arrival, place: int
) -> Expected:
    """
    Return the expected row of the event at index *place*.

    Raises InvalidTimeError; other invalid events must not be given.
    """
    given = {json.loads(member.name): member.value for member in event}
    texts = {name: _text(_sent(given, name)) for name in (*TEXTS, "event_id", "sent_at")}
    timestamp, original, sent_at = (_time(_sent(given, name)) for name in TIMES)
    sent_at = sent_at or _time(_sent(envelope, "sent_at"))
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
        "traits": _traits(given, texts["type"]),
        "context": _merged(envelope.get("context"), given.get("context")),
        "extra": None if (extra := _extra(event)) is None else loads(extra),
        "original_timestamp": original or timestamp,
        "sent_at": sent_at,
        "received_at": arrival.received_at,
        "timestamp": _corrected(
            timestamp or original,
            None if timestamp and original else sent_at,
            arrival,
        ),
    }
    key = hashlib.sha256(event_id.encode()).digest()[:16]
    payload_hash = _hash(arrival.workspace_id, event, texts, (timestamp, original))
    return Expected(key, payload_hash, content, columns)


def read_time(text: str | None) -> datetime | None:
    """Return the time in *text*, in UTC; None without a text."""
    if not text:
        return None
    found = _ISO_8601.fullmatch(text)
    if not found or (found["basic"] and found["space"]):
        raise InvalidTimeError(text)
    parts = found.groupdict(default="")
    month = parts["month"] or parts["basic"][:2]
    day = parts["day"] or parts["basic"][2:]
    fraction = parts["f"][:6].ljust(6, "0")
    # A leap second is the second before it.
    second = min(int(parts["s"] or 0), 59 if parts["s"] == "60" else 99)
    hours, minutes, seconds = (int(parts[name] or 0) for name in ("oh", "om", "os"))
    seconds_rounded = seconds + (parts["of"][:1] >= "5")
    offset = timedelta(hours=hours, minutes=minutes, seconds=seconds_rounded)
    if offset >= timedelta(days=1) or minutes > 59 or seconds > 59:
        raise InvalidTimeError(text)
    try:
        moment = datetime(
            *(int(parts["year"]), int(month), int(day)),
            *(int(parts["h"] or 0), int(parts["m"] or 0), second, int(fraction)),
            tzinfo=UTC,
        )
        moment -= -offset if parts["sign"] == "-" else offset
    except (ValueError, OverflowError) as error:
        raise InvalidTimeError(text) from error
    if moment < EARLIEST:
        raise InvalidTimeError(text)
    return moment


def _time(value: str | None) -> datetime | None:
    """Return the time in a JSON text or number; None without one."""
    if value is None or value.startswith('"'):
        return read_time(_text(value))
    found = _NUMBER_OF_TIME.fullmatch(value)
    if not found:
        raise InvalidTimeError(value)
    units = 1_000_000 if found["seconds"] else 1_000
    return EARLIEST + int(Decimal(value) * units) * _MICROSECOND


def minted(arrival: Arrival, row_id: int) -> str:
    """Return the generated event id of an event without one."""
    received_at_us = (arrival.received_at - EARLIEST) // timedelta(microseconds=1)
    numbers = struct.pack(">qq", row_id, received_at_us)
    digest = hashlib.sha256(arrival.secret + numbers).digest()
    return "".join(_DIGITS[byte % 36] for byte in digest[:20])


def loads(text: str) -> Any:
    """Decode JSON as jsonb does: numbers by value, the last of two members with one name."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def _sent(given: Mapping[str, str], name: str) -> str | None:
    """Return the JSON text of a field under any of its spellings, None when it is absent."""
    absent = ("null", '""') if name in IDS else ("null",)
    names = (name, *SPELLINGS.get(name, ()))
    sent = [given[spelling] for spelling in names if spelling in given]
    return next((value for value in sent if value not in absent), None)


def _text(value: str | None) -> str | None:
    if value is None:
        return None
    return str(json.loads(value)) if value.startswith('"') else value


def _corrected(given: datetime | None, sent_at: datetime | None, arrival: Arrival) -> datetime:
    received_at = arrival.received_at
    if given is None:
        return received_at
    timestamps = [given]
    if sent_at and not timedelta() <= received_at - sent_at <= arrival.clock_skew_min:
        with contextlib.suppress(OverflowError):
            timestamps.insert(0, received_at - (sent_at - given))
    for timestamp in timestamps:
        if EARLIEST <= timestamp <= received_at + AHEAD_MAX:
            return timestamp
    raise InvalidTimeError(given.isoformat())


def _content(
    event: Sequence[Member], given: Mapping[str, str], texts: Mapping[str, str | None]
) -> bytes:
    parts = [json.dumps(texts[name], ensure_ascii=False) for name in TEXTS[:-2]]
    times = [_sent(given, name) or "null" for name in TEXTS[-2:]]
    parts += [
        json.dumps(json.loads(time), ensure_ascii=False) if time.startswith('"') else time
        for time in times
    ]
    parts += [given.get(name, "null") for name in DOCUMENTS]
    return f"[{','.join([*parts, _extra(event) or 'null'])}]".encode()


def _extra(event: Sequence[Member]) -> str | None:
    unknown = [member for member in event if json.loads(member.name) not in KNOWN]
    return f"{{{','.join(f'{name}:{value}' for name, value in unknown)}}}" if unknown else None


def _hash(
    workspace_id: int,
    event: Sequence[Member],
    texts: Mapping[str, str | None],
    times: Sequence[datetime | None],
) -> int:
    written = ",".join(json.dumps(texts[name], ensure_ascii=False) for name in TEXTS[:-2])
    digest = xxhash.xxh3_64_intdigest(f"[{written}".encode(), seed=workspace_id % 2**64)
    for time in times:
        digest = _fold(digest, _WORD if time is None else (time - EARLIEST) // _MICROSECOND)
    digest = _fold(digest, sum(map(_document_digest, event)) & _WORD)
    return (_HASH_VERSION << _HASH_BITS) | digest % (1 << _HASH_BITS)


def _document_digest(member: Member) -> int:
    name = json.loads(member.name)
    is_content = name not in KNOWN or (name in DOCUMENTS and member.value != "null")
    return _fold(_text_digest(name), json_digest(member.value)) if is_content else 0


def json_digest(text: str) -> int:
    """Return the digest of a JSON value, which does not depend on its form."""
    return _digest(json.loads(text, parse_float=Spelled, parse_int=Spelled))


def _digest(value: Any) -> int:
    match value:
        case Spelled():
            return _text_digest(value) ^ _SCALAR
        case str():
            return _text_digest(value)
        case list():
            return _fold(functools.reduce(_fold, map(_digest, value), 0), _ARRAY)
        case dict():
            members = (_fold(_text_digest(name), _digest(each)) for name, each in value.items())
            return _fold(sum(members) & _WORD, _OBJECT)
    return _text_digest(json.dumps(value)) ^ _SCALAR


def _text_digest(text: str) -> int:
    return int(xxhash.xxh3_64_intdigest(text.encode()))


def _fold(left: int, right: int) -> int:
    product = (left ^ _LEFT) * (right ^ _RIGHT)
    return product & _WORD ^ product >> 64


def _document(text: str | None) -> Any:
    """Return a document; an empty array is an empty object."""
    document = None if text is None else loads(text)
    return {} if document == [] else document


def _traits(given: Mapping[str, str], event_type: str | None) -> Any:
    """Return the traits of an event; those of its context if an identify event has no others."""
    traits = _document(given.get("traits"))
    context = _document(given.get("context"))
    if traits is not None or context is None or event_type != "identify":
        return traits
    traits = context.get("traits")
    return {} if traits == [] else traits if isinstance(traits, dict) else None


def _merged(shared: str | None, own: str | None) -> Any:
    both = [context for context in map(_document, (shared, own)) if context is not None]
    return {name: value for context in both for name, value in context.items()} if both else None
