"""
The JSON checks of the core against PostgreSQL's jsonb and Python's strict JSON.

What the core accepts, jsonb accepts and reads back equal. What strict JSON accepts within the
limits, the core accepts. The corpus is in tests/corpus/documents.txt, one document a line.

If these tests fail: a valid event is rejected, or PostgreSQL rejects one that the core accepted.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service import _native
from tests.native.scanned import CLOCK_SKEW_MIN_US, Arrival
from tests.nightly import examples
from tests.pgcopy import read_copy

CORPUS: Final = Path(__file__).parent.parent / "corpus" / "documents.txt"
DOCUMENTS: Final = CORPUS.read_text(encoding="utf-8").splitlines()

_NUMBER_BYTES_MAX: Final = 64
_EXPONENT_MAX: Final = 308
_EXPANDED_DIGITS_MAX: Final = 16_384
_LEVELS_MAX: Final = 64


class Oracle:
    """Reads documents back from PostgreSQL as jsonb."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._connection = self._runner.run(asyncpg.connect(url))

    def read_back(self, documents: list[bytes]) -> list[Any]:
        """Return the documents as read back from jsonb; raises if jsonb refuses one."""
        texts = [document.decode() for document in documents]
        query = "SELECT given::jsonb::text FROM unnest($1::text[]) AS given"
        rows = self._runner.run(self._connection.fetch(query, texts))
        return [_loads(row[0]) for row in rows]

    def close(self) -> None:
        self._connection.terminate()
        self._runner.close()


@pytest.fixture
def oracle(database_url: str) -> Iterator[Oracle]:
    asking = Oracle(database_url)
    yield asking
    asking.close()


def test_corpus_documents_that_the_guard_accepts_are_read_back_equal_from_jsonb(
    oracle: Oracle,
) -> None:
    accepted = [
        properties for text in DOCUMENTS if (properties := _accepted_properties(text)) is not None
    ]

    assert len(accepted) > 40
    assert [_loads(properties.decode()) for properties in accepted] == oracle.read_back(accepted)


def test_corpus_documents_that_are_strict_json_are_accepted_by_the_guard() -> None:
    wanted = [text for text in DOCUMENTS if _is_within_limits(text)]

    assert len(wanted) > 40
    missing = [text for text in wanted if _accepted_properties(text) is None]
    assert missing == []


def test_only_corpus_documents_that_are_strict_json_within_the_limits_are_accepted() -> None:
    refused = [text for text in DOCUMENTS if not _is_within_limits(text)]

    assert len(refused) > 30
    slipped = [text for text in refused if _accepted_properties(text) is not None]
    assert slipped == []


_TEXTS = st.text(max_size=20) | st.sampled_from(["\x00", "\ud800", "\udfff", "\\u0000", "\x7f"])
_NUMBERS = (
    st.integers()
    | st.integers(min_value=10**60, max_value=10**70)
    | st.floats(allow_nan=True, allow_infinity=True)
)
_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=12,
)
_OBJECTS = st.dictionaries(_TEXTS, _VALUES, max_size=4)
_SETTINGS: Final = settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@_SETTINGS
@given(objects=st.lists(_OBJECTS, min_size=1, max_size=20), is_ascii=st.booleans())
def test_documents_that_the_guard_accepts_are_read_back_equal_from_jsonb(
    oracle: Oracle, objects: list[dict[str, Any]], is_ascii: bool
) -> None:
    texts = [_dumps(value, is_ascii=is_ascii) for value in objects]
    accepted = [
        properties for text in texts if (properties := _accepted_properties(text)) is not None
    ]

    assert [_loads(properties.decode()) for properties in accepted] == oracle.read_back(accepted)


@_SETTINGS
@given(value=_OBJECTS, is_ascii=st.booleans())
def test_strict_json_within_the_limits_is_accepted_by_the_guard(
    value: dict[str, Any], is_ascii: bool
) -> None:
    text = _dumps(value, is_ascii=is_ascii)

    assert _is_within_limits(text) == (_accepted_properties(text) is not None)


_BRACKETS: Final = ("{", "}", "[", "]", ",", ":", '"')
_ESCAPES: Final = ("\\u0000", "\\ud800", "\\udc00", "\\", "\\\\")
_TOKENS: Final = ("1", "-", "e", "E+3", ".5", "0", "null", "true", "NaN", '"a"', '{"a":1}', "[1]")
_PIECES = st.sampled_from([*_BRACKETS, *_ESCAPES, *_TOKENS, " ", "\t", "é"])


@_SETTINGS
@given(pieces=st.lists(st.lists(_PIECES, max_size=12), min_size=1, max_size=40))
def test_damaged_documents_are_accepted_only_if_they_are_still_strict_json(
    oracle: Oracle, pieces: list[list[str]]
) -> None:
    texts = ['{"x":' + "".join(some) + "}" for some in pieces]
    accepted = [
        properties for text in texts if (properties := _accepted_properties(text)) is not None
    ]

    assert [_is_within_limits(text) for text in texts] == [
        _accepted_properties(text) is not None for text in texts
    ]
    assert [_loads(properties.decode()) for properties in accepted] == oracle.read_back(accepted)


def _accepted_properties(text: str) -> bytes | None:
    """Return the properties if the core accepts the event *text*, else None."""
    body = b'{"event":"x","properties":' + text.encode("utf-8", "surrogatepass") + b"}"
    scanned = _native.scan_event(body, "track")
    if isinstance(scanned, _native.Malformed):
        return None
    rows, _ = scanned.rows(_native.RowIds(0, bytes(32)), Arrival(), CLOCK_SKEW_MIN_US)
    stored = read_copy(rows.copy_data())
    return stored[0]["properties"] if stored else None


def _is_within_limits(text: str) -> bool:
    """Whether *text* is an object in strict JSON within the limits, or an empty array."""
    try:
        text.encode("utf-8")
        value = json.loads(text, parse_constant=_refuse, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        return False
    is_document = isinstance(value, dict) or value == []
    return is_document and _levels(value) < _LEVELS_MAX and _is_storable(text)


def _is_storable(text: str) -> bool:
    # Without its strings a document is structure and numbers.
    strings = re.findall(r'"(?:[^"\\]|\\.)*"', text)
    rest = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)
    numbers = re.findall(r"-?\d[\d.eE+-]*", rest)
    digits = sum(abs(_exponent_of(token)) for token in numbers)
    return (
        all(map(_is_allowed_text, strings))
        and all(map(_is_allowed_number, numbers))
        and digits <= _EXPANDED_DIGITS_MAX
    )


def _is_allowed_text(literal: str) -> bool:
    value = json.loads(literal)
    return "\x00" not in value and not any("\ud800" <= c <= "\udfff" for c in value)


def _is_allowed_number(token: str) -> bool:
    return len(token) <= _NUMBER_BYTES_MAX and abs(_exponent_of(token)) <= _EXPONENT_MAX


def _exponent_of(token: str) -> int:
    return int(re.split("[eE]", token)[1]) if re.search("[eE]", token) else 0


def _levels(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_levels, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_levels, value), default=0)
    return 0


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _loads(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def _dumps(value: Any, *, is_ascii: bool) -> str:
    return json.dumps(value, ensure_ascii=is_ascii)
