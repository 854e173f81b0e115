//! When each request is due. At a constant rate that is decided beforehand: a slow answer delays no
//! due time, so its wait is counted in every request behind it (no coordinated omission).

use std::time::Duration;

#[derive(Debug)]
pub struct Schedule {
    /// Between two requests; zero in a closed loop, where each is due when a connection is free.
    interval: Duration,
    end: Duration,
    taken: u32,
}

impl Schedule {
    /// `rate` is in requests per second; none for a closed loop. Times count from the start.
    pub fn new(rate: Option<f64>, end: Duration) -> Self {
        let interval = rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate));
        Self {
            interval,
            end,
            taken: 0,
        }
    }

    /// Takes the next request if it is due, and returns when it was due.
    pub fn take(&mut self, now: Duration) -> Option<Duration> {
        let due = self.next_due(now)?;
        if due > now {
            return None;
        }
        self.taken += 1;
        Some(due)
    }

    /// When the next request is due; none when all have been taken.
    pub fn next_due(&self, now: Duration) -> Option<Duration> {
        let due = if self.interval.is_zero() {
            now
        } else {
            self.interval * self.taken
        };
        (due < self.end).then_some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_request_is_taken_at_its_time_and_not_before() {
        let mut schedule = Schedule::new(Some(100.0), SECOND);

        let taken = [0, 1, 9, 10, 19, 20].map(|now| schedule.take(ms(now)));

        let due = [Some(0), None, None, Some(10), None, Some(20)].map(|time| time.map(ms));
        assert_eq!(due, taken);
    }

    #[test]
    fn what_a_stall_held_up_is_still_due_when_it_was_due() {
        let mut schedule = Schedule::new(Some(100.0), SECOND);

        let taken: Vec<_> = std::iter::from_fn(|| schedule.take(ms(35))).collect();

        assert_eq!([0, 10, 20, 30].map(ms).to_vec(), taken);
    }

    #[test]
    fn a_stall_over_the_end_loses_no_request() {
        let mut schedule = Schedule::new(Some(100.0), SECOND);

        let taken = std::iter::from_fn(|| schedule.take(ms(5_000))).count();

        assert_eq!(100, taken);
    }

    #[test]
    fn a_closed_loop_is_always_due_until_the_end() {
        let mut schedule = Schedule::new(None, SECOND);

        let taken = [0, 1, 999, 1000].map(|now| schedule.take(ms(now)));

        assert_eq!(
            [Some(0), Some(1), Some(999), None].map(|t| t.map(ms)),
            taken
        );
    }
}
