//! Times as senders write them: ISO 8601, read to the microsecond.
//!
//! A time is a count of microseconds since 1970, UTC. What is read is what Python's
//! `datetime.fromisoformat` reads, without what it accepts by mistake; besides that a small `z`,
//! and months and days of one digit between dashes. A test compares the two.
#![forbid(unsafe_code)]

use std::fmt::Write;

/// 2000-01-01, from which `PostgreSQL` counts.
pub const POSTGRES_EPOCH_US: i64 = 946_684_800 * SECOND_US;

/// What may be said of an event to come: a clock that is wrong, not a plan.
pub const AHEAD_US_MAX: i64 = DAY_US;

const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;
const YEAR_MAX: i64 = 9_999;
/// The first microsecond of the year 10000.
const END_US: i64 = 253_402_300_800 * SECOND_US;
const FRACTION_DIGITS: usize = 6;

/// Why a text is no time that can be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeFault {
    /// None of ISO 8601, or none that exists.
    NotATime,
    Before1970,
}

/// Reads a date, or a date and a time of day; without an offset it is UTC.
///
/// Digits past the microsecond are cut.
///
/// # Errors
/// When it is something else, or before 1970.
pub fn read(text: &str) -> Result<i64, TimeFault> {
    let usual = text.as_bytes().try_into().ok().and_then(read_usual);
    let moment = usual
        .or_else(|| read_any(text))
        .ok_or(TimeFault::NotATime)?;
    if moment >= END_US {
        return Err(TimeFault::NotATime);
    }
    if moment < 0 {
        return Err(TimeFault::Before1970);
    }
    Ok(moment)
}

/// When an event happened, by our clock: a clock that is wrong for the sending is as wrong for it.
///
/// # Errors
/// What is wrong with the corrected time, as the end of a sentence about it.
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
        let given = written(given);
        return Err(format!(
            "{given}, corrected by sentAt, is past the year {YEAR_MAX}"
        ));
    }
    if moment > received_at + AHEAD_US_MAX {
        let (moment, received_at) = (written(moment), written(received_at));
        return Err(format!(
            "{moment} is more than 24 hours ahead of the arrival at {received_at}"
        ));
    }
    if moment < 0 {
        let given = written(given);
        return Err(format!("{given}, corrected by sentAt, is before 1970"));
    }
    Ok(moment)
}

/// The time as ISO 8601 in UTC, for a message.
#[must_use]
pub fn written(moment: i64) -> String {
    let (days, in_day) = (moment.div_euclid(DAY_US), moment.rem_euclid(DAY_US));
    let (year, month, day) = civil(days);
    let (seconds, fraction) = (in_day / SECOND_US, in_day % SECOND_US);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if fraction > 0 {
        let _ = write!(text, ".{fraction:06}");
    }
    text.push('Z');
    text
}

