"""Time, as the service asks for it."""

from datetime import UTC, datetime, timedelta

from service.clock import SystemClock, unix_ms


def test_the_systems_clock_is_utc_and_never_steps_back() -> None:
    clock = SystemClock()

    assert timedelta() == clock.now().utcoffset()
    assert clock.monotonic() <= clock.monotonic()


def test_milliseconds_are_whole_and_since_1970() -> None:
    assert 1_999 == unix_ms(datetime(1970, 1, 1, 0, 0, 1, 999_999, tzinfo=UTC))
