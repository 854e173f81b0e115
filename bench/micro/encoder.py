"""Rows in plain Python: the reference for the speed of the native core."""

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
# Type numbers of pg_type.
_BIGINT: Final = 20
_UUID: Final = 2950
_TIMESTAMPTZ: Final = 1184
_TEXTS: Final = ("type", "event", "name", "category")
_IDS: Final = ("userId", "anonymousId", "groupId", "previousId")
_DOCUMENTS: Final = ("properties", "traits", "context")
_KNOWN: Final = {"messageId", "timestamp", "sentAt", *_TEXTS, *_IDS, *_DOCUMENTS}


class EncodedRow(NamedTuple):
    """One event: key of its ledger row, row id, hash of its content, row of the COPY data."""

    key: bytes
    id: int
    payload_hash: int
    copy_data: bytes


def rows(body: bytes, received_at: datetime, first_id: int) -> list[EncodedRow]:
    """Return the rows of a batch request's events."""
    batch = json.loads(body)
    sent_at = datetime.fromisoformat(batch["sentAt"])
    made = []
    for row_id, event in enumerate(batch["batch"], first_id):
        event_id = event["messageId"]
        content = json.dumps([event.get(name) for name in (*_TEXTS, *_IDS, *_DOCUMENTS)])
        made.append(
            EncodedRow(
                key=hashlib.sha256(event_id.encode()).digest()[:16],
                id=row_id,
                payload_hash=xxhash.xxh3_64_intdigest(content.encode(), seed=1) >> 4,
                copy_data=_row(row_id, event, sent_at, received_at),
            )
        )
    return made


def flush(payloads: list[list[EncodedRow]], received_at: datetime) -> tuple[bytes, bytes]:
    """Return the ledger rows and the COPY data, sorted by key and without duplicates."""
    firsts: dict[bytes, EncodedRow] = {}
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
    return ledger, _SIGNATURE + b"".join(row.copy_data for row in ordered) + _TRAILER


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
