"""
JSON that PostgreSQL cannot store rejects one event; invalid JSON refuses the whole body.

If these tests fail: a sender loses a whole batch for one event, or PostgreSQL refuses a flush.
"""

import pytest

from service import _native
from service._native import Malformed, Row, Violation
from tests.native.scanned import judge_batch, malformed

GOOD = '{"type":"page"}'


def verdict(value: str) -> Row | Violation:
    """Judge an event with *value* in its properties, between two accepted events."""
    event = f'{{"type":"page","messageId":"m","properties":{{"a":[{value}]}}}}'
    first, middle, last = judge_batch(f'{{"batch":[{GOOD},{event},{GOOD}]}}')
    assert [type(first), type(last)] == [Row, Row]
    return middle


@pytest.mark.parametrize(
    "value",
    [
        "0",
        "-0",
        "1" * 64,
        "-1.5E+308",
        "1e-308",
        "1e0000308",
        '"\\\\u0000"',
        '"\\\\\\\\u0000"',
        '"\\ud83d\\ude00"',
        '"\\uD83D\\uDE00\\u0001"',
        '"NaN Infinity"',
        '"\x7f\x85\u2028"',
        '"' + "plain text " * 1_000 + '"',
        '{"a":1,"a":2}',
        " [ ] , { } , \t\r\n [ { } ] ",
    ],
)
def test_json_that_postgresql_can_store_is_accepted(value: str) -> None:
    assert isinstance(verdict(value), Row)


@pytest.mark.parametrize(
    ("value", "code", "part"),
    [
        ("1" * 65, "invalid_number", "65 bytes; the limit is 64"),
        ("0." + "0" * 63, "invalid_number", "65 bytes"),
        ("1" * 100_000, "invalid_number", "100000 bytes"),
        ("1e309", "invalid_number", "1e309, whose exponent is not within -308 to 308"),
        ("1E-309", "invalid_number", "1E-309"),
        ("0e99999999999999999999", "invalid_number", "0e99999999999999999999"),
        ("[" + "1e308," * 54 + "1]", "invalid_number", "stand for more than 16384 digits"),
        ("[" + "1e-308," * 54 + "1]", "invalid_number", "stand for more than 16384 digits"),
        ("NaN", "invalid_number", "NaN, which is not a JSON number"),
        ("Infinity", "invalid_number", "Infinity"),
        ("-Infinity", "invalid_number", "-Infinity"),
        ('"a\\u0000"', "invalid_text", "the escape \\u0000"),
        ('"\\\\\\u0000"', "invalid_text", "the escape \\u0000"),
        ('{"\\u0000":1}', "invalid_text", "U+0000"),
        ('"\\ud83d"', "invalid_text", "the escape \\ud83d"),
        ('"\\ude00"', "invalid_text", "the escape \\ude00"),
        ('"\\ude00\\ud83d"', "invalid_text", "the escape \\ude00"),
        ('"\\ud83dx\\ude00"', "invalid_text", "the escape \\ud83d"),
        ('"\\ud83d\\ud83d\\ude00"', "invalid_text", "half of a surrogate pair"),
        ('{"\\udfff":1}', "invalid_text", "\\udfff"),
        ("[" * 62 + "]" * 62, "too_deep", "64 levels"),
        ('{"a":' * 62 + "1" + "}" * 62, "too_deep", "64 levels"),
    ],
)
def test_json_that_postgresql_refuses_rejects_only_its_event(
    value: str, code: str, part: str
) -> None:
    refused = verdict(value)

    assert isinstance(refused, Violation)
    assert (code, "properties", "m") == (refused.code, refused.field, refused.event_id)
    assert refused.message.startswith("properties ")
    assert part in refused.message


def test_digits_of_numbers_are_counted_for_each_event() -> None:
    large = f'{{"type":"page","properties":{{"n":[{",".join(["1e308"] * 53)}]}}}}'
    body = f'{{"context":{{"n":[{",".join(["1e308"] * 53)}]}},"batch":[{large},{large}]}}'

    assert all(isinstance(one, Row) for one in judge_batch(body))


def test_the_64th_level_is_accepted() -> None:
    assert isinstance(verdict("[" * 61 + "]" * 61), Row)


