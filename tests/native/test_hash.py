"""
The content hash, which distinguishes a retry from another event with the same id.

If these tests fail: a sender gets `conflict` for a retry, or `duplicate` for a different event.
"""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import _native
from service._native import Row
from tests.native.scanned import judge, scan
from tests.sent import Pen

INT64 = st.integers(-(2**63), 2**63 - 1)


def payload_hash(members: str) -> int:
    """Return the hash of one event with these members, as JSON text."""
    (row,) = judge(scan(f'{{"event":"e",{members}}}', "track"))
    assert isinstance(row, Row)
    return row.payload_hash


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('"properties":{"a":1,"b":2}', '"properties":{"b":2,"a":1}'),
        ('"properties":{"a":1,"b":2}', '"properties":{ "a": 1, "b": 2 }'),
        ('"traits":{"a":[{"b":1,"c":2}]}', '"traits":{"a":[{"c":2,"b":1}]}'),
        ('"context":{"É":"É/"}', r'"context":{"\u00C9":"\u00c9\/"}'),
        ('"x":{"a":"É"},"y":"É"', r'"y":"\u00c9","\u0078":{"a":"\u00c9"}'),
        ('"properties":{"a":1,"a":2}', '"properties":{"a":2}'),
        ('"properties":null,"traits":null', '"context":null'),
        ('"timestamp":"2026-01-31T12:00:00Z"', '"timestamp":"2026-01-31T12:00:00.000Z"'),
        ('"timestamp":"2026-01-31T12:00:00Z"', '"timestamp":"2026-01-31T13:00:00+01:00"'),
        ('"originalTimestamp":"2026-01-31T12:00:00Z"', '"original_timestamp":"2026-01-31t12:00z"'),
        ('"timestamp":""', '"timestamp":null'),
    ],
)
def test_another_json_form_is_the_same_content(one: str, other: str) -> None:
    assert payload_hash(one) == payload_hash(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('"properties":{"a":1,"b":2}', '"properties":{"a":2,"b":1}'),
        ('"properties":{"a":[1,2]}', '"properties":{"a":[2,1]}'),
        ('"properties":{"a":1}', '"properties":{"a":1.0}'),
        ('"properties":{"a":1}', '"properties":{"a":"1"}'),
        ('"properties":{"a":1,"a":2}', '"properties":{"a":1}'),
        ('"properties":{"a":1}', '"traits":{"a":1}'),
        ('"properties":{"a":1},"b":1', '"properties":{"b":1},"a":1'),
        ('"properties":{}', '"properties":null'),
        ('"x":null', '"y":null'),
        ('"x":[]', '"x":{}'),
        ('"timestamp":"2026-01-31T12:00:00Z"', '"timestamp":"2026-01-31T12:00:00.000001Z"'),
        ('"timestamp":"2026-01-31T12:00:00Z"', '"originalTimestamp":"2026-01-31T12:00:00Z"'),
        ('"timestamp":"2026-01-31T12:00:00Z"', '"timestamp":null'),
    ],
)
def test_another_value_is_another_content(one: str, other: str) -> None:
    assert payload_hash(one) != payload_hash(other)


@given(st.integers(0, 2**32))
def test_an_event_in_another_json_form_keeps_its_hash_and_a_changed_event_does_not(
    seed: int,
) -> None:
    pen = Pen(seed)
    event = pen.object()
    members = f'"properties":{event},"x":{event}'
    rewritten = f'"x":{pen.rewritten(event)},"properties":{pen.rewritten(event)}'
    changed = f'"properties":{event},"x":[{event}]'

    assert payload_hash(members) == payload_hash(rewritten)
    assert payload_hash(members) != payload_hash(changed)


@given(INT64, INT64)
def test_only_hashes_of_one_version_can_differ(stored: int, given_hash: int) -> None:
    is_one_version = stored % 2**64 >> 60 == given_hash % 2**64 >> 60
    expected = stored == given_hash or not is_one_version

    assert expected == _native.is_same_content(stored, given_hash)


def test_the_hash_begins_with_its_version() -> None:
    assert payload_hash('"x":1') >> 60 == 2


@given(st.binary(max_size=300))
def test_sha_256_is_what_hashlib_gives(content: bytes) -> None:
    assert hashlib.sha256(content).digest() == _native.sha256(content)
