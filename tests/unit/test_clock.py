"""
The clock of the service, and the conversion of times.

If these tests fail: events have wrong arrival times.
"""

from datetime import UTC, datetime, timedelta

from service.clock import SystemClock, moment
from tests.doubles import NOON, FixedClock


def test_the_system_clock_is_utc_and_its_monotonic_clock_never_steps_back() -> None:
    clock = SystemClock()

    assert timedelta() == clock.now().utcoffset()
    assert clock.monotonic() <= clock.monotonic()


def test_microseconds_are_whole_and_since_1970() -> None:
    clock = SystemClock()
    before = clock.now()

    assert before <= moment(clock.unix_us()) <= clock.now()
    assert moment(FixedClock().unix_us()) == NOON
    assert moment(1_999_999) == datetime(1970, 1, 1, 0, 0, 1, 999_999, tzinfo=UTC)
