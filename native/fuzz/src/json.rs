//! JSON as `serde_json` reads it, and what Forebay accepts beyond that or refuses of it.
//!
//! The differences between the core and `serde_json` that are intended:
//!
//! - `NaN`, `Infinity` and `-Infinity` are tokens for the core. Only their event is refused.
//! - Half of a surrogate pair is JSON for the core, too. Only its event is refused.
//! - The core refuses bodies with more than 1,024 levels. `serde_json` has no limit here.
//! - The core keeps all members with the same name, and the digits of numbers as they were sent.

use _native::json::error::{
    BODY_LEVELS_MAX, EVENT_LEVELS_MAX, EXPANDED_DIGITS_MAX, EXPONENT_MAX, NUMBER_BYTES_MAX,
    UnstorableKind,
};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;
use xxhash_rust::xxh3::xxh3_64;

/// White space of JSON.
pub const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// A JSON value: all members in their order, and numbers as they were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    Null,
    Boolean(bool),
    Number(String),
    Text(String),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// What `serde_json` says of a text.
#[derive(Debug)]
pub enum Reading {
    /// Not JSON, or more levels than a body may have.
    Refused,
    /// `serde_json` cannot decide: the text has a token or an escape that only the core accepts.
    Undecided,
    /// JSON, except that a string has half of a surrogate pair.
    HalfOfPair,
    Value(Json),
}

/// Reads *text*, all of which must be one JSON value.
#[must_use]
pub fn read(text: &str) -> Reading {
    if levels(text) > BODY_LEVELS_MAX {
        return Reading::Refused;
    }
    let has_word = text.contains("NaN") || text.contains("Infinity");
    if !is_json(text) {
        // With numbers of the same length in place of the words it must be JSON at least.
        let numbers = text.replace("NaN", "111").replace("Infinity", "11111111");
        return if has_word && is_json(&numbers) {
            Reading::Undecided
        } else {
            Reading::Refused
        };
    }
    Json::parse(text).map_or(Reading::HalfOfPair, Reading::Value)
}

/// Reads *text*, which must be one JSON value without half of a surrogate pair.
#[must_use]
pub fn must_read(text: &[u8]) -> Json {
    let text = str::from_utf8(text).expect("UTF-8");
    assert!(is_json(text), "not JSON: {text}");
    Json::parse(text).unwrap_or_else(|| panic!("not JSON: {text}"))
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// The nesting of *text* if it is JSON; any number if it is not.
fn levels(text: &str) -> usize {
    let (mut level, mut deepest, mut is_string) = (0_usize, 0, false);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if is_string => drop(bytes.next()),
            b'"' => is_string = !is_string,
            b'[' | b'{' if !is_string => {
                level += 1;
                deepest = deepest.max(level);
            }
            b']' | b'}' if !is_string => level = level.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

impl Json {
    /// Reads *text*. Returns `None` if it is not JSON, or has half of a surrogate pair.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim_matches(SPACE);
        Some(match text.bytes().next()? {
            b'n' => Self::Null,
            b't' | b'f' => Self::Boolean(serde_json::from_str(text).ok()?),
            b'"' => Self::Text(serde_json::from_str(text).ok()?),
            b'[' => {
                let values: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                let values = values.into_iter().map(|value| Self::parse(value.get()));
                Self::Array(values.collect::<Option<_>>()?)
            }
            b'{' => {
                let mut reader = serde_json::Deserializer::from_str(text);
                let members = reader.deserialize_map(MembersVisitor).ok()?;
                let members = members.into_iter().map(|(name, value)| {
                    let value = Self::parse(value.get())?;
                    Some((name, value))
                });
                Self::Object(members.collect::<Option<_>>()?)
            }
            _ => Self::Number(text.to_owned()),
        })
    }

    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text of a string; the digits of a number.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Number(text) => Some(text),
            _ => None,
        }
    }

    #[must_use]
    pub fn members(&self) -> &[(String, Self)] {
        match self {
            Self::Object(members) => members,
            _ => &[],
        }
    }

    /// The digest of the value, as the module `digest` of the core defines it.
    #[must_use]
    pub fn digest(&self) -> u64 {
        match self {
            Self::Null => scalar_digest("null"),
            Self::Boolean(value) => scalar_digest(if *value { "true" } else { "false" }),
            Self::Number(digits) => scalar_digest(digits),
            Self::Text(text) => xxh3_64(text.as_bytes()),
            Self::Array(values) => {
                let folded = values
                    .iter()
                    .fold(0, |all, value| fold(all, value.digest()));
                fold(folded, 0x85eb_ca77_c2b2_ae63)
            }
            Self::Object(members) => {
                let lasts: BTreeMap<&str, &Self> = members
                    .iter()
                    .map(|(name, value)| (name.as_str(), value))
                    .collect();
                let sum = lasts.iter().fold(0_u64, |sum, (name, value)| {
                    sum.wrapping_add(fold(xxh3_64(name.as_bytes()), value.digest()))
                });
                fold(sum, 0x27d4_eb2f_1656_67c5)
            }
        }
    }
}

