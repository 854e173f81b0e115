"""
The rules for each field of an event, in a batch and alone.

If these tests fail: a sender gets a wrong answer for an event, or a wrong event is stored.
"""

import json
from typing import Any, Final

import pytest

from service import _native
from service._native import Row, Violation
from tests.native.scanned import judge, judge_batch, scan

# Not random: it is in the names of test cases, which must be the same in all test processes.
KEY: Final = "fb1_hAjvnWdZDw0w_EXwfrovwf5fxZOi8L7RAR8TrmLgCa2Qf0doXdj"
ESCAPED_KEY: Final = "".join(f"\\u{ord(character):04x}" for character in KEY)


def judge_event(event: str) -> Row | Violation:
    """Judge an event at each index of a batch: one result, and the other events are accepted."""
    good = '{"type":"page"}'
    verdicts = []
    for index in range(3):
        events = [good, good]
        events.insert(index, event)
        found = judge_batch(f'{{"batch":[{",".join(events)}]}}')
        verdicts.append(found.pop(index))
        assert [type(other) for other in found] == [Row, Row]
    assert len({getattr(verdict, "message", None) for verdict in verdicts}) == 1
    return verdicts[0]


def violation(event: str) -> Violation:
    verdict = judge_event(event)
    assert isinstance(verdict, Violation)
    return verdict


def row(event: str) -> Row:
    verdict = judge_event(event)
    assert isinstance(verdict, Row), verdict
    return verdict


def content(event: str) -> dict[str, Any]:
    values = zip(_native.content_names(), json.loads(row(event).content), strict=True)
    return {name: value for name, value in values if value is not None}


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ('{"name":77.50}', "name must be text, but is the number 77.50"),
        ('{"messageId":true}', "messageId must be text or a number, but is a boolean"),
        ('{"message_id":[]}', "message_id must be text or a number, but is an array"),
        ('{"timestamp":{}}', "timestamp must be text or a number, but is an object"),
        ('{"traits":[1]}', "traits must be an object, but is an array"),
        ('{"userId":[]}', "userId must be text or a number, but is an array"),
    ],
)
def test_a_field_of_the_wrong_type_is_named_with_what_it_must_be_and_what_it_is(
    event: str, message: str
) -> None:
    found = violation(event.replace("{", '{"type":"page",', 1))

    assert ("invalid_field", message) == (found.code, found.message)


