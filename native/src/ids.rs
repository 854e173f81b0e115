//! Request ids (64 random bits) and row ids (63 bits in the order of time).
#![forbid(unsafe_code)]

/// 2024-01-01T00:00:00Z, so that 41 bits of milliseconds last until 2093.
pub const ROW_ID_EPOCH_MS: i64 = 1_704_067_200_000;

pub const WORKERS: u64 = 1 << WORKER_BITS;

/// More than any flush; it keeps a wrong number from asking for all the memory there is.
pub const TAKE_MAX: u64 = 1 << 20;

const MS_BITS: u32 = 41;
const WORKER_BITS: u32 = 10;
const COUNTER_BITS: u32 = 12;

/// Milliseconds and counter together: each worker counts from 0 to here.
const SEQUENCE_END: u64 = 1 << (MS_BITS + COUNTER_BITS);

/// Why no id was given. Both carry a sentence.
#[derive(Debug, PartialEq, Eq)]
pub enum IdFault {
    Invalid(String),
    Overflow(String),
}

/// `SplitMix64`: each of its 2^64 states is visited once, and its output is a bijection of the state.
#[derive(Debug)]
pub struct RequestIds {
    state: u64,
}

impl RequestIds {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub const fn take(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The row ids of one worker: 41 bits of milliseconds, 10 of worker, 12 of counter.
#[derive(Debug)]
pub struct RowIds {
    worker: u64,
    next: u64,
}

impl RowIds {
    /// # Errors
    /// `IdFault::Invalid` when *worker* does not fit its 10 bits.
    pub fn new(worker: i64) -> Result<Self, IdFault> {
        match u64::try_from(worker) {
            Ok(worker) if worker < WORKERS => Ok(Self { worker, next: 0 }),
            _ => Err(IdFault::Invalid(format!(
                "worker must be 0 to {}, this is {worker}",
                WORKERS - 1
            ))),
        }
    }

    /// *count* ids, each above all that were given before.
    ///
    /// A clock that steps back keeps the last millisecond; a full counter borrows the next one.
    ///
    /// # Errors
    /// `Invalid` before the epoch or for an absurd *count*, `Overflow` past the 41 bits.
    pub fn take(&mut self, now_ms: i64, count: i64) -> Result<Vec<i64>, IdFault> {
        let count = u64::try_from(count)
            .ok()
            .filter(|&count| count <= TAKE_MAX)
            .ok_or_else(|| {
                IdFault::Invalid(format!("count must be 0 to {TAKE_MAX}, this is {count}"))
            })?;
        let elapsed_ms = now_ms
            .checked_sub(ROW_ID_EPOCH_MS)
            .and_then(|elapsed_ms| u64::try_from(elapsed_ms).ok())
            .ok_or_else(|| {
                IdFault::Invalid(format!(
                    "now_ms must be {ROW_ID_EPOCH_MS} (2024) or later, this is {now_ms}"
                ))
            })?;
        if elapsed_ms >> MS_BITS != 0 {
            return Err(past_the_end(now_ms));
        }
        let first = self.next.max(elapsed_ms << COUNTER_BITS);
        let end = first + count;
        if end > SEQUENCE_END {
            return Err(past_the_end(now_ms));
        }
        self.next = end;
        Ok((first..end).map(|sequence| self.id(sequence)).collect())
    }

    const fn id(&self, sequence: u64) -> i64 {
        let ms = sequence >> COUNTER_BITS;
        let counter = sequence & ((1 << COUNTER_BITS) - 1);
        let id = (ms << (WORKER_BITS + COUNTER_BITS)) | (self.worker << COUNTER_BITS) | counter;
        id.cast_signed()
    }
}

fn past_the_end(now_ms: i64) -> IdFault {
    IdFault::Overflow(format!(
        "the 41 bits of milliseconds end in 2093, now_ms is {now_ms}"
    ))
}

/// Milliseconds since 1970, worker and counter of a row id.
///
/// # Errors
/// `Invalid` for a negative number, which is no row id.
pub fn row_id_parts(id: i64) -> Result<(i64, i64, i64), IdFault> {
    if id < 0 {
        return Err(IdFault::Invalid(format!(
            "a row id is never negative, this is {id}"
        )));
    }
    let ms = id >> (WORKER_BITS + COUNTER_BITS);
    let worker = (id >> COUNTER_BITS) & (WORKERS.cast_signed() - 1);
    let counter = id & ((1 << COUNTER_BITS) - 1);
    Ok((ms + ROW_ID_EPOCH_MS, worker, counter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_790_000_000_000;

    #[test]
    fn request_ids_are_those_of_the_reference_generator() {
        let mut ids = RequestIds::new(1_234_567);

        assert_eq!(6_457_827_717_110_365_317, ids.take());
        assert_eq!(3_203_168_211_198_807_973, ids.take());
    }

    #[test]
    fn a_full_counter_borrows_the_next_millisecond() {
        let mut ids = RowIds::new(7).unwrap();
        let taken = ids.take(NOW, 4_097).unwrap();

        assert_eq!(Ok((NOW, 7, 4_095)), row_id_parts(taken[4_095]));
        assert_eq!(Ok((NOW + 1, 7, 0)), row_id_parts(taken[4_096]));
    }

    #[test]
    fn a_clock_that_steps_back_keeps_the_last_millisecond() {
        let mut ids = RowIds::new(7).unwrap();
        ids.take(NOW, 1).unwrap();
        let taken = ids.take(NOW - 5_000, 1).unwrap();

        assert_eq!(Ok((NOW, 7, 1)), row_id_parts(taken[0]));
    }

    #[test]
    fn a_refused_take_changes_nothing() {
        let end_ms = ROW_ID_EPOCH_MS + (1 << MS_BITS);
        let mut ids = RowIds::new(0).unwrap();

        assert!(matches!(ids.take(end_ms, 1), Err(IdFault::Overflow(_))));
        assert!(matches!(
            ids.take(end_ms - 1, 4_097),
            Err(IdFault::Overflow(_))
        ));
        assert_eq!(4_096, ids.take(end_ms - 1, 4_096).unwrap().len());
        assert!(matches!(ids.take(NOW, 1), Err(IdFault::Overflow(_))));
        assert_eq!(Ok(vec![]), ids.take(NOW, 0));
    }

    #[test]
    fn numbers_outside_their_bounds_are_refused() {
        let mut ids = RowIds::new(1_023).unwrap();

        assert!(matches!(RowIds::new(1_024), Err(IdFault::Invalid(_))));
        assert!(matches!(RowIds::new(-1), Err(IdFault::Invalid(_))));
        assert!(matches!(
            ids.take(ROW_ID_EPOCH_MS - 1, 1),
            Err(IdFault::Invalid(_))
        ));
        assert!(matches!(ids.take(i64::MIN, 1), Err(IdFault::Invalid(_))));
        assert!(matches!(ids.take(NOW, -1), Err(IdFault::Invalid(_))));
        assert!(matches!(ids.take(NOW, i64::MAX), Err(IdFault::Invalid(_))));
        assert!(matches!(row_id_parts(-1), Err(IdFault::Invalid(_))));
    }

    proptest! {
        #[test]
        fn ids_rise_strictly_whatever_the_clock_does(
            steps in prop::collection::vec((0..3_000_i64, 0..5_000_i64), 1..20)
        ) {
            let mut ids = RowIds::new(1_023).unwrap();
            let mut last = -1;
            for (offset_ms, count) in steps {
                for id in ids.take(NOW + offset_ms, count).unwrap() {
                    prop_assert!(id > last);
                    last = id;
                }
            }
        }
    }
}