/// Combines two digests.
#[must_use]
pub fn fold(left: u64, right: u64) -> u64 {
    let left = u128::from(left ^ 0x9e37_79b1_85eb_ca87);
    let right = u128::from(right ^ 0xc2b2_ae3d_27d4_eb4f);
    let bytes = (left * right).to_le_bytes();
    let (low, high) = bytes.split_at(8);
    let half = |half: &[u8]| u64::from_le_bytes(half.try_into().expect("8 bytes"));
    half(low) ^ half(high)
}

fn scalar_digest(token: &str) -> u64 {
    xxh3_64(token.as_bytes()) ^ 0x1656_67b1_9e37_79f9
}

/// Finds what `PostgreSQL` cannot store, in the order of the text.
#[derive(Debug)]
pub struct Storability {
    /// Digits that the exponents of the numbers so far stand for.
    pub expanded_digits: u32,
    first: Option<UnstorableKind>,
}

impl Storability {
    #[must_use]
    pub const fn new() -> Self {
        Self {
            expanded_digits: 0,
            first: None,
        }
    }

    /// The first problem of the text of a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<UnstorableKind> {
        name.contains('\0').then_some(UnstorableKind::Nul)
    }

    /// The first problem of *value*, which is inside of *level* containers.
    pub fn of(&mut self, value: &Json, level: usize) -> Option<UnstorableKind> {
        self.first = None;
        self.visit(value, level);
        self.first
    }

    fn visit(&mut self, value: &Json, level: usize) {
        match value {
            Json::Null | Json::Boolean(_) => {}
            Json::Number(digits) => self.number(digits),
            Json::Text(text) => self.note(Self::of_name(text)),
            Json::Array(values) => {
                self.container(level + 1);
                for value in values {
                    self.visit(value, level + 1);
                }
            }
            Json::Object(members) => {
                self.container(level + 1);
                for (name, value) in members {
                    self.note(Self::of_name(name));
                    self.visit(value, level + 1);
                }
            }
        }
    }

    fn container(&mut self, level: usize) {
        self.note((level > EVENT_LEVELS_MAX).then_some(UnstorableKind::Depth));
    }

    fn number(&mut self, digits: &str) {
        if digits.len() > NUMBER_BYTES_MAX {
            return self.note(Some(UnstorableKind::NumberLength));
        }
        let exponent = exponent_of(digits);
        self.expanded_digits = self.expanded_digits.saturating_add(exponent);
        if exponent > EXPONENT_MAX {
            self.note(Some(UnstorableKind::NumberExponent));
        } else if exponent > 0 && self.expanded_digits > EXPANDED_DIGITS_MAX {
            self.note(Some(UnstorableKind::NumberExpansion));
        }
    }

    fn note(&mut self, kind: Option<UnstorableKind>) {
        self.first = self.first.or(kind);
    }
}

impl Default for Storability {
    fn default() -> Self {
        Self::new()
    }
}

/// The exponent of a number without its sign; at most `u32::MAX`, which is far above the limit.
fn exponent_of(digits: &str) -> u32 {
    let Some((_, exponent)) = digits.split_once(['e', 'E']) else {
        return 0;
    };
    let exponent = exponent.trim_start_matches(['+', '-']);
    exponent.parse().unwrap_or(u32::MAX)
}

/// Reads all members of an object, also those with the same name.
struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = entries.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}
