"""A batch's context is under the context of each of its events."""

import json

import pytest

from service.pipeline.context import merge_context


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        (None, None, None),
        (b'{"a":1}', None, b'{"a":1}'),
        (None, b'{ "b" : 2 }', b'{ "b" : 2 }'),
        (b'{"a":1,"b":1}', b'{"b":2}', b'{"a":1,"b":2}'),
        (b'{"a":{"x":1}}', b'{"a":{"y":1}}', b'{"a":{"y":1}}'),
        (b'{"a":1}', b'{"a":null}', b'{"a":null}'),
        (b"{}", b"{}", b"{}"),
    ],
)
def test_the_members_of_both_are_there_and_the_events_own_win(
    outer: bytes | None, inner: bytes | None, expected: bytes | None
) -> None:
    assert expected == merge_context(outer, inner)


def test_values_are_kept_as_sent() -> None:
    merged = merge_context(b'{"a": 1.50e3, "\\u00e9": "\\u00e9"}', b'{"b":12345678901234567890123}')

    assert merged is not None
    assert b"1.50e3" in merged
    assert b"12345678901234567890123" in merged
    assert list(json.loads(merged)) == ["a", "é", "b"]
