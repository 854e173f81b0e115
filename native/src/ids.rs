//! Request ids, row ids, and event ids for events that came without one. The core draws no random
//! bits itself: the caller supplies them.
#![forbid(unsafe_code)]

use crate::base36;
use crate::hash::sha256;

pub const SECRET_BYTES: usize = 32;

/// 20 characters of 36 hold 103 bits: among 10^12 minted ids two are equal with a chance of 10^-7.
pub const MINTED_CHARACTERS: usize = 20;

const ROW_ID_MAX: u64 = i64::MAX.cast_unsigned();

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

/// The ids of one worker's rows: a counter of 63 bits, and a secret for minted event ids.
#[derive(Debug)]
pub struct RowIds {
    next: u64,
    secret: [u8; SECRET_BYTES],
}

impl RowIds {
    /// Counts from *start*, of which the low 63 bits are used.
    #[must_use]
    pub const fn new(start: u64, secret: [u8; SECRET_BYTES]) -> Self {
        Self {
            next: start & ROW_ID_MAX,
            secret,
        }
    }

    /// The next row id: never negative; 0 follows after 2^63 - 1.
    pub const fn take(&mut self) -> i64 {
        let id = self.next;
        self.next = (id + 1) & ROW_ID_MAX;
        id.cast_signed()
    }

    /// An event id for the row *id* that arrived at *`received_at`*: base36, of a fixed length.
    ///
    /// SHA-256 of the secret and the row id is as random as the secret. A sender must not be able to
    /// guess the ids of others, so a counter is not enough. The time makes the ids of a copy of the
    /// process differ (a resumed snapshot of its machine), which has the same counter and secret.
    #[must_use]
    pub fn mint(&self, id: i64, received_at: i64) -> String {
        let mut input = [0; SECRET_BYTES + 2 * size_of::<i64>()];
        let numbers = [id.to_be_bytes(), received_at.to_be_bytes()];
        let parts = self.secret.iter().chain(numbers.as_flattened());
        for (to, from) in input.iter_mut().zip(parts) {
            *to = *from;
        }
        // A byte modulo 36 favours four digits by an eighth, which costs 0.1 bits of the 103.4.
        let digest = sha256(&input);
        let digits = digest.iter().take(MINTED_CHARACTERS);
        digits
            .map(|byte| char::from(base36::digit(byte % 36)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    const SECRET: [u8; SECRET_BYTES] = [7; SECRET_BYTES];

    #[test]
    fn request_ids_are_those_of_the_reference_generator() {
        let mut ids = RequestIds::new(1_234_567);

        assert_eq!(6_457_827_717_110_365_317, ids.take());
        assert_eq!(3_203_168_211_198_807_973, ids.take());
    }

    #[test]
    fn row_ids_count_from_their_start() {
        let mut ids = RowIds::new(41, SECRET);

        assert_eq!([41, 42, 43], [ids.take(), ids.take(), ids.take()]);
    }

    #[test]
    fn after_the_last_row_id_comes_0() {
        for start in [ROW_ID_MAX, u64::MAX] {
            let mut ids = RowIds::new(start, SECRET);

            assert_eq!([i64::MAX, 0, 1], [ids.take(), ids.take(), ids.take()]);
        }
    }

    #[test]
    fn a_minted_id_depends_on_secret_row_and_arrival() {
        let ids = RowIds::new(0, SECRET);
        let other = RowIds::new(0, [8; SECRET_BYTES]);
        let minted = [
            ids.mint(1, 1),
            ids.mint(2, 1),
            ids.mint(1, 2),
            other.mint(1, 1),
        ];

        assert_eq!(ids.mint(1, 1), minted[0]);
        assert_eq!(minted.len(), minted.iter().collect::<HashSet<_>>().len());
    }

    proptest! {
        #[test]
        fn minted_ids_have_one_length_and_the_digits_of_base36(id: i64, received_at: i64) {
            let minted = RowIds::new(0, SECRET).mint(id, received_at);

            prop_assert_eq!(MINTED_CHARACTERS, minted.len());
            prop_assert!(minted.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'z')));
        }
    }
}
