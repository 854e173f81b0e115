"""
Timestamps parsed by the core and by a parser in Python are equal to the microsecond.

If these tests fail: a sender's valid timestamp is refused, or an event is stored with a wrong time.
"""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service._native import Violation
from tests.native.scanned import NOON, judge, scan
from tests.native.time_texts import TIME_TEXTS
from tests.nightly import examples
from tests.reference import InvalidTimeError, read_time

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def by_core(texts: list[str]) -> list[int | None]:
    """Return the time that the core parses from each text, None if it refuses the text."""
    events = [{"type": "page", "sentAt": text} for text in texts]
    verdicts = judge(scan(json.dumps({"batch": events})))
    refused = {verdict.field for verdict in verdicts if isinstance(verdict, Violation)}
    assert refused <= {"sentAt"}
    return [None if isinstance(each, Violation) else each.sent_at_us for each in verdicts]


def by_reference(text: str) -> int | None:
    try:
        moment = read_time(text)
    except InvalidTimeError:
        return None
    return None if moment is None else (moment - EPOCH) // timedelta(microseconds=1)


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(TIME_TEXTS, min_size=1, max_size=40))
@example(["2026-W01-1T00", "2026W011T00", "2026-W011", "2026W01-1", "2026-W01-", "2026-W01T1"])
@example(["2020-W53-7", "2021-W53-7", "9999-W52-7", "1970-W01-4", "1970-W01-3", "2026-W00-1"])
@example(["2026-03-01TZ", "2026-03-01T+01:00", "2026-03-01T", "2026-03-01é12", "2026-03-01😀12Z"])
@example(["2026-03-01T12:00:00.1234567+00:00:00.1", "2026-03-01T12:00:00+23:59:59.999999"])
@example(["2026-03-01T12:00Z+01", "2026-03-01T12+01:00Z", "2026-03-01T12-Z", "2026-03-01T12-00:60"])
@example(["2026-3-1T12:00Z", "2026-3-01T12z", "2026-03-1 12", "2026-3-1", "2026-3-112", "2026-3-"])
@example(["2026-03-1223", "2026-3-12:30", "2026-3-1-01:00", "2026-003-1", "2026-1-1T1", "20263-1"])
@example(["0001-01-01T00+14:00", "9999-12-31T23:59:59.999999", "9999-12-31T23:59:59.9-00:01"])
def test_the_core_and_the_reference_parse_to_the_same_microsecond(texts: list[str]) -> None:
    assert {text: by_reference(text) for text in texts} == dict(
        zip(texts, by_core(texts), strict=True)
    )


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T24:00:00Z",
        "2026-W09-7T12",
        "2026W097",
        "2026-060",
        "2026-03-01_12:00:00",
        "2026-03-01T12:00:00[UTC]",
        "2026-03-01T12:00:00+24:00",
        "2026-03-01T12:00:00x+01:00",
        "2026-03-01T12:00:00.Z",
        "2026-03-01T12:30.5Z",
        "2026-03-01T",
        "2026-03",
        "2026",
    ],
)
def test_another_spelling_is_refused(text: str) -> None:
    assert [None] == by_core([text])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01 13:00:00 +0100", NOON),
        ("2026-03-01 12:00:00.5 Z", NOON + timedelta(seconds=0.5)),
        ("2026-3-1T12:00:00z", NOON),
        ("2026-03-01T12:00:00.123456789Z", NOON + timedelta(microseconds=123_456)),
        ("2026-03-01T11:59:60Z", NOON - timedelta(seconds=1)),
        ("20260301T120000Z", NOON),
    ],
)
def test_a_spelling_that_senders_use_is_accepted(text: str, expected: datetime) -> None:
    assert [(expected - EPOCH) // timedelta(microseconds=1)] == by_core([text])
