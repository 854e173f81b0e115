//! Latencies, kept one by one: percentiles are exact, and a request costs four bytes.

use std::time::Duration;

#[derive(Debug, Default)]
pub struct Latencies {
    micros: Vec<u32>,
}

impl Latencies {
    pub fn record(&mut self, latency: Duration) {
        self.micros
            .push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
    }

    pub fn len(&self) -> usize {
        self.micros.len()
    }

    pub fn sort(&mut self) {
        self.micros.sort_unstable();
    }

    /// The least latency that `permille` thousandths of the requests did not exceed (nearest rank);
    /// zero without any. Only after `sort`.
    pub fn percentile(&self, permille: usize) -> Duration {
        let rank = (permille * self.micros.len()).div_ceil(1000);
        let micros = self.micros.get(rank.max(1) - 1).copied().unwrap_or(0);
        Duration::from_micros(u64::from(micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::default();
        for value in micros {
            latencies.record(Duration::from_micros(value));
        }
        latencies.sort();
        latencies
    }

    #[test]
    fn percentiles_are_nearest_ranks_in_whatever_order_they_came() {
        let latencies = of((1..=1000).rev());

        let found = [500, 900, 990, 999, 1000].map(|permille| latencies.percentile(permille));

        assert_eq!([500, 900, 990, 999, 1000].map(Duration::from_micros), found);
    }

    #[test]
    fn one_latency_is_every_percentile() {
        let latencies = of([2_500]);

        let found = [0, 500, 1000].map(|permille| latencies.percentile(permille));

        assert_eq!([Duration::from_micros(2_500); 3], found);
    }

    #[test]
    fn without_a_latency_there_is_nothing_to_report() {
        assert_eq!(Duration::ZERO, of([]).percentile(990));
    }

    #[test]
    fn one_beyond_all_measure_is_the_greatest_not_the_least() {
        let latencies = of([1, u64::from(u32::MAX) * 1000]);

        assert!(latencies.percentile(1000) > Duration::from_secs(4_000));
    }
}
