"""One INSERT … ON CONFLICT DO NOTHING per event."""

from pathlib import Path
from typing import Any, Final

import asyncpg
from pydantic_core import to_json

from bench.peers.naive.keys import Owner
from bench.peers.naive.models import Event

_COLUMNS: Final = (
    *("event_id", "type", "event", "name", "category"),
    *("user_id", "anonymous_id", "group_id", "previous_id"),
    *("properties", "traits", "context", "extra"),
    *("original_timestamp", "sent_at", "schema_version", "request_id"),
    *("tenant_id", "workspace_id"),
)
_INSERT: Final = (
    f"INSERT INTO naive.events ({', '.join(_COLUMNS)})"  # noqa: S608 - nothing but the names above
    f" VALUES ({', '.join(f'${place}' for place in range(1, len(_COLUMNS) + 1))})"
    " ON CONFLICT (tenant_id, event_id) DO NOTHING RETURNING event_id"
)


async def create_schema(database_url: str) -> None:
    """Make the table where there is none."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(Path(__file__).with_name("schema.sql").read_text())
    finally:
        await connection.close()


async def read_json(connection: Any) -> None:
    """Let a connection of the pool take dicts for jsonb."""
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: to_json(value).decode(),
        decoder=str,
    )


async def insert(
    pool: Any, events: list[Event], owner: Owner, request_id: str, schema_version: str
) -> list[bool]:
    """
    Store the events in one transaction; return for each whether it was new.

    `fetchmany` is asyncpg's `executemany` that also returns rows: still one INSERT per event, but
    without a round trip for each, and the answer can tell new ones from duplicates.
    """
    rows = [_row(event, owner, request_id, schema_version) for event in events]
    async with pool.acquire() as connection:
        if len(rows) == 1:
            return [await connection.fetchval(_INSERT, *rows[0]) is not None]
        async with connection.transaction():
            new = {record["event_id"] for record in await connection.fetchmany(_INSERT, rows)}
    return [_take(new, event.event_id) for event in events]


def _row(event: Event, owner: Owner, request_id: str, schema_version: str) -> tuple[object, ...]:
    return (
        *(event.event_id, event.type, event.event, event.name, event.category),
        *(event.user_id, event.anonymous_id, event.group_id, event.previous_id),
        *(event.properties, event.traits, event.context, event.model_extra or None),
        *(event.timestamp, event.sent_at, schema_version, request_id),
        *(owner.tenant_id, owner.workspace_id),
    )


def _take(new: set[str], event_id: str) -> bool:
    """Say of the first with a stored id that it was new, and not of a second one in the batch."""
    if event_id in new:
        new.remove(event_id)
        return True
    return False
