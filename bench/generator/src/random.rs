//! Random numbers: splitmix64, seeded by the system, so that no two runs share an event id.

use std::hash::{BuildHasher, Hasher, RandomState};

#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Seeds from the standard library's own random keys.
    pub fn from_system() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }
}
