//! Request ids, row ids, and event ids for events without one. The core does not generate random
//! bits: the caller passes them.
#![forbid(unsafe_code)]

use sha2::{Digest, Sha256};

pub const SECRET_BYTES: usize = 32;

/// 20 base36 characters have 103 bits: the probability that two of 10^12 ids are equal is 10^-7.
pub const MINTED_CHARACTERS: usize = 20;

pub const SHA_256_BYTES: usize = 32;

/// The key of an event id in the ledger: the first 128 bits of its SHA-256. It keeps the index
/// small, and a sender cannot construct two ids with the same key.
pub type EventKey = [u8; 16];

/// 36^13 is the smallest power of 36 above 2^64.
const BASE_36_DIGITS: usize = 13;

const ROW_ID_MAX: u64 = i64::MAX.cast_unsigned();

#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; SHA_256_BYTES] {
    Sha256::digest(bytes).into()
}

#[must_use]
pub fn event_key(event_id: &str) -> EventKey {
    let digest = sha256(event_id.as_bytes());
    let mut key = EventKey::default();
    for (to, from) in key.iter_mut().zip(digest) {
        *to = from;
    }
    key
}

/// *value* as 13 characters of 0-9a-z, which have the same sort order as the numbers.
#[must_use]
pub fn base36(value: u64) -> String {
    let mut digits = [b'0'; BASE_36_DIGITS];
    let mut rest = value;
    for digit in digits.iter_mut().rev() {
        *digit = base36_digit((rest % 36) as u8);
        rest /= 36;
    }
    digits.map(char::from).iter().collect()
}

/// The base36 digit of *value*, which must be below 36.
const fn base36_digit(value: u8) -> u8 {
    match value {
        low @ 0..10 => b'0' + low,
        high => b'a' + (high - 10),
    }
}

/// Request ids from the generator `SplitMix64`: no id repeats within 2^64 calls, because the
/// generator visits each of its 2^64 states once, and its output is a bijection of the state.
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

/// The row ids of one worker: a 63-bit counter. It also has the secret for generated event ids.
#[derive(Debug)]
pub struct RowIds {
    next: u64,
    secret: [u8; SECRET_BYTES],
}

impl RowIds {
    /// The counter starts at the low 63 bits of *start*.
    #[must_use]
    pub const fn new(start: u64, secret: [u8; SECRET_BYTES]) -> Self {
        Self {
            next: start & ROW_ID_MAX,
            secret,
        }
    }

    /// Returns the next row id, which is never negative. After 2^63 - 1 it continues with 0.
    pub const fn take(&mut self) -> i64 {
        let id = self.next;
        self.next = (id + 1) & ROW_ID_MAX;
        id.cast_signed()
    }

    /// Generates an event id for the row *id* that arrived at *`received_at`*: 20 base36
    /// characters.
    ///
    /// They come from the SHA-256 of the secret, the row id and the time of arrival. Because of the
    /// secret, a sender cannot guess the ids of other senders. The time makes ids differ if a process
    /// is copied, for example by resuming a snapshot of its machine twice: the copies have the same
    /// counter and secret.
    #[must_use]
    pub fn mint(&self, id: i64, received_at: i64) -> String {
        let mut input = [0; SECRET_BYTES + 2 * size_of::<i64>()];
        let numbers = [id.to_be_bytes(), received_at.to_be_bytes()];
        let parts = self.secret.iter().chain(numbers.as_flattened());
        for (to, from) in input.iter_mut().zip(parts) {
            *to = *from;
        }
        // A byte modulo 36 prefers four digits by an eighth, which leaves 103.3 of 103.4 random
        // bits.
        let digest = sha256(&input);
        let digits = digest.iter().take(MINTED_CHARACTERS);
        digits
            .map(|byte| char::from(base36_digit(byte % 36)))
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

    #[test]
    fn an_event_key_is_the_start_of_sha_256() {
        let expected = [
            0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae,
            0x22, 0x23,
        ];

        assert_eq!(expected, event_key("abc"));
    }

    proptest! {
        #[test]
        fn base_36_reads_back_and_sorts_as_the_numbers_do(left: u64, right: u64) {
            prop_assert_eq!(Ok(left), u64::from_str_radix(&base36(left), 36));
            prop_assert_eq!(left.cmp(&right), base36(left).cmp(&base36(right)));
            prop_assert_eq!(BASE_36_DIGITS, base36(left).len());
        }

        #[test]
        fn minted_ids_have_one_length_and_the_digits_of_base36(id: i64, received_at: i64) {
            let minted = RowIds::new(0, SECRET).mint(id, received_at);

            prop_assert_eq!(MINTED_CHARACTERS, minted.len());
            prop_assert!(minted.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'z')));
        }
    }
}
