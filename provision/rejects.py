"""What was rejected, for an operator: the reasons, each with an example from the quarantine."""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Final

from cyclopts import Parameter, Token

from provision.command_line import print_fields
from provision.database import Connection, statement
from provision.errors import NotFoundError
from provision.tenants import find_tenant
from service import apikey

_EXCERPT_BYTES: Final = 300
_EXAMPLE: Final = ("event_id", "request_id", "message", "payload")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION: Final = re.compile(r"([1-9][0-9]{0,5})([smhd])")


def _duration(_type: Any, tokens: Sequence[Token]) -> timedelta:
    match = _DURATION.fullmatch(tokens[0].value)
    if match is None:
        raise ValueError(f"{tokens[0].value!r} is not a time such as 90s, 15m, 1h or 7d.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


Since = Annotated[
    timedelta,
    Parameter(
        help="How long ago the first event was rejected: a number with s, m, h or d.",
        converter=_duration,
    ),
]


async def list_rejects(
    connection: Connection,
    since: timedelta,
    *,
    key: str | None,
    tenant: str | None,
    limit: int,
) -> list[dict[str, Any]]:
    """
    Return the most frequent *limit* reasons, each with its newest event as an example.

    *key*: the id of a key, or its text. Without a key and a tenant: of all tenants.

    Raises
    ------
    NotFoundError
        There is no such key or tenant.
    """
    key_id = workspace_id = tenant_id = None
    if tenant is not None:
        tenant_id = await find_tenant(connection, tenant)
    if key is not None:
        credential = apikey.parse(key)
        key_id = key if credential is None else credential.key_id
        place = await connection.fetchrow(statement("find_key_place"), key_id)
        if place is None or tenant_id not in {None, place["tenant_id"]}:
            raise NotFoundError(_no_key(key, key_id, tenant))
        tenant_id, workspace_id = place
    rows = await connection.fetch(
        statement("list_rejects"), since, key_id, tenant_id, workspace_id, limit, _EXCERPT_BYTES
    )
    return [_with_example(dict(row)) for row in rows]


def print_rejects(rows: Sequence[dict[str, Any]]) -> None:
    """Print the reasons for a person, one after the other."""
    for number, row in enumerate(rows):
        if number:
            print()
        fields = {name: value for name, value in row.items() if name != "example"}
        print_fields(fields | row["example"])


def _with_example(row: dict[str, Any]) -> dict[str, Any]:
    # Rejected events may be no valid text. The excerpt may end within a character.
    row["payload"] = row["payload"].decode(errors="replace")
    example = {name: row.pop(name) for name in _EXAMPLE}
    return row | {"example": example}


def _no_key(key: str, key_id: str, tenant: str | None) -> str:
    # The text of a key must not be printed.
    shown = "this text" if key.startswith(apikey.PREFIX) else f"the id {key_id!a}"
    place = "" if tenant is None else f" of tenant {tenant!a}"
    return f"there is no key{place} with {shown}; `provision key list` shows the ids"
