"""
The envelope of a batch: its members, their limits and their errors.

If these tests fail: a sender of batches gets a wrong answer, or its events get the wrong context.
"""

import pytest

from service import _native
from service._native import Row, Violation
from tests.native.scanned import CLOCK_SKEW_MIN_US, Arrival, judge, judge_batch, malformed, scan
from tests.pgcopy import read_copy

GOOD = '{"type":"page"}'
MARCH_1_US = 1_772_323_200_000_000


def stored(body: str) -> tuple[bytes | None, int | None]:
    """Return the stored context and the stored time of sending of the only event of *body*."""
    rows, refused = scan(body).rows(_native.RowIds(0, bytes(32)), Arrival(), CLOCK_SKEW_MIN_US)
    assert not refused
    (row,), (columns,) = rows.all(), read_copy(rows.copy_data())
    return columns["context"], row.sent_at_us


def test_the_members_of_the_envelope_are_read() -> None:
    body = (
        f'{{"sentAt":"2026-03-01","x":[1],"batch":[{GOOD}],'
        '"context":{ "ip":"::1" },"writeKey":"k\\u0065y"}'
    )

    assert ("key", 1) == (scan(body).write_key, scan(body).count)
    assert (b'{ "ip":"::1" }', MARCH_1_US) == stored(body)


def test_an_empty_array_is_an_empty_context() -> None:
    assert (b"{}", None) == stored(f'{{"context":[ ],"batch":[{GOOD}]}}')


def test_the_size_of_the_context_has_its_numbers_written_out() -> None:
    numbers = '{"a":[1e100,2.5E-7,3],"b":"1e99"}'

    assert 0 == scan(f'{{"batch":[{GOOD}]}}').context_bytes
    assert len(numbers) + 107 == scan(f'{{"context":{numbers},"batch":[]}}').context_bytes


@pytest.mark.parametrize(
    ("members", "write_key", "sent_at_us"),
    [
        ('"writeKey":7,"sentAt":null', None, None),
        ('"writeKey":null', None, None),
        ('"writeKey":{"a":1},"sent_at":"2026-03-01"', None, MARCH_1_US),
        ('"sent_at":null,"sentAt":"2026-03-01"', None, MARCH_1_US),
        ('"sent_at":"2026-03-01","sentAt":"\\u0032026-03-01"', None, MARCH_1_US),
        ('"sentAt":""', None, None),
        ('"sentAt":1772323200', None, MARCH_1_US),
        ('"sent_at":1772323200000.000', None, MARCH_1_US),
        ('"context":null', None, None),
        ('"other":NaN,"another":"\\u0000\\ud800","third":1e999', None, None),
        ('"other":1,"other":2', None, None),
    ],
)
def test_a_missing_or_unknown_member_is_no_error(
    members: str, write_key: str | None, sent_at_us: int | None
) -> None:
    body = f'{{{members},"\\u0062atch":[{GOOD}]}}'

    assert write_key == scan(body).write_key
    assert (None, sent_at_us) == stored(body)


