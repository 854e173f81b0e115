"""Rights that the role of a session lacks, each with the statement that grants it."""

from typing import Any

import msgspec

from service.store.sql import statement


class MissingRight(msgspec.Struct, frozen=True):
    """One right that is missing."""

    sentence: str
    is_required: bool
    """True: without the right no event can be stored. False: no new partition can be made."""


async def missing_rights(connection: Any) -> list[MissingRight]:
    """Return the rights that the role of *connection* lacks."""
    return [
        MissingRight(**dict(row)) for row in await connection.fetch(statement("missing_rights"))
    ]
