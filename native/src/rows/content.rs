//! The canonical content of an event, which quarantine stores, and the content hash.
//!
//! The content is a JSON array of the values of the fields in `names`. It does not depend on the
//! spellings of fields and on escapes in texts.
#![forbid(unsafe_code)]

use crate::event::field::{Field, Shape};
use crate::event::members::{Event, Fields, UnknownMember};
use crate::json::digest::fold;
use crate::json::text::push_quoted;
use crate::json::value::{Kind, Value};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Increase it when a change alters hashes: hashes of different versions count as equal.
const CONTENT_HASH_VERSION: u64 = 2;

const HASH_BITS: u32 = 60;

/// Approximate number of bytes for brackets, commas, nulls and added quotes.
const FRAME_BYTES: usize = 96;

/// The names of the values of a content, in order.
#[must_use]
pub fn names() -> Vec<&'static str> {
    let fields = Field::CONTENT_TEXTS.iter().chain(&Field::CONTENT_REST);
    let names = fields.map(|field| field.name());
    std::iter::once("type")
        .chain(names)
        .chain(["extra"])
        .collect()
}

/// Appends the content of *event*, with *unknown*, the members that are not known fields.
///
/// Returns the end of the text fields in *content*.
pub fn push(content: &mut Vec<u8>, event: &Event, unknown: &[UnknownMember], body: &str) -> usize {
    content.reserve(FRAME_BYTES + bytes_of(&event.fields, unknown));
    content.extend_from_slice(b"[\"");
    content.extend_from_slice(event.event_type.name().as_bytes());
    content.push(b'"');
    push_fields(content, &Field::CONTENT_TEXTS, &event.fields, body);
    let texts_end = content.len();
    push_fields(content, &Field::CONTENT_REST, &event.fields, body);
    content.push(b',');
    if unknown.is_empty() {
        content.extend_from_slice(b"null");
    } else {
        push_unknown(content, unknown, body);
    }
    content.push(b']');
    texts_end
}

fn push_fields(content: &mut Vec<u8>, content_fields: &[Field], fields: &Fields, body: &str) {
    for field in content_fields {
        match fields.get(*field) {
            None => content.extend_from_slice(b",null"),
            Some(value) => {
                content.push(b',');
                push_value(content, *field, value, body);
            }
        }
    }
}

fn bytes_of(fields: &Fields, unknown: &[UnknownMember]) -> usize {
    let known: usize = (Field::CONTENT_TEXTS.iter().chain(&Field::CONTENT_REST))
        .filter_map(|field| fields.get(*field))
        .map(|value| value.span().len())
        .sum();
    let extra: usize = unknown
        .iter()
        .map(|member| member.value.span().end - member.name.span().start)
        .sum();
    known + extra
}

fn push_value(content: &mut Vec<u8>, field: Field, value: Value, body: &str) {
    match value.kind {
        // Ids are stored as text. A time that is a number stays one, so that it can be sent again.
        Kind::Number if field.shape() == Shape::Id => push_quoted(content, value.raw(body)),
        Kind::Text if value.is_escaped => push_quoted(content, &value.text(body)),
        _ => content.extend_from_slice(value.raw_bytes(body)),
    }
}

/// Appends an object with the unknown members. There must be at least one.
pub fn push_unknown(out: &mut Vec<u8>, unknown: &[UnknownMember], body: &str) {
    let mut before = b'{';
    for member in unknown {
        out.push(before);
        out.extend_from_slice(member.name.raw_bytes(body));
        out.push(b':');
        out.extend_from_slice(member.value.raw_bytes(body));
        before = b',';
    }
    out.push(b'}');
}

/// The values that the content hash of an event covers.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    pub workspace_id: i64,
    /// The type and the text fields: the start of the canonical content.
    pub texts: &'a [u8],
    /// `timestamp` and `original_timestamp` as sent, in microseconds since 1970.
    pub times: [Option<i64>; 2],
    /// The sum of the digests of documents and unknown members.
    pub documents_digest: u64,
}

/// The content hash: 4 bits of version and 60 bits of hash. Never negative.
#[must_use]
pub fn content_hash(content: &Content) -> i64 {
    let hash = xxh3_64_with_seed(content.texts, content.workspace_id.cast_unsigned());
    // Times are not negative, so -1 stands for a missing time.
    let moments = content.times.map(|time| time.unwrap_or(-1).cast_unsigned());
    let hash = moments.into_iter().fold(hash, fold);
    let hash = fold(hash, content.documents_digest);
    ((CONTENT_HASH_VERSION << HASH_BITS) | (hash & ((1 << HASH_BITS) - 1))).cast_signed()
}

/// Whether two hashes count as the same content. Hashes of different versions always do.
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

    fn content(workspace_id: i64) -> Content<'static> {
        Content {
            workspace_id,
            texts: b"[]",
            times: [None, None],
            documents_digest: 0,
        }
    }

    #[test]
    fn every_part_of_the_content_changes_the_hash() {
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
                documents_digest: 1,
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