@pytest.mark.parametrize(
    ("members", "events", "write_key", "are_different"),
    [
        ("", '{"writeKey":"a"}', "a", False),
        ("", '{"writeKey":"a"},{"writeKey":"\\u0061"},{},7,null', "a", False),
        ("", '{"writeKey":""},{"writeKey":null},{"writeKey":"a"},{"writeKey":7}', "a", False),
        ("", '{"writeKey":"a\\u0000"},{"writeKey":["a"]},{"writeKey":"b"}', "b", False),
        ("", '{"writeKey":"a"},{"writeKey":"b"},{"writeKey":"a"}', None, True),
        # Of a repeated member the last one counts; the event itself is rejected.
        ("", '{"writeKey":"a","writeKey":"b"}', "b", False),
        ('"writeKey":"",', '{"writeKey":"a"}', "a", False),
        ('"writeKey":null,', '{"writeKey":"a"}', "a", False),
        ('"writeKey":"own",', '{"writeKey":"a"},{"writeKey":"b"}', "own", False),
        ('"writeKey":"",', "{}", "", False),
        ("", '{"write_key":"a","properties":{"writeKey":"a"}}', None, False),
        ("", '{},{},{},{"writeKey":"after the limit"}', None, False),
    ],
)
def test_the_key_of_the_events_is_that_of_a_batch_without_one(
    members: str, events: str, write_key: str | None, *, are_different: bool
) -> None:
    limit = 3 if "limit" in events else 50
    for body in (f'{{{members}"batch":[{events}]}}', f'{{"batch":[{events}],{members}"x":1}}'):
        scanned = scan(body, events_max=limit)

        assert (write_key, are_different) == (scanned.write_key, scanned.has_different_keys)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ("{}", "missing_field", "batch"),
        ('{"Batch":[]}', "missing_field", "batch"),
        ('{"batch":null}', "invalid_field", "batch"),
        ('{"batch":{}}', "invalid_field", "batch"),
        ('{"batch":"[]"}', "invalid_field", "batch"),
        ('{"batch":[],"sentAt":7}', "invalid_timestamp", "sentAt"),
        ('{"batch":[],"sentAt":true}', "invalid_field", "sentAt"),
        ('{"batch":[],"sentAt":NaN}', "invalid_number", "sentAt"),
        ('{"batch":[],"sent_at":1772323200,"sentAt":1772323200000}', "ambiguous_field", "sentAt"),
        ('{"batch":[],"sent_at":{}}', "invalid_field", "sent_at"),
        ('{"batch":[],"context":[0]}', "invalid_field", "context"),
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

    assert refused.message == "batch must be an array, but is an object"
    assert refused.actual == "an object"


def test_an_invalid_time_of_sending_is_quoted() -> None:
    assert (
        'sentAt "soon" is not an ISO 8601 time such as 2026-01-31T12:00:00.000Z'
        == malformed('{"batch":[],"sentAt":"soon"}').message
    )
    assert (
        'sentAt "1969-12-31" is before 1970'
        == malformed('{"batch":[],"sentAt":"1969-12-31"}').message
    )


def test_the_digits_of_other_members_do_not_count_for_the_envelope() -> None:
    other = ",".join(["1e308"] * 54)
    events = f'{{"type":"page","properties":{{"n":[{other}]}}}}'
    taken = scan(f'{{"other":[{other}],"batch":[{events}],"writeKey":1e5}}')

    assert (taken.count, taken.write_key) == (1, None)


def test_invalid_json_is_reported_before_a_missing_member() -> None:
    assert malformed('{"context":[]').code == "malformed_json"
    assert malformed('{"batch":[],"batch":[]}]').code == "malformed_json"


def test_a_batch_may_be_empty() -> None:
    taken = scan('{"batch":[ ]}')

    assert (taken.count, judge(taken)) == (0, [])


def test_events_past_the_limit_are_counted_and_checked_only_for_json_syntax() -> None:
    taken = scan(f'{{"batch":[{GOOD},7,{GOOD},NaN,{{"x":"\\u0000","x":1}}]}}', events_max=2)

    assert taken.count == 5
    assert [Row, Violation] == [type(event) for event in judge(taken)]
    assert judge(scan(f'{{"batch":[{GOOD}]}}', events_max=0)) == []
    assert malformed("{" + f'"batch":[{GOOD * 2}]' + "}").code == "malformed_json"


def test_the_envelope_is_not_content() -> None:
    (alone,) = judge_batch(f'{{"batch":[{GOOD}]}}')
    envelope = '"sentAt":"2026-03-01","context":{"a":1},"writeKey":"k"'
    (within,) = judge_batch(f'{{{envelope},"batch":[{GOOD}]}}')

    assert isinstance(alone, Row)
    assert isinstance(within, Row)
    assert alone.content == within.content


def test_only_bytes_are_a_body() -> None:
    with pytest.raises(TypeError):
        _native.scan_batch("{}", 50)  # type: ignore[arg-type]
    with pytest.raises(OverflowError):
        _native.scan_batch(b"{}", -1)