@pytest.mark.parametrize(
    ("member", "field"),
    [
        ('"other":NaN', "other"),
        ('"writeKey":NaN', "writeKey"),
        ('"userId":"\\u0000"', "userId"),
        ('"a\\ud800":1', "a\\ud800"),
        ('"a\\u0000b":1', "a\\u0000b"),
        (f'"{"k" * 100}":NaN', "k" * 64 + "…"),
    ],
)
def test_a_violation_names_the_member_of_the_event(member: str, field: str) -> None:
    (refused,) = judge_batch(f'{{"batch":[{{"type":"page",{member}}}]}}')

    assert isinstance(refused, Violation)
    assert field == refused.field


@pytest.mark.parametrize(
    ("value", "offset", "part"),
    [
        ("01", 1, "expected ',' or ']'"),
        ("-", 1, "expected a digit"),
        ("+1", 0, "expected a JSON value"),
        (".5", 0, "expected a JSON value"),
        ("1.", 2, "expected a digit"),
        ("1e", 2, "expected a digit"),
        ("1e+", 3, "expected a digit"),
        ("-NaN", 1, "expected a digit"),
        ("-Infinit", 1, "expected a digit"),
        ("nul", 0, "expected a JSON value"),
        ("True", 0, "expected a JSON value"),
        ("'a'", 0, "found '''"),
        ("1,", 2, "expected a JSON value"),
        (",1", 0, "expected a JSON value"),
        ("1 2", 2, "expected ',' or ']'"),
        ("[1}", 2, "expected ',' or ']'"),
        ('{"a":1]', 6, "expected ',' or '}'"),
        ('{"a" 1}', 5, "expected ':'"),
        ('{"a"}', 4, "expected ':'"),
        ("{a:1}", 1, "expected a member name"),
        ('{"a":1,}', 7, "expected a member name"),
        ("{1:1}", 1, "expected a member name"),
        ('"\\x"', 2, "expected one of"),
        ('"\\u12g4"', 5, "expected four hexadecimal digits"),
        ('"\\ud83d\\u12"', 11, "expected four hexadecimal digits"),
        ('"\t"', 1, "found U+0009"),
        ('"\0"', 1, "found U+0000"),
        ("\0", 0, "found U+0000"),
        ("\xa0", 0, "found U+00A0"),
        ("// no", 0, "expected a JSON value"),
    ],
)
def test_invalid_json_refuses_the_body_with_the_offset(value: str, offset: int, part: str) -> None:
    start = '{"batch":[{"type":"page","properties":{"":['
    refused = malformed(f"{start}{value}]}}}}]}}")

    assert refused.code == "malformed_json"
    assert refused.offset == len(start) + offset
    assert part in refused.message
    assert f"at byte {refused.offset}" in refused.message


@pytest.mark.parametrize(
    ("body", "message", "offset"),
    [
        (b"", "but is an empty body", 0),
        (b" \n", "but is an empty body", 2),
        (b"[]", "must be a JSON object, but is an array", 0),
        (b' "{}"', "but is text", 1),
        (b"12", "but is a number", 0),
        (b"null", "but is null", 0),
        (b"true", "but is a boolean", 0),
        (b"NaN", "expected '{' at byte 0, found 'N'", 0),
        (b"\xef\xbb\xbf{}", "expected '{' at byte 0, found U+FEFF", 0),
        (b'{"batch":[]} x', "expected the end of the body at byte 13, found 'x'", 13),
        (b'{"batch":[]', "found the end of the body", 11),
        (b'{"batch":[{"', "found the end of the body", 12),
        (b"{", "found the end of the body", 1),
        (b'{"a":"\xff"}', "not UTF-8: byte 6 is 0xff", 6),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8: byte 6 is 0xed", 6),
        (b'{"a":"\xc3', "not UTF-8: byte 6 is 0xc3", 6),
    ],
)
def test_a_body_that_is_not_an_object_in_utf8_is_malformed(
    body: bytes, message: str, offset: int
) -> None:
    for refused in (malformed(body), _native.scan_event(body, "page")):
        assert isinstance(refused, Malformed)
        assert ("malformed_json", offset) == (refused.code, refused.offset)
        assert message in refused.message


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
def test_endless_nesting_is_refused(opening: str) -> None:
    refused = malformed('{"batch":[' + opening * 100_000)

    assert (refused.code, refused.limit) == ("malformed_json", 1024)
    assert refused.offset is not None
    assert "1024 levels" in refused.message
