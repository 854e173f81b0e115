"""Flushes as they were before the core made rows: values in Python, which the driver encodes."""

from datetime import datetime
from typing import Any, Final

import msgspec

from service._native import Row, event_columns
from service.clock import moment
from service.content import decode_event
from service.store.ledger import Flush
from service.store.sql import statement

Connection = Any
FormerRow = tuple[Any, ...]
"""event_key and payload_hash, then the columns of `events`."""

_NULL: Final = msgspec.Raw(b"null")
_LEDGER: Final = """
INSERT INTO event_deduplication (tenant_id, event_key, id, payload_hash, received_at)
SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::bigint[], $4::bigint[], $5::timestamptz[])
ON CONFLICT DO NOTHING
RETURNING id
"""
_TYPES: Final = (
    *("uuid", "bigint", "bigint", "bigint", "bigint"),
    *["text"] * 9,
    *["jsonb"] * 4,
    *("text", "bigint"),
    *["timestamptz"] * 4,
)
_ARRAYS: Final = ", ".join(f"${place}::{type_}[]" for place, type_ in enumerate(_TYPES, 1))
_NAMES: Final = ", ".join(f'"{name}"' for name in ("event_key", "payload_hash", *event_columns()))
# The service's statement, but for what it reads and what it returns.
_AT_ONCE: Final = (
    statement("insert_single_statement")
    .replace("unnest($1::event_row_v1[])", f"unnest({_ARRAYS}) AS row ({_NAMES})")
    .replace("SELECT id FROM given WHERE id NOT IN (SELECT id FROM new)", "SELECT id FROM new")
)


async def prepare(connection: Connection) -> None:
    """Let documents pass as the bytes that were sent."""
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda document: b"\x01" + document,
        decoder=bytes,
        format="binary",
    )


def rows_of(flush: Flush) -> list[FormerRow]:
    """Take a flush apart, in the order that all writers use."""
    rows = [row for part in flush.events for row in part.all()]
    rows.sort(key=lambda row: (row.tenant_id, row.event_key))
    return [_row(row) for row in rows]


async def insert_at_once(connection: Connection, rows: list[FormerRow]) -> None:
    """Store by one statement over an array a column."""
    returned = await connection.fetch(_AT_ONCE, *zip(*rows, strict=True))
    new = {record[0] for record in returned}
    assert all(row[2] in new for row in rows)


async def copy_records(connection: Connection, rows: list[FormerRow]) -> None:
    """Store by five arrays and a COPY that the driver encodes."""
    await connection.execute(statement("begin"))
    keys, hashes, ids, tenants, *_, received, _ = zip(*rows, strict=True)
    returned = await connection.fetch(_LEDGER, tenants, keys, ids, hashes, received)
    new = {record[0] for record in returned}
    await connection.copy_records_to_table(
        "events", columns=event_columns(), records=[row[2:] for row in rows if row[2] in new]
    )
    assert await connection.execute("COMMIT") == "COMMIT"


def _row(row: Row) -> FormerRow:
    raw = decode_event(row.content)
    received_at = moment(row.received_at_us)
    sent_at = None if row.sent_at_us is None else moment(row.sent_at_us)
    given = None if raw.timestamp is None else datetime.fromisoformat(raw.timestamp)
    happened_at = (
        received_at if given is None or sent_at is None else received_at - (sent_at - given)
    )
    documents = (raw.properties, raw.traits, raw.context, raw.extra)
    return (
        *(row.event_key, row.payload_hash),
        *(row.id, row.tenant_id, row.workspace_id, row.event_id),
        *(raw.type, raw.event, raw.name, raw.category),
        *(raw.user_id, raw.anonymous_id, raw.group_id, raw.previous_id),
        *(None if document == _NULL else bytes(document) for document in documents),
        *("1.0", row.request_id),
        *(given, sent_at, received_at, happened_at),
    )
