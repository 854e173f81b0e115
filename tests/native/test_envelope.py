import pytest

from service import _native
from service._native import Event, Malformed, Scan, Violation

GOOD = '{"type":"page"}'


def scan(body: str, events_max: int = 50) -> Scan:
    scanned = _native.scan_batch(body.encode(), events_max)
    assert isinstance(scanned, Scan), scanned
    return scanned


def malformed(body: str) -> Malformed:
    scanned = _native.scan_batch(body.encode(), 50)
    assert isinstance(scanned, Malformed)
    return scanned


def test_the_envelopes_members_are_cut_out() -> None:
    taken = scan(
        f'{{"sentAt":"2026-03-01","x":[1],"batch":[{GOOD}],'
        '"context":{ "ip":"::1" },"writeKey":"k\\u0065y"}'
    )

    assert (
        taken.write_key,
        taken.sent_at,
        taken.context,
        taken.count,
    ) == ("key", "2026-03-01", b'{ "ip":"::1" }', 1)


@pytest.mark.parametrize(
    ("members", "write_key", "sent_at"),
    [
        ('"writeKey":7,"sentAt":null', None, None),
        ('"writeKey":null', None, None),
        ('"writeKey":{"a":1},"sent_at":"2026-03-01"', None, "2026-03-01"),
        ('"sent_at":null,"sentAt":"2026-03-01"', None, "2026-03-01"),
        ('"sent_at":"2026-03-01","sentAt":"\\u0032026-03-01"', None, "2026-03-01"),
        ('"sentAt":""', None, ""),
        ('"context":null', None, None),
        ('"other":NaN,"another":"\\u0000\\ud800","third":1e999', None, None),
        ('"other":1,"other":2', None, None),
    ],
)
def test_what_is_absent_or_not_ours_does_no_harm(
    members: str, write_key: str | None, sent_at: str | None
) -> None:
    taken = scan(f'{{{members},"\\u0062atch":[{GOOD}]}}')

    assert (write_key, sent_at, None, 1) == (
        taken.write_key,
        taken.sent_at,
        taken.context,
        len(taken.events),
    )


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ("{}", "missing_field", "batch"),
        ('{"Batch":[]}', "missing_field", "batch"),
        ('{"batch":null}', "invalid_field", "batch"),
        ('{"batch":{}}', "invalid_field", "batch"),
        ('{"batch":"[]"}', "invalid_field", "batch"),
        ('{"batch":[],"sentAt":7}', "invalid_field", "sentAt"),
        ('{"batch":[],"sent_at":{}}', "invalid_field", "sent_at"),
        ('{"batch":[],"context":[]}', "invalid_field", "context"),
        ('{"batch":[],"context":"{}"}', "invalid_field", "context"),
        ('{"batch":[],"batch":[]}', "ambiguous_field", "batch"),
        ('{"batch":[],"b\\u0061tch":[]}', "ambiguous_field", "batch"),
        ('{"context":{},"batch":[],"context":{}}', "ambiguous_field", "context"),
        ('{"sentAt":"a","batch":[],"sentAt":"a"}', "ambiguous_field", "sentAt"),
        ('{"sent_at":"a","batch":[],"sentAt":"b"}', "ambiguous_field", "sentAt"),
        ('{"writeKey":"a","batch":[],"writeKey":"a"}', "ambiguous_field", "writeKey"),
        ('{"batch":[],"context":{"a":NaN}}', "invalid_number", "context"),
        ('{"batch":[],"context":{"a":"\\u0000"}}', "invalid_text", "context"),
        ('{"batch":[],"context":{"\\ud800":1}}', "invalid_text", "context"),
        ('{"batch":[],"sentAt":"\\ud800"}', "invalid_text", "sentAt"),
        ('{"batch":[],"writeKey":"\\u0000"}', "invalid_text", "writeKey"),
        ('{"batch":[],"x\\u0000":1}', "invalid_text", "x\\u0000"),
        ('{"batch":[],"sentAt":"soon"}', "invalid_timestamp", "sentAt"),
        ('{"batch":[],"sentAt":"1969-12-31"}', "invalid_timestamp", "sentAt"),
        ('{"context":' + '{"a":' * 64 + "1" + "}" * 64 + ',"batch":[]}', "too_deep", "context"),
    ],
)
def test_a_broken_envelope_refuses_the_body(body: str, code: str, field: str) -> None:
    refused = malformed(body)

    assert (code, field) == (refused.code, refused.field)
    assert field in refused.message


def test_a_refusal_says_what_was_found() -> None:
    refused = malformed('{"batch":{}}')

    assert refused.message == "batch must be an array, this is an object"
    assert refused.actual == "an object"


def test_a_time_of_sending_that_is_none_is_quoted() -> None:
    assert (
        'sentAt "soon" is not an ISO 8601 time such as 2026-01-31T12:00:00.000Z'
        == malformed('{"batch":[],"sentAt":"soon"}').message
    )
    assert (
        'sentAt "1969-12-31" is before 1970'
        == malformed('{"batch":[],"sentAt":"1969-12-31"}').message
    )


def test_what_is_not_json_comes_before_what_is_missing() -> None:
    assert malformed('{"context":[]').code == "malformed_json"
    assert malformed('{"batch":[],"batch":[]}]').code == "malformed_json"


def test_an_empty_batch_is_a_scan_of_none() -> None:
    taken = scan('{"batch":[ ]}')

    assert (taken.count, taken.events) == (0, [])


def test_events_past_the_limit_are_counted_and_held_to_the_grammar_alone() -> None:
    taken = scan(f'{{"batch":[{GOOD},7,{GOOD},NaN,{{"x":"\\u0000","x":1}}]}}', events_max=2)

    assert taken.count == 5
    assert [Event, Violation] == [type(event) for event in taken.events]
    assert scan(f'{{"batch":[{GOOD}]}}', events_max=0).events == []
    assert malformed("{" + f'"batch":[{GOOD * 2}]' + "}").code == "malformed_json"


def test_a_good_event_keeps_its_envelope_out_of_its_content() -> None:
    alone = scan(f'{{"batch":[{GOOD}]}}').events[0]
    envelope = '"sentAt":"2026-03-01","context":{"a":1},"writeKey":"k"'
    within = scan(f'{{{envelope},"batch":[{GOOD}]}}').events[0]

    assert isinstance(alone, Event)
    assert isinstance(within, Event)
    assert alone.content == within.content


def test_only_bytes_are_a_body() -> None:
    with pytest.raises(TypeError):
        _native.scan_batch("{}", 50)  # type: ignore[arg-type]
    with pytest.raises(OverflowError):
        _native.scan_batch(b"{}", -1)
