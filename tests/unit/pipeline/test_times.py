"""
Timestamps: formats, limits, and the correction for a wrong client clock.

If these tests fail: analysts see events at wrong times, or senders get rejections for valid ones.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.reasons import Reason, RefusedError
from tests.doubles import CLOCK_SKEW_MIN, NOON, Sender
from tests.unit.pipeline.checked import accepted, only, rejected

GOOD = {"type": "page"}
DAY = timedelta(days=1)
AHEAD = "is more than 24 hours ahead of the arrival at 2026-03-01T12:00:00Z"


@pytest.fixture
def sender() -> Sender:
    return Sender()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01T12:00:00.000Z", NOON),
        ("2026-03-01T13:00:00+01:00", NOON),
        ("2026-03-01 12:00:00", NOON),
        ("2026-03-01T12:00:00.123456789Z", NOON + timedelta(microseconds=123_456)),
        ("2026-03-01", NOON - timedelta(hours=12)),
        ("20260301T120000Z", NOON),
        ("2026-03-01t12:00:00z", NOON),
        ("2026-3-01T12:00:00.000Z", NOON),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_iso_8601_is_read_as_utc(sender: Sender, text: str, expected: datetime) -> None:
    assert expected == accepted(sender, GOOD | {"sentAt": text})["sent_at"]


@pytest.mark.parametrize("text", [None, ""])
def test_null_and_an_empty_text_mean_no_time(sender: Sender, text: str | None) -> None:
    times = {"timestamp": text, "originalTimestamp": text, "sentAt": text}

    row = accepted(sender, GOOD | times, sentAt=text)

    assert (NOON, None, None) == (row["timestamp"], row["original_timestamp"], row["sent_at"])


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "1700000000",
        "2026-02-30T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
        "0001-01-01T00:00:00+14:00",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+01:00",
        " 2026-03-01",
        "x" * 100_000,
    ],
)
def test_other_texts_are_refused_and_quoted(sender: Sender, text: str) -> None:
    row = rejected(sender, GOOD | {"sentAt": text})

    assert (Reason.INVALID_TIMESTAMP, "sentAt") == (row.code, row.field)
    assert row.message.startswith('sentAt "' + text[:32])
    assert len(row.message) < 200


def test_an_event_without_a_time_gets_the_time_of_arrival(sender: Sender) -> None:
    assert NOON == accepted(sender, GOOD | {"sentAt": "2026-02-28"})["timestamp"]


def test_without_sent_at_the_given_time_is_not_corrected(sender: Sender) -> None:
    row = accepted(sender, GOOD | {"timestamp": (NOON - DAY).isoformat()})

    assert NOON - DAY == row["timestamp"]


def test_a_time_up_to_24_hours_ahead_is_accepted(sender: Sender) -> None:
    row = accepted(sender, GOOD | {"timestamp": (NOON + DAY).isoformat()})

    assert NOON + DAY == row["timestamp"]


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (
            {"timestamp": "2026-03-02T12:00:00.000001Z"},
            f'timestamp "2026-03-02T12:00:00.000001Z" {AHEAD}',
        ),
        ({"timestamp": 1798761600}, f"timestamp 1798761600 {AHEAD}"),
        ({"originalTimestamp": "2027-01-01"}, f'originalTimestamp "2027-01-01" {AHEAD}'),
        (
            {"timestamp": "2027-01-01", "sentAt": "2026-12-01"},
            (
                f'timestamp "2027-01-01" {AHEAD}, and corrected by sentAt "2026-12-01" it is'
                " 2026-04-01T12:00:00Z"
            ),
        ),
        (
            {"timestamp": "2030-01-01", "sent_at": "2101-01-01"},
            (
                f'timestamp "2030-01-01" {AHEAD}, and corrected by sent_at "2101-01-01" it is'
                " before 1970"
            ),
        ),
        (
            {"timestamp": "9999-12-31", "sentAt": "1970-01-01"},
            (
                f'timestamp "9999-12-31" {AHEAD}, and corrected by sentAt "1970-01-01" it is'
                " after the year 9999"
            ),
        ),
    ],
)
def test_a_time_that_is_out_of_range_in_any_case_is_refused(
    sender: Sender, times: dict[str, Any], message: str
) -> None:
    row = rejected(sender, GOOD | times)

    assert (Reason.INVALID_TIMESTAMP, message) == (row.code, row.message)
    assert row.field is not None
    assert message.startswith(row.field)


def test_a_refusal_quotes_the_time_of_sending_of_the_batch(sender: Sender) -> None:
    row = rejected(sender, GOOD | {"timestamp": "2027-01-01"}, sentAt="2026-12-01")

    assert 'corrected by sentAt "2026-12-01"' in row.message


@pytest.mark.parametrize(
    ("timestamp", "sent_at"),
    [
        ("2026-03-01T11:00:00Z", "2022-01-01"),
        ("2026-03-02T12:00:00Z", "2026-01-01"),
        ("1970-01-01", "2026-03-02T12:00:00Z"),
    ],
)
def test_a_time_that_sent_at_would_move_out_of_range_is_not_corrected(
    sender: Sender, timestamp: str, sent_at: str
) -> None:
    row = accepted(sender, GOOD | {"timestamp": timestamp}, sentAt=sent_at)

    assert row["original_timestamp"] == row["timestamp"]


@pytest.mark.parametrize(
    "delay", [timedelta(), timedelta(seconds=23), timedelta(hours=12), CLOCK_SKEW_MIN]
)
def test_a_retry_with_the_first_sent_at_does_not_move_the_time(
    sender: Sender, delay: timedelta
) -> None:
    """SDKs set `sentAt` once per batch, and try again for hours."""
    happened = NOON - delay - timedelta(seconds=1)
    sent_at = (NOON - delay).isoformat()

    row = accepted(sender, GOOD | {"timestamp": happened.isoformat()}, sentAt=sent_at)

    assert happened == row["timestamp"] == row["original_timestamp"]
    assert NOON - delay == row["sent_at"]


@pytest.mark.parametrize(
    "skew", [CLOCK_SKEW_MIN + timedelta(microseconds=1), -timedelta(microseconds=1), -2 * DAY]
)
def test_what_no_retry_explains_is_a_wrong_clock(sender: Sender, skew: timedelta) -> None:
    times = {"timestamp": NOON - skew - timedelta(seconds=1), "sentAt": NOON - skew}

    row = accepted(sender, GOOD | {name: time.isoformat() for name, time in times.items()})

    assert NOON - timedelta(seconds=1) == row["timestamp"]


def test_the_setting_says_what_a_retry_may_explain() -> None:
    sender = Sender(clock_skew_min=timedelta(seconds=10))
    row = accepted(
        sender, GOOD | {"timestamp": "2026-03-01T11:59:40Z", "sentAt": "2026-03-01T11:59:49.999Z"}
    )

    assert NOON - timedelta(seconds=9.999) == row["timestamp"]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1772366400, NOON),
        (1772366400000, NOON),
        (1772366400.5, NOON + timedelta(seconds=0.5)),
        (1772366400000.25, NOON + timedelta(microseconds=250)),
    ],
)
def test_a_number_is_seconds_or_milliseconds_since_1970(
    sender: Sender, number: float, expected: datetime
) -> None:
    row = accepted(sender, GOOD | {"timestamp": number, "originalTimestamp": number})

    assert expected == row["timestamp"] == row["original_timestamp"]
    assert expected == accepted(sender, GOOD, sentAt=number)["sent_at"]


def test_a_number_and_a_text_of_one_time_have_the_same_hash(sender: Sender) -> None:
    hashes = {
        accepted(sender, GOOD | {"timestamp": time})["payload_hash"]
        for time in (1772280000, 1772280000000, "2026-02-28T12:00:00Z", "2026-02-28t12:00:00z")
    }

    assert 1 == len(hashes)


def test_a_wrong_clock_is_corrected_by_sent_at_of_the_event(sender: Sender) -> None:
    row = accepted(
        sender,
        GOOD | {"timestamp": "2026-03-02T11:00:00Z", "sentAt": "2026-03-02T12:00:00Z"},
        sentAt="1999-01-01",
    )

    assert NOON - timedelta(hours=1) == row["timestamp"]
    assert NOON + timedelta(days=1) == row["sent_at"]
    assert NOON + timedelta(hours=23) == row["original_timestamp"]


def test_an_event_without_sent_at_is_corrected_by_that_of_the_batch(sender: Sender) -> None:
    row = accepted(
        sender, GOOD | {"timestamp": "2026-03-02T11:00:00Z"}, sentAt="2026-03-02T12:00:00Z"
    )

    assert NOON - timedelta(hours=1) == row["timestamp"]
    assert NOON + timedelta(days=1) == row["sent_at"]


def test_original_timestamp_is_used_if_there_is_no_timestamp(sender: Sender) -> None:
    only_original = accepted(sender, GOOD | {"originalTimestamp": "2026-02-01"})
    both = accepted(sender, GOOD | {"originalTimestamp": "2026-02-01", "timestamp": "2026-02-02"})

    assert only_original["original_timestamp"] == only_original["timestamp"]
    assert timedelta(days=1) == both["timestamp"] - only_original["timestamp"]
    assert both["original_timestamp"] == only_original["timestamp"]


def test_timestamp_beside_original_timestamp_is_not_corrected(sender: Sender) -> None:
    """
    As an earlier pipeline sends it, and as rudder-sdk-node does.

    It sends the caller's `timestamp` beside its own `originalTimestamp`.
    """
    replayed = {
        "originalTimestamp": "2022-12-23T00:29:10Z",
        "sentAt": "2022-12-23T00:29:12Z",
        "timestamp": "2022-12-25T00:00:00Z",
    }

    row = accepted(sender, GOOD | replayed)

    assert datetime(2022, 12, 25, tzinfo=UTC) == row["timestamp"]
    assert datetime(2022, 12, 23, 0, 29, 10, tzinfo=UTC) == row["original_timestamp"]


def test_the_limit_of_24_hours_ahead_applies_to_the_corrected_time(sender: Sender) -> None:
    far = GOOD | {"timestamp": "2030-01-01T00:00:00Z"}

    assert Reason.INVALID_TIMESTAMP == rejected(sender, far).code
    assert NOON == accepted(sender, far | {"sentAt": far["timestamp"]})["timestamp"]


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"timestamp": "1969-12-31"}, "timestamp"),
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, "timestamp"),
        ({"timestamp": "10000-01-01T00:00:00Z"}, "timestamp"),
        ({"timestamp": "9999-12-31T23:59:59-23:59"}, "timestamp"),
        ({"timestamp": "9999-12-31", "sentAt": "1970-01-01"}, "timestamp"),
        ({"timestamp": "soon"}, "timestamp"),
        ({"originalTimestamp": "soon"}, "originalTimestamp"),
        ({"sentAt": "soon"}, "sentAt"),
    ],
)
def test_an_event_with_an_impossible_time_is_rejected_alone(
    sender: Sender, event: dict[str, str], field: str
) -> None:
    payload = sender.check(GOOD, GOOD | {"event_id": "x"} | event, GOOD).payload

    row = only(payload.rejected)
    assert (Reason.INVALID_TIMESTAMP, field, "x") == (row.code, row.field, row.event_id)
    assert 2 == len(payload.events)


def test_a_batch_with_an_invalid_sent_at_is_refused(sender: Sender) -> None:
    with pytest.raises(RefusedError) as caught:
        sender.check(GOOD, sentAt="soon")

    assert (Reason.INVALID_TIMESTAMP, "sentAt") == (
        caught.value.reason,
        caught.value.details["field"],
    )
