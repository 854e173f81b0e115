"""The times that senders write: read, held to their range, corrected for a wrong clock."""

from datetime import UTC, datetime, timedelta
from typing import Final

from service.content import RawEvent

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
AHEAD_MAX: Final = timedelta(hours=24)
_QUOTED_CHARS_MAX: Final = 64


class InvalidTimeError(ValueError):
    """A time is none, or is out of range; the message quotes it and says what is allowed."""

    def __init__(self, field: str, fault: str) -> None:
        super().__init__(f"{field} {fault}.")
        self.field = field


def read_time(field: str, text: str | None) -> datetime | None:
    """
    Read an ISO 8601 time, None where there is none.

    A time without an offset is UTC. Digits past the microsecond are cut.

    Raises
    ------
    InvalidTimeError
        It is something else, or before 1970.
    """
    if not text:
        return None
    quoted = repr(text[:_QUOTED_CHARS_MAX])
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidTimeError(
            field, f"{quoted} is not an ISO 8601 time such as 2026-01-31T12:00:00.000Z"
        ) from None
    if moment < EARLIEST:
        raise InvalidTimeError(field, f"{quoted} is before 1970")
    return moment


def event_times(raw: RawEvent) -> tuple[datetime | None, datetime | None]:
    """Return when the event is said to have happened, and its `original_timestamp`."""
    timestamp = read_time("timestamp", raw.timestamp)
    original = read_time("originalTimestamp", raw.original_timestamp)
    return timestamp or original, original or timestamp


def corrected(given: datetime | None, sent_at: datetime | None, received_at: datetime) -> datetime:
    """
    Return when the event happened by our clock; the arrival where the sender said nothing.

    Raises
    ------
    InvalidTimeError
        That is before 1970, or more than a day ahead.
    """
    if given is None:
        return received_at
    # A clock that is wrong is as wrong for the sending as for the event.
    try:
        timestamp = given if sent_at is None else given + (received_at - sent_at)
    except OverflowError:
        raise InvalidTimeError(
            "timestamp", f"{given.isoformat()}, corrected by sentAt, is past the year 9999"
        ) from None
    if timestamp > received_at + AHEAD_MAX:
        raise InvalidTimeError(
            "timestamp",
            f"{timestamp.isoformat()} is more than 24 hours ahead of the arrival at"
            f" {received_at.isoformat()}",
        )
    if timestamp < EARLIEST:
        raise InvalidTimeError(
            "timestamp", f"{timestamp.isoformat()}, corrected by sentAt, is before 1970"
        )
    return timestamp
