"""Rows in plain Python, as one would write them without a core: the reference for its speed."""

import hashlib
import json
import struct
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import xxhash

_POSTGRES_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_NULL: Final = struct.pack(">i", -1)
_COLUMNS: Final = struct.pack(">h", 20)
_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_LEDGER_ROW: Final = struct.Struct(">ii" + "iiq" + "ii16s" + "iiq" * 3)
# The numbers of types, as pg_type has them.
_BIGINT: Final = 20
_UUID: Final = 2950
_TIMESTAMPTZ: Final = 1184
_TEXTS: Final = ("type", "event", "name", "category")
_IDS: Final = ("userId", "anonymousId", "groupId", "previousId")
_DOCUMENTS: Final = ("properties", "traits", "context")
_KNOWN: Final = {"messageId", "timestamp", "sentAt", *_TEXTS, *_IDS, *_DOCUMENTS}


class Row(NamedTuple):
    """One event: its key in the ledger, its id, its content's hash, its row for COPY."""

    key: bytes
    id: int
    payload_hash: int
    copy: bytes


def rows(body: bytes, received_at: datetime, first_id: int) -> list[Row]:
    """Return the rows of a batch request's events."""
    batch = json.loads(body)
    sent_at = datetime.fromisoformat(batch["sentAt"])
    made = []
    for row_id, event in enumerate(batch["batch"], first_id):
        event_id = event["messageId"]
        content = json.dumps([event.get(name) for name in (*_TEXTS, *_IDS, *_DOCUMENTS)])
        made.append(
            Row(
                key=hashlib.sha256(event_id.encode()).digest()[:16],
                id=row_id,
                payload_hash=xxhash.xxh3_64_intdigest(content.encode(), seed=1) >> 4,
                copy=_row(row_id, event, sent_at, received_at),
            )
        )
    return made


def flush(payloads: list[list[Row]], received_at: datetime) -> tuple[bytes, bytes]:
    """Return the ledger's rows and the stream of COPY, sorted by key and without twins."""
    firsts: dict[bytes, Row] = {}
    for payload in payloads:
        for row in payload:
            firsts.setdefault(row.key, row)
    ordered = [firsts[key] for key in sorted(firsts)]
    received_us = (received_at - _POSTGRES_EPOCH) // timedelta(microseconds=1)
    ledger = b"".join(
        _LEDGER_ROW.pack(
            *(_LEDGER_ROW.size - 4, 5),
            *(_BIGINT, 8, 1, _UUID, 16, row.key, _BIGINT, 8, row.id),
            *(_BIGINT, 8, row.payload_hash, _TIMESTAMPTZ, 8, received_us),
        )
        for row in ordered
    )
    return ledger, _SIGNATURE + b"".join(row.copy for row in ordered) + _TRAILER


def _row(row_id: int, event: dict[str, Any], sent_at: datetime, received_at: datetime) -> bytes:
    given = datetime.fromisoformat(event["timestamp"])
    extra = {name: value for name, value in event.items() if name not in _KNOWN}
    fields = [_bigint(row_id), _bigint(1), _bigint(1), _text(event["messageId"])]
    fields += [_text(event.get(name)) for name in (*_TEXTS, *_IDS)]
    fields += [_jsonb(event.get(name)) for name in _DOCUMENTS]
    fields += [_jsonb(extra or None), _text("1.0"), _bigint(1)]
    fields += [_time(given), _time(sent_at), _time(received_at)]
    fields += [_time(received_at - (sent_at - given))]
    return _COLUMNS + b"".join(fields)


def _bigint(value: int) -> bytes:
    return struct.pack(">iq", 8, value)


def _text(value: str | None) -> bytes:
    if value is None:
        return _NULL
    encoded = value.encode()
    return struct.pack(">i", len(encoded)) + encoded


def _jsonb(value: Any) -> bytes:
    if value is None:
        return _NULL
    encoded = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    return struct.pack(">ib", len(encoded) + 1, 1) + encoded


def _time(value: datetime) -> bytes:
    return _bigint((value - _POSTGRES_EPOCH) // timedelta(microseconds=1))