/// What `read_any` says of a time as nearly every sender writes it, `2026-01-31T12:00:00.000Z`, at
/// a fraction of the work: every part has its place. None for what is written in any other way.
fn read_usual(text: &[u8; 24]) -> Option<i64> {
    let [_, _, _, _, b'-', _, _, b'-', _, _, b'T', time @ ..] = text else {
        return None;
    };
    let [_, _, b':', _, _, b':', _, _, b'.', _, _, _, b'Z'] = time else {
        return None;
    };
    let part = |at, digits| number(text.get(at..)?, digits).map(|(part, _)| part);
    let (year, month, day) = (part(0, 4)?, part(5, 2)?, part(8, 2)?);
    let (hour, minute, second) = (part(11, 2)?, part(14, 2)?, part(17, 2)?);
    let in_day = ((hour * 60 + minute) * 60 + second) * SECOND_US + part(20, 3)? * 1_000;
    let is_date =
        year > 0 && (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    let is_time = hour < 24 && minute < 60 && second < 60;
    (is_date && is_time).then(|| days_since_1970(year, month, day) * DAY_US + in_day)
}

fn read_any(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let date_end = date_end(bytes)?;
    let days = read_date(bytes.get(..date_end)?)?;
    let midnight = days * DAY_US;
    // Any one character may stand between date and time.
    let mut rest = text.get(date_end..)?.chars();
    if rest.next().is_none() {
        return Some(midnight);
    }
    let (in_day, offset) = read_time_of_day(rest.as_str().as_bytes())?;
    Some(midnight + in_day - offset)
}

/// Where the date ends, by its own form alone: what separates it from the time may be anything.
fn date_end(text: &[u8]) -> Option<usize> {
    if text.len() == 7 {
        return Some(7);
    }
    match (*text.get(4)?, *text.get(5)?) {
        (b'-', b'W') => match text.get(8) {
            Some(b'-') if text.len() == 9 => None,
            Some(b'-') if text.get(10).is_some_and(u8::is_ascii_digit) => Some(8),
            Some(b'-') => Some(10),
            _ => (text.len() >= 8).then_some(8),
        },
        (b'-', _) => {
            // Segment's documentation writes "2015-2-02": one digit is accepted.
            let month = digits_at(text, 5);
            Some(6 + month + digits_at(text, 6 + month))
        }
        (b'W', _) => {
            let digits = text.iter().skip(7).take_while(|byte| byte.is_ascii_digit());
            let end = 7 + digits.count();
            Some(match end {
                ..9 => end,
                _ if end % 2 == 0 => 7,
                _ => 8,
            })
        }
        _ => Some(8),
    }
}

/// Days since 1970 of `YYYY-MM-DD`, `YYYYMMDD`, `YYYY-Www-D` or `YYYYWwwD`.
fn read_date(text: &[u8]) -> Option<i64> {
    let (year, mut rest) = number(text, 4)?;
    if !(1..=YEAR_MAX).contains(&year) {
        return None;
    }
    let is_dashed = step(&mut rest, b'-');
    if step(&mut rest, b'W') {
        let (week, after) = number(rest, 2)?;
        rest = after;
        let mut day = 1;
        if !rest.is_empty() {
            if is_dashed && !step(&mut rest, b'-') {
                return None;
            }
            (day, rest) = number(rest, 1)?;
        }
        return rest.is_empty().then(|| week_day(year, week, day))?;
    }
    let digits = |rest| if is_dashed { digits_at(rest, 0) } else { 2 };
    let (month, mut rest) = number(rest, digits(rest))?;
    if is_dashed && !step(&mut rest, b'-') {
        return None;
    }
    let (day, rest) = number(rest, digits(rest))?;
    let is_date = rest.is_empty() && (1..=12).contains(&month) && day >= 1;
    (is_date && day <= days_of(year, month)).then(|| days_since_1970(year, month, day))
}

/// Microseconds since midnight, and the offset from UTC in microseconds.
fn read_time_of_day(text: &[u8]) -> Option<(i64, i64)> {
    let zone = text
        .iter()
        .position(|byte| matches!(byte, b'+' | b'-' | b'Z' | b'z'));
    let (mut clock, zone) = text.split_at_checked(zone.unwrap_or(text.len()))?;
    if !zone.is_empty() {
        // "12:00:00 +0100" is how Ruby writes a time.
        clock = clock.strip_suffix(b" ").unwrap_or(clock);
    }
    let [hour, minute, second, fraction] = read_clock(clock)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let in_day = ((hour * 60 + minute) * 60 + second) * SECOND_US + fraction;
    let offset = match zone.split_first() {
        None => 0,
        Some((b'Z' | b'z', after)) => return after.is_empty().then_some((in_day, 0)),
        Some((sign, after)) => {
            let [hours, minutes, seconds, fraction] = read_clock(after)?;
            let offset = ((hours * 60 + minutes) * 60 + seconds) * SECOND_US + fraction;
            if *sign == b'-' { -offset } else { offset }
        }
    };
    (offset.abs() < DAY_US).then_some((in_day, offset))
}

/// `HH`, `HH:MM`, `HH:MM:SS`, `HH:MM:SS.f…`, or the same without colons.
fn read_clock(text: &[u8]) -> Option<[i64; 4]> {
    let (hour, mut rest) = number(text, 2)?;
    let mut clock = [hour, 0, 0, 0];
    let has_colons = rest.first() == Some(&b':');
    for part in clock.iter_mut().skip(1).take(2) {
        if rest.is_empty() {
            return Some(clock);
        }
        if has_colons && !step(&mut rest, b':') {
            return None;
        }
        (*part, rest) = number(rest, 2)?;
    }
    if rest.is_empty() {
        return Some(clock);
    }
    if !step(&mut rest, b'.') && !step(&mut rest, b',') {
        return None;
    }
    let kept = rest.len().min(FRACTION_DIGITS);
    let (fraction, after) = number(rest, kept).filter(|_| kept > 0)?;
    let missing = u32::try_from(FRACTION_DIGITS - kept).ok()?;
    let [.., microseconds] = &mut clock;
    *microseconds = fraction * 10_i64.pow(missing);
    after.iter().all(u8::is_ascii_digit).then_some(clock)
}

/// The number that the first *digits* bytes are, and what follows.
fn number(text: &[u8], digits: usize) -> Option<(i64, &[u8])> {
    let (head, rest) = text.split_at_checked(digits)?;
    let mut value = 0;
    for byte in head {
        value = value * 10 + i64::from(byte.is_ascii_digit().then(|| byte - b'0')?);
    }
    Some((value, rest))
}

/// The number of digits at *at*, counted up to two.
fn digits_at(text: &[u8], at: usize) -> usize {
    let digits = text.iter().skip(at).take(2);
    digits.take_while(|byte| byte.is_ascii_digit()).count()
}

fn step(rest: &mut &[u8], byte: u8) -> bool {
    match rest.split_first() {
        Some((first, after)) if *first == byte => {
            *rest = after;
            true
        }
        _ => false,
    }
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970 of a date of the Gregorian calendar (Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms": years that begin in March, in eras of 400).
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The way back.
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = era * 400 + year;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

/// Days since 1970 of a day of an ISO week; week 1 holds the year's fourth of January.
fn week_day(year: i64, week: i64, day: i64) -> Option<i64> {
    let fourth = days_since_1970(year, 1, 4);
    let monday = |fourth: i64| fourth - (fourth + 3).rem_euclid(7);
    let first = monday(fourth);
    let weeks = (monday(days_since_1970(year + 1, 1, 4)) - first) / 7;
    let is_day = (1..=weeks).contains(&week) && (1..=7).contains(&day);
    is_day.then_some(first + (week - 1) * 7 + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOON: i64 = 1_772_366_400 * SECOND_US; // 2026-03-01T12:00:00Z

    #[test]
    fn every_form_of_a_moment_is_read() {
        for text in [
            "2026-03-01T12:00:00.000Z",
            "2026-03-01T13:00:00+01:00",
            "2026-03-01T11:30:00-0030",
            "2026-03-01 12:00",
            "20260301T120000Z",
            "2026-03-01 13:00:00 +0100",
            "2026-W09-7T12:00:00Z",
            "2026W097T12",
            "2026-3-1T12:00:00Z",
            "2026-03-1 12",
            "2026-3-01t12:00:00z",
            "2026-03-01T12:00:00.0 z",
        ] {
            assert_eq!(Ok(NOON), read(text), "{text}");
        }
        assert_eq!(Ok(NOON + 123_456), read("2026-03-01T12:00:00.123456789Z"));
        assert_eq!(Ok(NOON + 500_000), read("2026-03-01T12:00:00,5"));
        assert_eq!(Ok(NOON - DAY_US / 2), read("2026-03-01"));
        assert_eq!(Ok(0), read("1970-01-01T00:00:00Z"));
        assert_eq!(Ok(END_US - SECOND_US), read("9999-12-31T23:59:59Z"));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "1700000000",
            "2026-02-30T00:00:00Z",
            "2026-13-01",
            "2026-W54-1",
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
            assert_eq!(Err(TimeFault::NotATime), read(text), "{text}");
        }
        assert_eq!(Err(TimeFault::Before1970), read("1969-12-31T23:59:59Z"));
        assert_eq!(
            Err(TimeFault::Before1970),
            read("1970-01-01T00:00:00+01:00")
        );
    }

    #[test]
    fn a_clock_that_is_wrong_is_corrected_by_the_time_of_sending() {
        let sent_at = NOON + 2 * DAY_US;

        assert_eq!(
            Ok(NOON - 60),
            corrected(Some(sent_at - 60), Some(sent_at), NOON)
        );
        assert_eq!(Ok(NOON), corrected(None, Some(sent_at), NOON));
        assert_eq!(
            Ok(NOON + DAY_US),
            corrected(Some(NOON + DAY_US), None, NOON)
        );
    }

    #[test]
    fn a_corrected_time_out_of_range_is_refused() {
        for (given, sent_at, fault) in [
            (NOON + DAY_US + 1, None, "more than 24 hours ahead"),
            (NOON, Some(NOON - 2 * DAY_US), "more than 24 hours ahead"),
            (0, Some(NOON + DAY_US), "before 1970"),
            (END_US - DAY_US, Some(0), "past the year 9999"),
        ] {
            let message = corrected(Some(given), sent_at, NOON).unwrap_err();

            assert!(message.contains(fault), "{message}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(moment in 0..END_US) {
            prop_assert_eq!(Ok(moment), read(&written(moment)));
        }

        #[test]
        fn the_usual_form_is_read_as_any_other(
            text in "[0-2][0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]\\.[0-9]{3}Z",
        ) {
            let usual = read_usual(text.as_bytes().first_chunk().unwrap());

            prop_assert_eq!(read_any(&text), usual);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9W:.,+Z é-]{0,30}") {
            let _ = read(&text);
        }
    }
}
