//! The time of an event by the clock of the service, corrected if the sender's clock is wrong.
//!
//! Times are microseconds since 1970, durations are microseconds.
#![forbid(unsafe_code)]

use super::envelope::Scan;
use super::field::Field;
use super::members::Event;
use super::rules::quoted;
use super::time::{END_US, SECOND_US, iso_8601};
use super::violation::{Code, Violation};
use crate::json::value::Value;
use std::borrow::Cow;

/// How far a time may be after the arrival. Allows for wrong clocks only.
pub const AHEAD_US_MAX: i64 = 24 * 3_600 * SECOND_US;

/// The time of arrival, and how much earlier `sentAt` may be before a clock must be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Correction {
    pub received_at: i64,
    pub skew_min: i64,
}

impl Correction {
    /// The time of *event*, an event of *scan*.
    ///
    /// # Errors
    /// If the time is out of range.
    pub fn timestamp(self, scan: &Scan, event: &Event, body: &str) -> Result<i64, Violation> {
        let times = event.times;
        let (given, sent_at) = match (times.timestamp, times.original) {
            (None, None) => return Ok(self.received_at),
            // If the event has `originalTimestamp` too, the application set `timestamp`, or another
            // pipeline corrected it. So it is not corrected with `sentAt`.
            (Some(given), Some(_)) => (given, None),
            (Some(given), None) | (None, Some(given)) => (given, times.sent_at.or(scan.sent_at_us)),
        };
        self.time(given, sent_at)
            .ok_or_else(|| self.out_of_range(scan, event, body, self.corrected(given, sent_at)))
    }

    /// The time of an event with the time *given*, sent at *`sent_at`*; `None` if it is out of
    /// range. A time that the correction would move out of range is not corrected.
    fn time(self, given: i64, sent_at: Option<i64>) -> Option<i64> {
        let range = 0..END_US.min(self.received_at + AHEAD_US_MAX + 1);
        let corrected = self.corrected(given, sent_at);
        let corrected = corrected.filter(|moment| range.contains(moment));
        corrected.or_else(|| range.contains(&given).then_some(given))
    }

    /// *given* plus the difference between arrival and *`sent_at`*, if only a wrong clock explains
    /// this difference. `None` if it may be the delay of a retry.
    fn corrected(self, given: i64, sent_at: Option<i64>) -> Option<i64> {
        let difference = self.received_at - sent_at?;
        (!(0..=self.skew_min).contains(&difference)).then(|| given + difference)
    }

    #[cold]
    fn out_of_range(
        self,
        scan: &Scan,
        event: &Event,
        body: &str,
        corrected: Option<i64>,
    ) -> Violation {
        let own = |field| {
            event
                .fields
                .get(field)
                .filter(|value| !value.is_empty_text())
        };
        let given = match own(Field::Timestamp) {
            Some(value) => Some((Field::Timestamp, value)),
            None => own(Field::OriginalTimestamp).map(|value| (Field::OriginalTimestamp, value)),
        };
        let (name, found) = named(given, body);
        let arrival = iso_8601(self.received_at);
        let correction = corrected.map_or_else(String::new, |corrected| {
            let sent_at = own(Field::SentAt).or(scan.sent_at);
            let (sent_at, found) = named(sent_at.map(|value| (Field::SentAt, value)), body);
            let corrected = match corrected {
                ..0 => "before 1970".to_owned(),
                END_US.. => "after the year 9999".to_owned(),
                _ => iso_8601(corrected),
            };
            format!(", and corrected by {sent_at} {found} it is {corrected}")
        });
        let message = format!(
            "{name} {found} is more than 24 hours ahead of the arrival at {arrival}{correction}"
        );
        Violation {
            code: Code::InvalidTimestamp,
            field: Some(name.to_owned()),
            message,
            event_id: event.event_id(body).map(Cow::into_owned),
            payload: event.span.payload(body),
        }
    }
}

/// The name under which a value was sent, and the value as a message shows it.
fn named(given: Option<(Field, Value)>, body: &str) -> (&'static str, String) {
    let Some((field, value)) = given else {
        return ("", String::new());
    };
    let before = body.get(..value.span().start).unwrap_or_default();
    let before = before.trim_ascii_end().trim_end_matches(':');
    let before = before.trim_ascii_end().trim_end_matches('"');
    let mut names = field.names().iter().copied();
    let name = names.find(|name| before.ends_with(name));
    (name.unwrap_or(field.name()), quoted(value, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOON: i64 = 1_772_366_400 * SECOND_US; // 2026-03-01T12:00:00Z

    fn time(given: i64, sent_at: Option<i64>, skew_min: i64) -> Option<i64> {
        let correction = Correction {
            received_at: NOON,
            skew_min,
        };
        correction.time(given, sent_at)
    }

    #[test]
    fn a_delay_is_not_a_wrong_clock() {
        let delay_max = 10 * SECOND_US;
        let moved = |delay| time(NOON - 60, Some(NOON - delay), delay_max);

        for delay in [0, 1, SECOND_US, delay_max] {
            assert_eq!(Some(NOON - 60), moved(delay), "{delay}");
        }
        for delay in [-1, -AHEAD_US_MAX, delay_max + 1, AHEAD_US_MAX] {
            assert_eq!(Some(NOON - 60 + delay), moved(delay), "{delay}");
        }
    }

    #[test]
    fn a_wrong_clock_is_corrected_by_the_time_of_sending() {
        for sent_at in [NOON + 2 * AHEAD_US_MAX, 86_400 * SECOND_US] {
            let timestamp = time(sent_at - 60, Some(sent_at), AHEAD_US_MAX);

            assert_eq!(Some(NOON - 60), timestamp);
        }
    }

    #[test]
    fn a_time_that_the_correction_moves_out_of_range_is_not_corrected() {
        for (given, sent_at) in [
            (NOON, NOON - 2 * AHEAD_US_MAX),
            (0, NOON + AHEAD_US_MAX),
            (NOON + AHEAD_US_MAX, 0),
            (NOON + AHEAD_US_MAX, NOON),
        ] {
            assert_eq!(Some(given), time(given, Some(sent_at), 0));
        }
    }

    #[test]
    fn a_time_that_is_out_of_range_in_both_ways_has_no_time_of_ours() {
        for (given, sent_at) in [
            (NOON + AHEAD_US_MAX + 1, None),
            (NOON + AHEAD_US_MAX + 1, Some(NOON)),
            (NOON + AHEAD_US_MAX + 1, Some(NOON - 9 * AHEAD_US_MAX)),
            (NOON + 2 * AHEAD_US_MAX, Some(END_US - 1)),
            (END_US - 1, Some(0)),
        ] {
            assert_eq!(None, time(given, sent_at, AHEAD_US_MAX));
        }
    }

    proptest! {
        #[test]
        fn no_times_overflow(given in 0..END_US, sent_at in 0..END_US, received_at in 0..END_US) {
            let correction = Correction { received_at, skew_min: AHEAD_US_MAX };
            let moment = correction.time(given, Some(sent_at));

            prop_assert!(moment.is_none_or(|moment| (0..END_US).contains(&moment)));
        }
    }
}
