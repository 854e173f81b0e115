"""Decodes the COPY data of the core: the columns of each row as PostgreSQL reads them."""

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from service._native import event_columns

# Signature, then no flags and no extension.
HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_NULL: Final = -1
_JSONB_VERSION: Final = 1


def read_copy(stream: bytes) -> list[dict[str, Any]]:
    """Return the rows of a binary COPY of `events`, with values by column name."""
    if not stream.startswith(HEADER) or not stream.endswith(TRAILER):
        raise ValueError(f"no whole stream of COPY: {stream[:32]!r}")
    end = len(stream) - len(TRAILER)
    rows, offset = [], len(HEADER)
    while offset < end:
        fields, offset = _read_row(stream, offset)
        names = event_columns()
        rows.append({name: _value(name, field) for name, field in zip(names, fields, strict=True)})
    if offset != end:
        raise ValueError(f"a row ends at {offset}, in the trailer that begins at {end}")
    return rows


def _read_row(stream: bytes, offset: int) -> tuple[list[bytes | None], int]:
    (count,) = struct.unpack_from("!h", stream, offset)
    offset += 2
    fields: list[bytes | None] = []
    for _ in range(count):
        (length,) = struct.unpack_from("!i", stream, offset)
        offset += 4
        if length == _NULL:
            fields.append(None)
            continue
        if not 0 <= length <= len(stream) - offset:
            raise ValueError(f"a column of {length} bytes at {offset}")
        fields.append(stream[offset : offset + length])
        offset += length
    return fields, offset


def _bigint(field: bytes) -> int:
    (value,) = struct.unpack("!q", field)
    return int(value)


def _timestamptz(field: bytes) -> datetime:
    return _EPOCH + timedelta(microseconds=_bigint(field))


def _jsonb(field: bytes) -> bytes:
    if field[0] != _JSONB_VERSION:
        raise ValueError(f"jsonb of version {field[0]}")
    return field[1:]


_READERS: Final[dict[str, Callable[[bytes], Any]]] = {
    **dict.fromkeys(("id", "tenant_id", "workspace_id", "request_id"), _bigint),
    **dict.fromkeys(("properties", "traits", "context", "extra"), _jsonb),
    **dict.fromkeys(("original_timestamp", "sent_at", "received_at", "timestamp"), _timestamptz),
}


def _value(name: str, field: bytes | None) -> Any:
    return None if field is None else _READERS.get(name, bytes.decode)(field)
