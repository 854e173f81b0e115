//! The digest of a JSON value: 64 bits that do not depend on how the value is written.
//!
//! White space, escapes and the order of the members of an object do not change it. If members have
//! the same name, only the last counts, as in jsonb. Numbers are compared by their digits: 1.0 and
//! 1 have different digests.
#![forbid(unsafe_code)]

use super::text::unescape;
use xxhash_rust::xxh3::xxh3_64;

// Odd constants without a regular bit pattern: the primes of xxHash.
const LEFT: u64 = 0x9e37_79b1_85eb_ca87;
const RIGHT: u64 = 0xc2b2_ae3d_27d4_eb4f;
/// Makes the digest of the number 1 differ from that of the text "1".
const SCALAR: u64 = 0x1656_67b1_9e37_79f9;
const ARRAY: u64 = 0x85eb_ca77_c2b2_ae63;
const OBJECT: u64 = 0x27d4_eb2f_1656_67c5;

/// Combines two digests. The result depends on their order.
#[inline]
#[must_use]
pub const fn fold(left: u64, right: u64) -> u64 {
    let product = (left ^ LEFT) as u128 * (right ^ RIGHT) as u128;
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    let low = product as u64;
    low ^ (product >> u64::BITS) as u64
}

/// The digest of a text. *raw* has the bytes between the quotes.
#[inline]
#[must_use]
pub fn text(raw: &[u8], is_escaped: bool) -> u64 {
    if is_escaped {
        return escaped_text(raw);
    }
    xxh3_64(raw)
}

#[cold]
fn escaped_text(raw: &[u8]) -> u64 {
    let raw = str::from_utf8(raw).unwrap_or_default();
    xxh3_64(unescape(raw).as_bytes())
}

/// The digest of a number, `true`, `false` or `null`.
#[inline]
#[must_use]
pub fn scalar(raw: &[u8]) -> u64 {
    xxh3_64(raw) ^ SCALAR
}

/// The open objects and arrays, with the digests of the entries that have been read.
#[derive(Debug, Default)]
pub struct Digest {
    /// The members of each open object, and one entry for each open array.
    entries: Vec<Entry>,
    /// For each open object, the index of its first member in `entries`.
    objects: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name: u64,
    value: u64,
}

impl Digest {
    #[inline]
    pub fn open(&mut self, is_object: bool) {
        if is_object {
            self.objects.push(self.entries.len());
        } else {
            self.name(0);
        }
    }

    /// Adds a member without its value to the innermost container, which must be an object.
    #[inline]
    pub fn name(&mut self, name: u64) {
        self.entries.push(Entry { name, value: 0 });
    }

    /// Sets the value of the last member, or adds an element to the innermost array.
    #[inline]
    pub fn value(&mut self, value: u64, is_member: bool) {
        if let Some(entry) = self.entries.last_mut() {
            entry.value = if is_member {
                value
            } else {
                fold(entry.value, value)
            };
        }
    }

    /// Closes the innermost container, and returns its digest.
    pub fn close(&mut self, is_object: bool) -> u64 {
        if !is_object {
            return fold(self.entries.pop().map_or(0, |entry| entry.value), ARRAY);
        }
        let start = self.objects.pop().unwrap_or(0);
        let members = self.entries.get_mut(start..).unwrap_or_default();
        let digest = fold(sum(members), OBJECT);
        self.entries.truncate(start);
        digest
    }
}

/// The sum of the digests of the members, which does not depend on their order.
#[inline]
fn sum(members: &mut [Entry]) -> u64 {
    let (mut sum, mut seen, mut may_repeat) = (0_u64, 0_u64, false);
    for member in members.iter() {
        let bit = 1 << (member.name >> 58);
        may_repeat |= seen & bit != 0;
        seen |= bit;
        sum = sum.wrapping_add(fold(member.name, member.value));
    }
    if may_repeat {
        return sum_of_last(members);
    }
    sum
}

/// The same sum if names may be repeated: sorts the members by name, and adds the last of each
/// name.
#[inline(never)]
fn sum_of_last(members: &mut [Entry]) -> u64 {
    members.sort_by_key(|member| member.name);
    let lasts = members.chunk_by(|left, right| left.name == right.name);
    let lasts = lasts.filter_map(<[Entry]>::last);
    lasts.fold(0, |sum, member| {
        sum.wrapping_add(fold(member.name, member.value))
    })
}

#[cfg(test)]
mod tests {
    use crate::json::scanner::Scanner;
    use proptest::prelude::*;
    use serde_json::Value;
    use std::collections::HashMap;
    use std::time::Instant;

    fn digest(json: &str) -> u64 {
        let mut scanner = Scanner::new(json).unwrap();
        let value = scanner.value().unwrap();
        scanner.digest(value)
    }

