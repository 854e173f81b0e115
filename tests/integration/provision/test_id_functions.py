"""
The SQL functions for ids, compared with the same in Python.

If these tests fail: an analyst who looks an event up by its id finds another one, or none.
"""

import hashlib
import random
import uuid
from typing import Any, Final

import asyncpg
import pytest

from provision.errors import InvalidError
from provision.names import checked_name

DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
EDGES: Final = [0, 1, 35, 36, 2**63 - 1, 2**63, 2**64 - 36, 2**64 - 1]


def base36(value: int) -> str:
    digits = ""
    for _ in range(13):
        value, digit = divmod(value, 36)
        digits = DIGITS[digit] + digits
    return digits


def signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


@pytest.fixture
def values() -> list[int]:
    chosen = random.Random(36)
    return sorted([*EDGES, *(chosen.getrandbits(chosen.randint(1, 64)) for _ in range(500))])


async def column(connection: Any, query: str, arguments: list[Any]) -> list[Any]:
    return [row[0] for row in await connection.fetch(query, arguments)]


async def test_base36_shows_the_unsigned_value(connection: Any, values: list[int]) -> None:
    query = "SELECT base36(v) FROM unnest($1::bigint[]) WITH ORDINALITY AS t (v, n) ORDER BY n"

    shown = await column(connection, query, [signed(value) for value in values])

    assert [base36(value) for value in values] == shown
    assert sorted(shown) == shown


async def test_base36_to_bigint_is_the_way_back(connection: Any, values: list[int]) -> None:
    query = (
        "SELECT base36_to_bigint(v) FROM unnest($1::text[]) WITH ORDINALITY AS t (v, n) ORDER BY n"
    )

    numbers = await column(connection, query, [base36(value) for value in values])

    assert [signed(value) for value in values] == numbers


@pytest.mark.parametrize("text", ["", "abc", "0" * 12, "0" * 14, "000000000000A", "00000000 0000"])
async def test_what_is_no_id_is_refused(connection: Any, text: str) -> None:
    with pytest.raises(asyncpg.InvalidTextRepresentationError, match="not an id"):
        await connection.fetchval("SELECT base36_to_bigint($1)", text)


async def test_more_than_64_bits_are_refused(connection: Any) -> None:
    with pytest.raises(asyncpg.NumericValueOutOfRangeError, match="does not fit"):
        await connection.fetchval("SELECT base36_to_bigint($1)", base36(2**64))


@pytest.mark.parametrize("event_id", ["abc", "", "é", "日本語", "x" * 200, r"back\slash", "a'b"])
async def test_event_key_is_the_head_of_sha256(connection: Any, event_id: str) -> None:
    key = await connection.fetchval("SELECT event_key($1)", event_id)

    assert uuid.UUID(bytes=hashlib.sha256(event_id.encode()).digest()[:16]) == key


async def test_null_gives_null(connection: Any) -> None:
    row = await connection.fetchrow(
        "SELECT base36(NULL), base36_to_bigint(NULL), event_key(NULL), is_valid_name(NULL)"
    )

    assert (None, None, None, None) == tuple(row)


async def test_the_database_and_the_commands_allow_the_same_names(connection: Any) -> None:
    # Every character of the first plane at the beginning, in the middle and at the end.
    characters = [chr(n) for n in range(1, 0x10000) if not 0xD800 <= n <= 0xDFFF]
    names = [name for c in characters for name in (f"{c}a", f"a{c}a", f"a{c}", c)]
    names += ["", "x" * 100, "x" * 101, "\U0001f600", "\U0001f600" * 101]
    query = "SELECT is_valid_name(v) FROM unnest($1::text[]) WITH ORDINALITY AS t (v, n) ORDER BY n"

    allowed = await column(connection, query, names)

    assert [] == [
        name for name, is_allowed in zip(names, allowed, strict=True) if taken(name) != is_allowed
    ]


def taken(name: str) -> bool:
    try:
        checked_name("tenant", name)
    except InvalidError:
        return False
    return True
