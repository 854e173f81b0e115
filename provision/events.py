"""The newest stored events, for a person who wants to see that they arrived."""

from typing import Any, Final

import msgspec

from provision.database import Connection, statement

_DOCUMENTS: Final = ("properties", "traits", "context", "extra")


async def tail_events(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """Return the newest rows of all tenants, newest first; ids as people see them, in base36."""
    rows = await connection.fetch(statement("tail_events"), limit)
    return [_readable(dict(row)) for row in rows]


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    # asyncpg hands jsonb over as text; Raw puts it into JSON output as it is.
    return row | {
        name: None if row[name] is None else msgspec.Raw(row[name].encode()) for name in _DOCUMENTS
    }