@pytest.mark.parametrize(
    ("event", "code", "field"),
    [
        ("{}", "missing_field", "type"),
        ('{"type":null}', "missing_field", "type"),
        ('{"type":"trac"}', "invalid_type", "type"),
        ('{"type":""}', "invalid_type", "type"),
        ('{"type":"Track"}', "invalid_type", "type"),
        ('{"type":5}', "invalid_field", "type"),
        ('{"type":"track"}', "missing_field", "event"),
        ('{"type":"track","event":""}', "missing_field", "event"),
        ('{"type":"track","event":null}', "missing_field", "event"),
        ('{"type":"track","event":7}', "invalid_field", "event"),
        ('{"type":"identify"}', "missing_field", "user_id"),
        ('{"type":"identify","userId":null,"anonymousId":""}', "missing_field", "userId"),
        ('{"type":"group","userId":"u"}', "missing_field", "group_id"),
        ('{"type":"group","groupId":""}', "missing_field", "groupId"),
        ('{"type":"alias","userId":"u"}', "missing_field", "previous_id"),
        ('{"type":"alias","previousId":"p"}', "missing_field", "user_id"),
        ('{"type":"page","userId":{}}', "invalid_field", "userId"),
        ('{"type":"page","user_id":true}', "invalid_field", "user_id"),
        ('{"type":"page","name":1}', "invalid_field", "name"),
        ('{"type":"page","category":[]}', "invalid_field", "category"),
        ('{"type":"page","timestamp":1.7e9}', "invalid_timestamp", "timestamp"),
        ('{"type":"page","originalTimestamp":1}', "invalid_timestamp", "originalTimestamp"),
        ('{"type":"page","sentAt":1772366400000000}', "invalid_timestamp", "sentAt"),
        ('{"type":"page","timestamp":NaN}', "invalid_number", "timestamp"),
        ('{"type":"page","timestamp":"1772366400"}', "invalid_timestamp", "timestamp"),
        ('{"type":"page","sentAt":{}}', "invalid_field", "sentAt"),
        ('{"type":"page","properties":[null]}', "invalid_field", "properties"),
        ('{"type":"page","context":[[]]}', "invalid_field", "context"),
        ('{"type":"page","traits":"x"}', "invalid_field", "traits"),
        ('{"type":"page","context":0}', "invalid_field", "context"),
        ('{"type":"page","messageId":false}', "invalid_field", "messageId"),
        ('{"type":"page","messageId":NaN}', "invalid_number", "messageId"),
        ('{"type":"page","messageId":%s}' % ("1" * 65), "invalid_number", "messageId"),
        ('{"type":"page","message_id":"a\\tb"}', "invalid_event_id", "message_id"),
        ('{"type":"page","message_id":"a","messageId":"b"}', "ambiguous_field", "message_id"),
        ('{"type":"page","message_id":1,"event_id":1.0}', "ambiguous_field", "message_id"),
        ('{"type":"page","message_id":"a","message_id":"a"}', "ambiguous_field", "message_id"),
        ('{"type":"page","event_id":"a\\tb"}', "invalid_event_id", "event_id"),
        ('{"type":"page","event_id":"\x7f"}', "invalid_event_id", "event_id"),
        ('{"type":"page","event_id":"\x85"}', "invalid_event_id", "event_id"),
        ('{"type":"page","event_id":"%s"}' % ("a" * 201), "invalid_event_id", "event_id"),
        ('{"type":"page","event_id":"%s"}' % ("é" * 101), "invalid_event_id", "event_id"),
        ('{"type":"page","user_id":"a","userId":"b"}', "ambiguous_field", "userId"),
        ('{"type":"page","sent_at":"a","sentAt":"b"}', "ambiguous_field", "sentAt"),
        ('{"type":"page","name":"a","name":"a"}', "ambiguous_field", "name"),
        ('{"type":"page","other":1,"other":1}', "ambiguous_field", "other"),
        ('{"type":"page","other":1,"oth\\u0065r":1}', "ambiguous_field", "other"),
        ('{"type":"page","event":"a","\\u0065vent":"a"}', "ambiguous_field", "event"),
        ('{"type":"page","writeKey":"a","writeKey":"a"}', "ambiguous_field", "writeKey"),
        ('{"type":"page","timestamp":"soon"}', "invalid_timestamp", "timestamp"),
        ('{"type":"page","timestamp":"1969-12-31"}', "invalid_timestamp", "timestamp"),
        ('{"type":"page","original_timestamp":"t"}', "invalid_timestamp", "original_timestamp"),
        ('{"type":"page","originalTimestamp":"t"}', "invalid_timestamp", "originalTimestamp"),
        ('{"type":"page","sent_at":"now"}', "invalid_timestamp", "sent_at"),
        ('{"type":"page","sentAt":" "}', "invalid_timestamp", "sentAt"),
        ("[]", "invalid_event", None),
        ("null", "invalid_event", None),
        ('"text"', "invalid_event", None),
        ("NaN", "invalid_event", None),
    ],
)
def test_an_event_that_breaks_a_rule_is_refused_alone(
    event: str, code: str, field: str | None
) -> None:
    verdict = violation(event)

    assert (code, field) == (verdict.code, verdict.field)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ("[]", "an event must be an object, but is an array"),
        ("{}", "each event of a batch needs type: track, identify, page, screen, group, alias"),
        (
            '{"type":"x"}',
            'type must be one of track, identify, page, screen, group, alias, but is "x"',
        ),
        ('{"type":"track"}', "track needs event, not null and not empty"),
        ('{"type":"page","userId":{}}', "userId must be text or a number, but is an object"),
        (
            '{"type":"page","userId":1,"user_id":2}',
            "user_id and userId are both given, with different values",
        ),
        (
            '{"type":"page","message_id":"a","event_id":"b"}',
            "event_id and message_id are both given, with different values",
        ),
        (
            '{"type":"page","timestamp":1772366400000000}',
            (
                "timestamp 1772366400000000 is not a time: a number must have 10 digits before the"
                " point, for seconds since 1970, or 13, for milliseconds"
            ),
        ),
        ('{"type":"page","x":1,"x":2}', "duplicate x in the event"),
        (
            f'{{"type":"page","messageId":"{"é" * 101}"}}',
            "messageId must have 1 to 200 bytes, but has 202",
        ),
        (
            '{"type":"page","messageId":"\\n"}',
            "messageId must have no control characters, but has U+000A",
        ),
        (
            '{"type":"page","sentAt":"a\\tb"}',
            'sentAt "a\\tb" is not an ISO 8601 time such as 2026-01-31T12:00:00.000Z',
        ),
        (
            '{"type":"page","sent_at":"1970-01-01T00:00:00+01:00"}',
            'sent_at "1970-01-01T00:00:00+01:00" is before 1970',
        ),
    ],
)
def test_a_message_has_the_field_the_limit_and_the_value(event: str, message: str) -> None:
    assert message == violation(event).message


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ('{"type":"page","userId":42}', {"user_id": "42"}),
        ('{"type":"page","userId":-1.50e3}', {"user_id": "-1.50e3"}),
        ('{"type":"page","userId":null,"user_id":"u"}', {"user_id": "u"}),
        ('{"type":"page","userId":"u","user_id":""}', {"user_id": "u"}),
        ('{"type":"page","userId":"u","user_id":"\\u0075"}', {"user_id": "u"}),
        ('{"type":"page","userId":42,"user_id":"42"}', {"user_id": "42"}),
        ('{"type":"page","userId":"","groupId":null}', {}),
        ('{"type":"page","name":"","category":""}', {"name": "", "category": ""}),
        ('{"type":"page","properties":null,"traits":{}}', {"traits": {}}),
        ('{"type":"page","writeKey":"secret","wri\\u0074ekey":1}', {"extra": {"writekey": 1}}),
        (f'{{"type":"page","api_key":"{KEY}","WRITEKEY":"{ESCAPED_KEY}","x":"{KEY}0"}}',
         {"extra": {"x": f"{KEY}0"}}),
        (f'{{"type":"page","apiKey":"{KEY}","properties":{{"apiKey":"{KEY}"}}}}',
         {"properties": {"apiKey": KEY}}),
        ('{"type":"page","event_id":"x","messageId":"x","sentAt":"2026-03-01"}', {}),
        ('{"type":"page","event_id":7,"messageId":"7","message_id":"\\u0037"}', {}),
        ('{"type":"page","properties":[],"context":[ ]}', {"properties": [], "context": []}),
        ('{"type":"page","timestamp":1772280000,"originalTimestamp":1772280000123.5}',
         {"timestamp": 1772280000, "original_timestamp": 1772280000123.5}),
        ('{"type":"page","b":1,"a":[{"c":2}]}', {"extra": {"b": 1, "a": [{"c": 2}]}}),
        ('{"type":"page","originalTimestamp":"2026-02-28 23:59+01:00","timestamp":"2026-3-01"}',
         {"timestamp": "2026-3-01", "original_timestamp": "2026-02-28 23:59+01:00"}),
        ('{"type":"page","timestamp":"","originalTimestamp":"","sentAt":""}',
         {"timestamp": "", "original_timestamp": ""}),
        ('{"type":"page","event":"","previous_id":"p"}', {"event": "", "previous_id": "p"}),
        ('{"type":"page","properties":{"a":1,"a":2}}', {"properties": {"a": 2}}),
        ('{"type":"identify","anonymousId":"a"}', {"type": "identify", "anonymous_id": "a"}),
        ('{"type":"alias","previousId":"p","userId":"u"}',
         {"type": "alias", "previous_id": "p", "user_id": "u"}),
    ],
)  # fmt: skip
def test_a_valid_event_has_one_canonical_content(event: str, expected: dict[str, Any]) -> None:
    assert {"type": "page"} | expected == content(event)


