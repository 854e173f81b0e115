//! Parses timestamps to microseconds since 1970, UTC.
//!
//! `jiff` parses ISO 8601. This module adds two forms that senders use: one digit for the month or
//! the day, as in Segment's documentation (`2015-2-02`), and a space before the offset, as in Ruby.
//! It also parses numbers of seconds or milliseconds since 1970.
#![forbid(unsafe_code)]

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::temporal::{DateTimeParser, PiecesOffset};

pub const SECOND_US: i64 = 1_000_000;
const OFFSET_S_MAX: i32 = 24 * 3_600 - 1;
/// The first microsecond of the year 10000.
pub const END_US: i64 = 253_402_300_800 * SECOND_US;

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

static PARSER: DateTimeParser = DateTimeParser::new();

/// Why a text is not a valid timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeError {
    /// Not ISO 8601, or a time that does not exist.
    NotATime,
    /// A number that has neither 10 nor 13 digits before the point, or has an exponent.
    NotSinceEpoch,
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

/// Parses a JSON number: with 10 digits before the point, seconds since 1970; with 13, milliseconds.
///
/// Both are times from September 2001 to November 2286, so no number can be both. Digits after the
/// microseconds are ignored.
///
/// # Errors
/// If the number has another form.
pub fn parse_number(number: &str) -> Result<i64, TimeError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_decimal = (whole.bytes().chain(fraction.bytes())).all(|byte| byte.is_ascii_digit());
    let fraction_digits = match whole.len() {
        10 if is_decimal => 6,
        13 if is_decimal => 3,
        _ => return Err(TimeError::NotSinceEpoch),
    };
    let zeros = std::iter::repeat(b'0');
    let fraction = fraction.bytes().chain(zeros).take(fraction_digits);
    Ok((whole.bytes().chain(fraction))
        .fold(0, |moment, digit| moment * 10 + i64::from(digit - b'0')))
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

/// Formats *moment*, in microseconds since 1970, as ISO 8601 in UTC.
#[must_use]
pub fn iso_8601(moment: i64) -> String {
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
        assert_eq!(Ok(NOON - 12 * 3_600 * SECOND_US), parse("2026-03-01"));
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
    fn a_number_is_seconds_or_milliseconds_by_its_digits() {
        for (number, moment) in [
            ("1772366400", NOON),
            ("1772366400000", NOON),
            ("1772366400.0", NOON),
            ("1772366400.123456789", NOON + 123_456),
            ("1772366400.5", NOON + 500_000),
            ("1772366400123", NOON + 123_000),
            ("1772366400123.4567", NOON + 123_456),
            ("1000000000", 1_000_000_000 * SECOND_US),
            ("9999999999999.999", 10_000_000_000 * SECOND_US - 1),
        ] {
            assert_eq!(Ok(moment), parse_number(number), "{number}");
        }
        for number in [
            "0",
            "-0",
            "7",
            "999999999",
            "-1772366400",
            "-177236640",
            "17723664000",
            "177236640000",
            "17723664000000",
            "1772366400000000",
            "1.772366400e9",
            "1772366400e0",
            "1772366400.0E0",
            "1772366400.0e-1",
            "NaN",
            "-Infinity!",
        ] {
            assert_eq!(
                Err(TimeError::NotSinceEpoch),
                parse_number(number),
                "{number}"
            );
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
            let _ = (parse(&text), parse_number(&text));
        }
    }
}