    #[test]
    fn a_value_written_differently_has_the_same_digest() {
        for (one, same) in [
            (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#),
            (r#"{"a":1,"b":[2]}"#, "{ \"a\" : 1,\n\t\"b\":[ 2 ]}"),
            (r#"[{"a":{"b":1,"c":2}}]"#, r#"[{"a":{"c":2,"b":1}}]"#),
            (r#"{"é":"😀/"}"#, r#"{"\u00E9":"\ud83d\uDE00\/"}"#),
            (r#""\u0041\t""#, r#""A\u0009""#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            (r#"{"a":{"b":1},"c":3,"\u0061":[]}"#, r#"{"c":3,"a":[]}"#),
        ] {
            assert_eq!(digest(one), digest(same), "{one} {same}");
        }
    }

    #[test]
    fn different_values_have_different_digests() {
        let values = [
            "1",
            "1.0",
            "1e0",
            "-1",
            r#""1""#,
            "true",
            r#""true""#,
            "null",
            r#""""#,
            "[]",
            "{}",
            "[[]]",
            "[{}]",
            "[1]",
            "[1,1]",
            "[1,2]",
            "[2,1]",
            "[[1,2]]",
            "[[1],2]",
            "[1,[2]]",
            r#"["a"]"#,
            r#"["a","b"]"#,
            r#"["b","a"]"#,
            r#"["ab"]"#,
            r#"{"":0}"#,
            r#"{"a":1}"#,
            r#"{"a":2}"#,
            r#"{"b":1}"#,
            r#"{"a":[1]}"#,
            r#"{"a":1,"b":2}"#,
            r#"{"a":2,"b":1}"#,
            r#"{"a":2,"a":1,"c":1}"#,
            r#"{"a":{"b":1}}"#,
            r#"{"b":{"a":1}}"#,
            r#"{"a":{},"b":1}"#,
            r#"[{"a":1},{"b":2}]"#,
            r#"[{"b":2},{"a":1}]"#,
            r#"{"a":{"x":1},"b":{"x":2}}"#,
            r#"{"a":{"x":2},"b":{"x":1}}"#,
        ];
        let mut seen = HashMap::new();
        for value in values {
            assert_eq!(None, seen.insert(digest(value), value), "{value}");
        }
    }

    #[test]
    fn small_documents_do_not_collide() {
        let mut seen = HashMap::new();
        for a in 0..60 {
            for b in 0..60 {
                for c in 0..30 {
                    let json = format!(r#"{{"a":{a},"b":[{b},{c}],"c":{{"a":{c},"b":{a}}}}}"#);
                    assert_eq!(None, seen.insert(digest(&json), (a, b, c)));
                }
            }
        }
    }

    #[test]
    fn of_many_members_the_last_of_a_name_counts() {
        for count in [2, 10, 100, 1_000] {
            let members = |value: &str| -> Vec<String> {
                (0..count)
                    .map(|n| format!(r#""n{n}":{value}{n}"#))
                    .collect()
            };
            let (former, latter) = (members("1"), members("2"));
            let twice = format!("{{{},{}}}", former.join(","), latter.join(","));
            let mut latter = latter;
            latter.reverse();

            assert_eq!(digest(&format!("{{{}}}", latter.join(","))), digest(&twice));
            assert_ne!(digest(&format!("{{{}}}", former.join(","))), digest(&twice));
        }
    }

    #[test]
    fn many_members_cost_no_more_than_a_sort() {
        let object = |count: usize, name: fn(usize) -> usize| {
            let members: Vec<_> = (0..count).map(|n| format!(r#""{}":0"#, name(n))).collect();
            format!("{{{}}}", members.join(","))
        };
        let cost = |json: &str| {
            let best = (0..5).map(|_| {
                let start = Instant::now();
                std::hint::black_box(digest(json));
                start.elapsed()
            });
            best.min().unwrap()
        };
        for name in [|n| n, |n| 1_000_000 - n, |_| 7, |n| n % 300] {
            let (few, many) = (cost(&object(10_000, name)), cost(&object(100_000, name)));

            // Ten times as many members: quadratic work would take 100 times as long.
            assert!(many < few * 50, "{few:?} {many:?}");
        }
    }

    /// Writes a value with its members in another order, with space, and all texts in escapes.
    fn rewrite(value: &Value, out: &mut String) {
        match value {
            Value::Object(members) => {
                out.push_str("{ ");
                for (place, (name, value)) in members.iter().rev().enumerate() {
                    out.push_str(if place > 0 { " ,\t" } else { "" });
                    escape(name, out);
                    out.push_str(" :\n");
                    rewrite(value, out);
                }
                out.push('}');
            }
            Value::Array(values) => {
                out.push('[');
                for (place, value) in values.iter().enumerate() {
                    out.push_str(if place > 0 { ", " } else { "" });
                    rewrite(value, out);
                }
                out.push_str("\r]");
            }
            Value::String(text) => escape(text, out),
            other => out.push_str(&other.to_string()),
        }
    }

    fn escape(text: &str, out: &mut String) {
        out.push('"');
        out.extend(text.encode_utf16().map(|unit| format!("\\u{unit:04x}")));
        out.push('"');
    }

    /// Changes one value somewhere inside.
    fn change(value: &mut Value) {
        match value {
            Value::Object(members) => match members.values_mut().next_back() {
                Some(last) => change(last),
                None => *value = Value::Null,
            },
            Value::Array(values) => match values.first_mut() {
                Some(first) => change(first),
                None => values.push(Value::Null),
            },
            Value::String(text) => text.push('x'),
            Value::Null => *value = Value::Bool(true),
            Value::Bool(word) => *word = !*word,
            Value::Number(_) => *value = Value::String(value.to_string()),
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            ".{0,20}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 60, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..20)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_written_differently_is_the_same_and_a_changed_one_is_not(value in values()) {
            let mut rewritten = String::new();
            rewrite(&value, &mut rewritten);
            let mut changed = value.clone();
            change(&mut changed);

            prop_assert_eq!(digest(&value.to_string()), digest(&rewritten));
            prop_assert_ne!(digest(&value.to_string()), digest(&changed.to_string()));
        }
    }
}
