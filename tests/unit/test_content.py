"""
The content of an event: decoded from its canonical form, and encoded as JSON again.

If these tests fail: an event in quarantine cannot be sent again, or with other content.
"""

import json
from datetime import UTC, datetime

import msgspec
import pytest

from service.content import as_object, decode_event

CANONICAL = (
    b'["track","Signed Up","u",null,null,null,null,"c","2026-03-01",null,'
    b'{ "a" : 1.50e3 },null,{},{"plan":"pro"}]'
)


def test_documents_stay_the_bytes_they_were() -> None:
    raw = decode_event(CANONICAL)

    assert ("track", "Signed Up", "u", None) == (raw.type, raw.event, raw.user_id, raw.group_id)
    documents = (raw.properties, raw.traits, raw.context, raw.extra)
    assert [b'{ "a" : 1.50e3 }', b"null", b"{}", b'{"plan":"pro"}'] == [*map(bytes, documents)]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'["track"]', b"[" + b"1," * 13 + b"1]"])
def test_another_form_is_not_decoded(content: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_event(content)


def test_an_event_is_written_with_what_it_has() -> None:
    raw = decode_event(CANONICAL)

    assert json.loads(as_object(raw, "e1", "2026-03-02")) == {
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
    assert b"1.50e3" in as_object(raw, None, None)


def test_what_is_not_known_is_left_out() -> None:
    assert {"event_id", "sent_at"}.isdisjoint(
        json.loads(as_object(decode_event(CANONICAL), None, None))
    )


def test_a_time_of_sending_may_be_a_time() -> None:
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)

    written = json.loads(as_object(decode_event(CANONICAL), None, moment))

    assert "2026-03-01T12:00:00Z" == written["sent_at"]