def test_documents_are_stored_byte_for_byte() -> None:
    kept = row('{"type":"page","properties":{ "a" : "\\u00e9" },"x" : [ 1 ]}').content

    assert b'{ "a" : "\\u00e9" }' in kept
    assert kept.endswith(b',{"x":[ 1 ]}]')


@pytest.mark.parametrize("event_id", ["a", "é" * 100, " a ", "'", '\\"', "\\u00e9"])
def test_an_event_id_is_any_text_without_control_characters(event_id: str) -> None:
    made = row(f'{{"type":"page","messageId":"{event_id}"}}')

    assert json.loads(f'"{event_id}"') == made.event_id


@pytest.mark.parametrize("name", ["event_id", "messageId", "message_id"])
@pytest.mark.parametrize("number", ["7", "-0", "1.0", "1e3", "1E+3", "12345678901234567890123"])
def test_an_event_id_may_be_a_number_and_has_the_digits_as_sent(name: str, number: str) -> None:
    one, other = (row(f'{{"type":"page","{name}":{value}}}') for value in (number, f'"{number}"'))

    assert number == one.event_id
    assert (one.event_key, one.payload_hash) == (other.event_key, other.payload_hash)


@pytest.mark.parametrize(
    "member", ['"x":1', '"event_id":null', '"messageId":""', '"message_id":""']
)
def test_an_event_without_an_id_gets_one(member: str) -> None:
    assert 20 == len(row(f'{{"type":"page",{member}}}').event_id)


