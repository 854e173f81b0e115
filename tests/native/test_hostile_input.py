"""
Any input gets an answer, and the core accepts the same JSON as Python's json module.

If these tests fail: a sender can stop a worker, or gets a wrong answer for a valid body.
"""

import json
import re
from typing import Any, NoReturn

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service import _native
from service._native import Malformed, Row, Scan
from tests.native.scanned import judge

SEED = (
    b'{"batch":[{"type":"track","event":"a\\u00e9\\n","userId":42,"messageId":"m","properties":'
    b'{"a":[1,-0.5e+3,true,null,{"b":"\xf0\x9f\x98\x80"}]},"x":"y","writeKey":"k"},{"type":"page"}],'
    b'"sentAt":"2026-01-01T00:00:00Z","context":{"ip":"::1"},"writeKey":"k"}'
)
JSON_LIKE = st.text(st.sampled_from('{}[]":,\\u0123dDeE+-.tfn \n\ta\x01é'), max_size=40)
TIME = "2026-03-01T12:00:00.5+01:00"
NO_NUL_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**60), 10**60)
    | st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
    | NO_NUL_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NO_NUL_TEXT, inner, max_size=4),
    max_leaves=20,
)


def answer(body: bytes) -> Scan | Malformed:
    """Return the scan of *body* as a batch; check this scan and that of a single event."""
    scanned = _native.scan_batch(body, 3)
    for each in (scanned, _native.scan_event(body, "track")):
        if isinstance(each, Malformed):
            assert each.code in _native.violation_codes()
            assert each.message
            continue
        for event in judge(each):
            if isinstance(event, Row):
                assert len(json.loads(event.content)) == len(_native.content_names())
            else:
                assert event.code in _native.violation_codes()
                assert event.payload in body or b'"***"' in event.payload
    return scanned


@given(st.binary(max_size=200))
def test_any_bytes_get_an_answer(body: bytes) -> None:
    answer(body)
    answer(b'{"batch":[' + body + b"]}")


@given(
    st.lists(st.tuples(st.integers(0, len(SEED) - 1), st.integers(0, 255)), min_size=1, max_size=5),
    st.integers(0, len(SEED)),
)
def test_any_damage_to_a_good_body_gets_an_answer(edits: list[tuple[int, int]], cut: int) -> None:
    body = bytearray(SEED)
    for place, byte in edits:
        body[place] = byte
    answer(bytes(body))
    answer(bytes(body[:cut]))


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"batch":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
        b'{"batch":[' + b"1" * 1_000_000 + b"]}",
        b'{"batch":[1e' + b"9" * 1_000_000 + b"]}",
        b'{"batch":["' + b"\\ud800" * 100_000 + b'"]}',
        b'{"batch":["' + b"\\" * 1_000_001,
        b'{"batch":[' + b"{}," * 300_000 + b"{}]}",
        b"{" + b'"":1,' * 200_000 + b'"batch":[]}',
        b'{"batch":[{' + b'"":1,' * 200_000 + b'"type":"page"}]}',
        b'{"batch":[{"type":"page","event_id":"' + b"a" * 1_000_000 + b'"}]}',
        b" " * 1_000_000,
        b"\x00" * 1_000_000,
    ],
    ids=lambda body: repr(body[:16]),
)
@pytest.mark.timeout(5)
def test_a_hostile_megabyte_gets_an_answer(body: bytes) -> None:
    answer(body)


def refuse(name: str) -> NoReturn:
    raise ValueError(name)


def is_json_in_python(text: str) -> bool:
    """Whether Python's decoder, in its strict mode, accepts *text*."""
    try:
        json.loads(text, parse_constant=refuse)
    except ValueError:
        return False
    return True


@given(JSON_LIKE)
@example('"\\ud800"')
@example('{"a":1}')
@example("-0.0e-0")
@example("\ufeff1")
def test_the_core_and_python_agree_on_what_is_json(text: str) -> None:
    body = f'{{"other":{text}}}'
    expected = is_json_in_python(body)
    scanned = _native.scan_batch(body.encode(), 50)

    assert isinstance(scanned, Malformed)
    is_json = scanned.code != "malformed_json"  # the core then reports that `batch` is missing
    is_constant = re.search(r"NaN|Infinity", text) is not None
    assert expected == is_json or is_constant


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_what_python_writes_is_accepted_and_stored(
    value: Any, ensure_ascii: bool, indent: int | None
) -> None:
    event = {"type": "page", "properties": {"kept": value}, "other": value}
    body = json.dumps({"batch": [event]}, ensure_ascii=ensure_ascii, indent=indent).encode()
    scanned = answer(body)

    assert isinstance(scanned, Scan)
    (taken,) = judge(scanned)
    assert isinstance(taken, Row)
    content = json.loads(taken.content)
    assert [{"kept": value}, {"other": value}] == [content[10], content[-1]]


@given(NO_NUL_TEXT.filter(bool), NO_NUL_TEXT)
def test_spelling_escapes_and_order_do_not_change_the_content(user_id: str, name: str) -> None:
    ours = {"type": "page", "user_id": user_id, "name": name, "original_timestamp": TIME}
    theirs = {"name": name, "originalTimestamp": TIME, "type": "page", "userId": user_id}
    bodies = [
        json.dumps({"batch": [ours]}, ensure_ascii=False),
        json.dumps({"batch": [theirs]}, ensure_ascii=True, indent=2),
    ]
    contents = set()
    for body in bodies:
        scanned = answer(body.encode())
        assert isinstance(scanned, Scan)
        (event,) = judge(scanned)
        assert isinstance(event, Row)
        contents.add(event.content)

    assert len(contents) == 1
