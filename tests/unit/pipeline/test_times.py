"""
Timestamps: formats, limits, and the correction for a wrong client clock.

If these tests fail: analysts see events at wrong times, or senders get rejections for valid ones.
"""

from datetime import UTC, datetime, timedelta

import pytest

from service.reasons import Reason, RefusedError
from tests.doubles import NOON, Sender
from tests.unit.pipeline.checked import accepted, only, rejected

GOOD = {"type": "page"}
DAY = timedelta(days=1)
OF_ARRIVAL = "of the arrival at 2026-03-01T12:00:00Z"


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
def test_no_text_is_no_time(sender: Sender, text: str | None) -> None:
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
def test_anything_else_is_refused_and_quoted(sender: Sender, text: str) -> None:
    row = rejected(sender, GOOD | {"sentAt": text})

    assert (Reason.INVALID_TIMESTAMP, "sentAt") == (row.code, row.field)
    assert row.message.startswith('sentAt "' + text[:32])
    assert len(row.message) < 200


def test_an_event_without_a_time_happened_when_it_came(sender: Sender) -> None:
    assert NOON == accepted(sender, GOOD | {"sentAt": "2026-02-28"})["timestamp"]


def test_without_the_time_of_sending_the_given_time_counts(sender: Sender) -> None:
    row = accepted(sender, GOOD | {"timestamp": (NOON - DAY).isoformat()})

    assert NOON - DAY == row["timestamp"]


def test_up_to_24_hours_ahead_is_fine(sender: Sender) -> None:
    row = accepted(sender, GOOD | {"timestamp": (NOON + DAY).isoformat()})

    assert NOON + DAY == row["timestamp"]


@pytest.mark.parametrize(
    ("timestamp", "sent_at", "message"),
    [
        (
            "2026-03-02T12:00:00.000001Z",
            None,
            f"timestamp 2026-03-02T12:00:00.000001Z is more than 24 hours ahead {OF_ARRIVAL}",
        ),
        (
            "2026-03-01T12:00:00Z",
            "2026-02-27T12:00:00Z",
            f"timestamp 2026-03-03T12:00:00Z is more than 24 hours ahead {OF_ARRIVAL}",
        ),
        (
            "1970-01-01",
            "2026-03-02T12:00:00Z",
            "timestamp 1970-01-01T00:00:00Z, corrected by sentAt, is before 1970",
        ),
        (
            "9999-12-31",
            "1970-01-01",
            "timestamp 9999-12-31T00:00:00Z, corrected by sentAt, is after the year 9999",
        ),
    ],
)
def test_a_corrected_time_out_of_range_is_refused(
    sender: Sender, timestamp: str, sent_at: str | None, message: str
) -> None:
    row = rejected(sender, GOOD | {"timestamp": timestamp, "sentAt": sent_at})

    assert (Reason.INVALID_TIMESTAMP, "timestamp", message) == (row.code, row.field, row.message)


def test_a_wrong_clock_is_corrected_by_the_sending_of_the_event(sender: Sender) -> None:
    row = accepted(
        sender,
        GOOD | {"timestamp": "2026-03-02T11:00:00Z", "sentAt": "2026-03-02T12:00:00Z"},
        sentAt="1999-01-01",
    )

    assert NOON - timedelta(hours=1) == row["timestamp"]
    assert NOON + timedelta(days=1) == row["sent_at"]
    assert NOON + timedelta(hours=23) == row["original_timestamp"]


def test_without_its_own_it_is_corrected_by_the_sending_of_the_batch(sender: Sender) -> None:
    row = accepted(
        sender, GOOD | {"timestamp": "2026-03-02T11:00:00Z"}, sentAt="2026-03-02T12:00:00Z"
    )

    assert NOON - timedelta(hours=1) == row["timestamp"]
    assert NOON + timedelta(days=1) == row["sent_at"]


def test_the_original_time_counts_where_there_is_no_other(sender: Sender) -> None:
    only_original = accepted(sender, GOOD | {"originalTimestamp": "2026-02-01"})
    both = accepted(sender, GOOD | {"originalTimestamp": "2026-02-01", "timestamp": "2026-02-02"})

    assert only_original["original_timestamp"] == only_original["timestamp"]
    assert timedelta(days=1) == both["timestamp"] - only_original["timestamp"]
    assert both["original_timestamp"] == only_original["timestamp"]


def test_a_time_beside_the_original_one_is_not_corrected_again(sender: Sender) -> None:
    replayed = {
        "originalTimestamp": "2022-12-23T00:29:10Z",
        "sentAt": "2022-12-23T00:29:12Z",
        "timestamp": "2022-12-25T00:00:00Z",
    }

    row = accepted(sender, GOOD | replayed)

    assert datetime(2022, 12, 25, tzinfo=UTC) == row["timestamp"]
    assert datetime(2022, 12, 23, 0, 29, 10, tzinfo=UTC) == row["original_timestamp"]


def test_24_hours_ahead_are_counted_by_the_corrected_time(sender: Sender) -> None:
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
        ({"timestamp": "1970-01-01", "sentAt": "2027-01-01"}, "timestamp"),
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
