"""
The JSON object of an event that goes into quarantine.

If these tests fail: an analyst reads an event in quarantine that differs from what was sent.
"""

import json
from datetime import UTC, datetime

import msgspec
import pytest

from service._native import content_names
from service.content import as_object

VALUES = {
    "type": '"track"',
    "event": '"Signed Up"',
    "user_id": '"u"',
    "category": '"c"',
    "timestamp": '"2026-03-01"',
    "properties": '{ "a" : 1.50e3 }',
    "context": "{}",
    "extra": '{"plan":"pro"}',
}
CANONICAL = f"[{','.join(VALUES.get(name, 'null') for name in content_names())}]".encode()


def test_an_event_has_its_known_and_unknown_members_and_no_nulls() -> None:
    assert json.loads(as_object(CANONICAL, "e1", "2026-03-02")) == {
        "type": "track",
        "event": "Signed Up",
        "user_id": "u",
        "category": "c",
        "timestamp": "2026-03-01",
        "properties": {"a": 1500.0},
        "context": {},
        "event_id": "e1",
        "sent_at": "2026-03-02",
        "plan": "pro",
    }


def test_documents_are_the_bytes_as_sent() -> None:
    assert b'{ "a" : 1.50e3 }' in as_object(CANONICAL, None, None)


def test_an_unknown_id_and_time_are_left_out() -> None:
    assert {"event_id", "sent_at"}.isdisjoint(json.loads(as_object(CANONICAL, None, None)))


def test_the_time_of_sending_may_be_a_datetime() -> None:
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)

    assert b'"sent_at":"2026-03-01T12:00:00Z"' in as_object(CANONICAL, None, moment)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'["track"]', b"[" + b"1," * 99 + b"1]"])
def test_content_of_another_form_is_an_error(content: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, ValueError)):
        as_object(content, None, None)
