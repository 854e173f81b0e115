//! The key that an event is known by, and the hash that tells its content from another.
#![forbid(unsafe_code)]

use crate::digest::fold;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub const EVENT_KEY_BYTES: usize = 16;

pub const SHA_256_BYTES: usize = 32;

/// Raise it when the canonical content changes: stored hashes of the old form then answer "same".
pub const CONTENT_HASH_VERSION: u64 = 2;

const HASH_BITS: u32 = 60;

/// The first 128 bits of SHA-256: short in the index, and nobody can craft a second id with them.
#[must_use]
pub fn event_key(event_id: &str) -> [u8; EVENT_KEY_BYTES] {
    let digest = sha256(event_id.as_bytes());
    let mut key = [0; EVENT_KEY_BYTES];
    for (to, from) in key.iter_mut().zip(digest) {
        *to = from;
    }
    key
}

#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; SHA_256_BYTES] {
    Sha256::digest(bytes).into()
}

/// What is compared of two events with one id.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    pub workspace_id: i64,
    /// Type and texts, in their places and in their normal form.
    pub texts: &'a [u8],
    /// The event's times as given, in microseconds since 1970.
    pub times: [Option<i64>; 2],
    /// Sum of the digests of its documents and unknown members.
    pub documents: u64,
}

/// Four bits of version, then 60 of hash: never negative.
#[must_use]
pub fn content_hash(content: &Content) -> i64 {
    let hash = xxh3_64_with_seed(content.texts, content.workspace_id.cast_unsigned());
    // No time is below 0, so -1 stands for a time that was not given.
    let moments = content.times.map(|time| time.unwrap_or(-1).cast_unsigned());
    let hash = moments.into_iter().fold(hash, fold);
    let hash = fold(hash, content.documents);
    ((CONTENT_HASH_VERSION << HASH_BITS) | (hash & ((1 << HASH_BITS) - 1))).cast_signed()
}

/// Whether the two may be the same content: hashes of different versions are given the benefit.
#[must_use]
pub const fn is_same_content(stored: i64, given: i64) -> bool {
    stored == given || version(stored) != version(given)
}

const fn version(hash: i64) -> u64 {
    hash.cast_unsigned() >> HASH_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_key_is_the_start_of_sha_256() {
        let expected = [
            0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae,
            0x22, 0x23,
        ];

        assert_eq!(expected, event_key("abc"));
    }

    fn content(workspace_id: i64) -> Content<'static> {
        Content {
            workspace_id,
            texts: b"[]",
            times: [None, None],
            documents: 0,
        }
    }

    #[test]
    fn every_part_of_the_content_counts() {
        let one = content_hash(&content(1));

        assert_eq!(one, content_hash(&content(1)));
        for other in [
            content(2),
            Content {
                texts: b"[",
                ..content(1)
            },
            Content {
                times: [Some(0), None],
                ..content(1)
            },
            Content {
                times: [None, Some(0)],
                ..content(1)
            },
            Content {
                documents: 1,
                ..content(1)
            },
        ] {
            assert_ne!(one, content_hash(&other), "{other:?}");
        }
    }

    #[test]
    fn a_hash_carries_its_version_and_is_positive() {
        for workspace_id in [i64::MIN, -1, 0, 1, i64::MAX] {
            let hash = content_hash(&content(workspace_id));

            assert_eq!(CONTENT_HASH_VERSION, version(hash));
            assert!(hash > 0);
        }
    }

    #[test]
    fn only_hashes_of_one_version_can_differ() {
        let one = content_hash(&content(1));
        let other_version = one + (1 << HASH_BITS);

        assert!(is_same_content(one, one));
        assert!(!is_same_content(one, one ^ 1));
        assert!(is_same_content(other_version ^ 1, one));
        assert!(is_same_content(-1, one));
    }
}