def test_quarantine_gets_the_event_as_sent_with_its_keys_masked() -> None:
    verdict = violation(
        '{ "writeKey" : "s1", "type":"nope","event_id":"e1", "write\\u004bey":{"a":"s2"},'
        ' "properties":{"writeKey":"kept"}}'
    )

    assert verdict.event_id == "e1"
    assert verdict.payload == (
        b'{ "writeKey" : "***", "type":"nope","event_id":"e1", "write\\u004bey":"***",'
        b' "properties":{"writeKey":"kept"}}'
    )


def test_quarantine_gets_no_key_of_ours_under_another_name() -> None:
    verdict = violation(f'{{"apiKey":"{KEY}","type":"nope","k":"{ESCAPED_KEY}","x":"{KEY}0"}}')
    assert verdict.payload == b'{"apiKey":"***","type":"nope","k":"***","x":"%b0"}' % KEY.encode()

    assert violation(f'"{KEY}"').payload == b'"***"'
    assert violation(f'"{KEY}0"').payload == b'"%b0"' % KEY.encode()


@pytest.mark.parametrize("event_id", ["NaN", "1e309", '"\\ud800"', '"\\t"', '"a","messageId":"b"'])
def test_an_invalid_event_id_is_not_repeated(event_id: str) -> None:
    assert violation(f'{{"event_id":{event_id}}}').event_id is None


@pytest.mark.parametrize("event_type", ["track", "identify", "page", "screen", "group", "alias"])
def test_the_path_gives_the_type_of_a_single_event(event_type: str) -> None:
    ids = '"event":"e","userId":"u","groupId":"g","previousId":"p"'
    for given in ("", ',"type":null', f',"type":"{event_type}"'):
        (made,) = judge(scan(f"{{{ids}{given}}}", event_type))
        assert isinstance(made, Row)
        assert event_type == json.loads(made.content)[0]


@pytest.mark.parametrize("given", ["page", "trac", ""])
def test_a_single_event_of_another_type_than_its_path_is_ambiguous(given: str) -> None:
    body = json.dumps({"event": "e", "type": given, "writeKey": "key", "sentAt": "now"})
    scanned = scan(body, "track")

    assert (1, "key") == (scanned.count, scanned.write_key)
    (verdict,) = judge(scanned)
    assert isinstance(verdict, Violation)
    assert (verdict.code, verdict.field) == ("ambiguous_field", "type")


def test_an_unknown_endpoint_raises_a_value_error() -> None:
    with pytest.raises(ValueError, match="must be one of track"):
        _native.scan_event(b"{}", "batch")
