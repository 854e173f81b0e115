"""Times as senders write them: read, held to their range, corrected for a wrong clock."""

from datetime import UTC, datetime, timedelta

import pytest

from service.pipeline.times import InvalidTimeError, corrected, read_time
from service.testing import NOON

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01T12:00:00.000Z", NOON),
        ("2026-03-01T13:00:00+01:00", NOON),
        ("2026-03-01 12:00:00", NOON),
        ("2026-03-01T12:00:00.123456789Z", NOON + timedelta(microseconds=123_456)),
        ("2026-03-01", NOON - timedelta(hours=12)),
        ("20260301T120000Z", NOON),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_iso_8601_is_read_as_utc(text: str, expected: datetime) -> None:
    assert expected == read_time("timestamp", text)
    assert str(read_time("timestamp", text)).endswith("+00:00")


@pytest.mark.parametrize("text", [None, ""])
def test_no_text_is_no_time(text: str | None) -> None:
    assert read_time("timestamp", text) is None


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
        "\x00",
        " 2026-03-01",
        "x" * 100_000,
    ],
)
def test_anything_else_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(InvalidTimeError) as caught:
        read_time("sentAt", text)

    assert caught.value.field == "sentAt"
    assert str(caught.value).startswith(f"sentAt {text[:64]!r} is ")
    assert "\x00" not in str(caught.value)


def test_an_event_without_a_time_happened_when_it_came() -> None:
    assert NOON == corrected(None, NOON - DAY, NOON)


def test_without_the_time_of_sending_the_given_time_counts() -> None:
    assert NOON - DAY == corrected(NOON - DAY, None, NOON)


def test_a_clock_that_is_wrong_is_corrected_by_the_time_of_sending() -> None:
    # It is two days fast, and the event happened a minute before it was sent.
    sent_at = NOON + 2 * DAY

    assert NOON - timedelta(minutes=1) == corrected(sent_at - timedelta(minutes=1), sent_at, NOON)


def test_up_to_24_hours_ahead_is_fine() -> None:
    assert NOON + DAY == corrected(NOON + DAY, None, NOON)


@pytest.mark.parametrize(
    ("given", "sent_at", "fault"),
    [
        (NOON + DAY + timedelta(microseconds=1), None, "more than 24 hours ahead"),
        (NOON, NOON - 2 * DAY, "more than 24 hours ahead"),
        (datetime(1970, 1, 1, tzinfo=UTC), NOON + DAY, "before 1970"),
        (
            datetime(9999, 12, 31, tzinfo=UTC),
            datetime(1970, 1, 1, tzinfo=UTC),
            "past the year 9999",
        ),
    ],
)
def test_a_corrected_time_out_of_range_is_refused(
    given: datetime, sent_at: datetime | None, fault: str
) -> None:
    with pytest.raises(InvalidTimeError, match=fault) as caught:
        corrected(given, sent_at, NOON)

    assert caught.value.field == "timestamp"
