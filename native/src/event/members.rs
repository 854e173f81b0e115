//! The members of one event, collected during the scan of the body.
#![forbid(unsafe_code)]

use super::api_key::is_api_key;
use super::field::{EventType, Field, SPELLINGS};
use super::violation::{Code, FieldError, Violation};
use crate::json::digest::fold;
use crate::json::error::JsonError;
use crate::json::scanner::Scanner;
use crate::json::text::excerpt;
use crate::json::value::{Kind, Value};
use std::borrow::Cow;
use std::ops::Range;

/// An event that passed all rules: the positions of its values in the body, and its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub event_type: EventType,
    pub fields: Fields,
    pub times: Times,
    /// Its unknown members, as a range of `Scan::unknown`.
    pub unknown: Range<usize>,
    /// The sum of the digests of its documents and unknown members.
    pub documents_digest: u64,
    pub span: EventSpan,
}

impl Event {
    /// The `event_id` from the sender; `None` if it is missing, null or empty.
    #[must_use]
    pub fn event_id<'a>(&self, body: &'a str) -> Option<Cow<'a, str>> {
        self.fields
            .get(Field::EventId)
            .map(|value| value.text(body))
    }
}

/// The fields of one event, each with at most one value; null and empty ids are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    values: [Option<Value>; Field::COUNT],
}

impl Fields {
    #[must_use]
    pub fn get(&self, field: Field) -> Option<Value> {
        self.values.get(field as usize).copied().flatten()
    }

    pub fn set(&mut self, field: Field, value: Option<Value>) {
        if let Some(slot) = self.values.get_mut(field as usize) {
            *slot = value;
        }
    }
}

/// The times of one event as the sender gave them, in microseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    pub timestamp: Option<i64>,
    pub original: Option<i64>,
    pub sent_at: Option<i64>,
}

/// What a copy of an event has in place of a secret.
pub const MASK: &[u8] = b"\"***\"";

/// The positions of an event and of its secrets in the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventSpan {
    pub bytes: Range<usize>,
    /// Values that must not be stored: of `writeKey`, and API keys under other names.
    pub secrets: Vec<Range<usize>>,
}

impl EventSpan {
    /// The event as it was sent, with its secrets masked, for quarantine.
    #[must_use]
    pub fn payload(&self, body: &str) -> Vec<u8> {
        let mut payload = Vec::with_capacity(self.bytes.len());
        let mut from = self.bytes.start;
        for secret in &self.secrets {
            payload.extend_from_slice(slice(body, from..secret.start));
            payload.extend_from_slice(MASK);
            from = secret.end;
        }
        payload.extend_from_slice(slice(body, from..self.bytes.end));
        payload
    }
}

/// A member that is not a known field. It is stored in the column `extra`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownMember {
    pub name: Value,
    pub value: Value,
}

/// The members of one event. The object is reused for the next event, to reuse its memory.
#[derive(Debug, Default)]
pub struct Members {
    /// The value of each field under the spelling that comes first in the event.
    known: Fields,
    /// The index of that spelling, for the fields that the event has.
    spellings: [usize; Field::COUNT],
    /// For fields with several spellings, which are rare: each further spelling, and its value.
    others: Vec<(Field, usize, Value)>,
    /// The bits of the fields that the event has.
    sent: u32,
    unknown: Vec<UnknownMember>,
    documents_digest: u64,
    /// The first error while the members were read.
    error: Option<FieldError>,
    span: EventSpan,
}

impl Members {
    /// Reads the object at the position of the scanner.
    ///
    /// # Errors
    /// If it is not valid JSON.
    pub fn read(&mut self, scanner: &mut Scanner) -> Result<(), JsonError> {
        self.known = Fields::default();
        self.sent = 0;
        self.others.clear();
        self.unknown.clear();
        self.documents_digest = 0;
        self.span.secrets.clear();
        self.error = None;
        scanner.count_digits_from_here();
        let start = scanner.position();
        scanner.open()?;
        while let Some(name) = scanner.next_name()? {
            if name.is_unstorable {
                self.note_unstorable(scanner, name);
            }
            let value = scanner.value()?;
            if value.is_unstorable {
                self.note_unstorable(scanner, name);
            }
            self.add(scanner, name, value);
        }
        self.span.bytes = start..scanner.position();
        self.refuse_duplicate_unknown(scanner.body);
        Ok(())
    }

    fn add(&mut self, scanner: &Scanner, name: Value, value: Value) {
        let body = scanner.body;
        let found = match name.plain_bytes(body) {
            Some(plain) => Field::find(plain),
            None => Field::find(name.text(body).as_bytes()),
        };
        let Some((field, spelling)) = found else {
            if is_api_key(value, body) {
                self.span.secrets.push(value.span());
            } else {
                self.unknown.push(UnknownMember { name, value });
            }
            self.add_document(scanner, name, value);
            return;
        };
        let bit = field.bit();
        if Field::HASHED_AS_MEMBERS & bit != 0 && value.kind != Kind::Null {
            self.add_document(scanner, name, value);
        }
        if field == Field::WriteKey {
            self.span.secrets.push(value.span());
        }
        if self.sent & bit != 0 {
            return self.add_other(body, name, field, spelling, value);
        }
        self.sent |= bit;
        if let Some(first) = self.spellings.get_mut(field as usize) {
            *first = spelling;
        }
        self.known.set(field, Some(value));
    }

    /// Adds the digest of a member to `documents_digest`. The sum does not depend on the order of
    /// members.
    fn add_document(&mut self, scanner: &Scanner, name: Value, value: Value) {
        let member = fold(scanner.digest(name), scanner.digest(value));
        self.documents_digest = self.documents_digest.wrapping_add(member);
    }

    /// Adds a further value of a field: under another spelling, or a duplicate.
    #[cold]
    fn add_other(&mut self, body: &str, name: Value, field: Field, spelling: usize, value: Value) {
        let is_first = self.first_spelling(field) == spelling;
        let mut others = self.others.iter_mut();
        let other = others.find(|(other, index, _)| (*other, *index) == (field, spelling));
        if is_first {
            self.known.set(field, Some(value));
        } else if let Some((.., other)) = other {
            *other = value;
        } else {
            self.others.push((field, spelling, value));
            return;
        }
        if self.error.is_none() {
            self.refuse(duplicate(&name.text(body)));
        }
    }

    #[cold]
    fn note_unstorable(&mut self, scanner: &Scanner, name: Value) {
        // Only the first error is reported: no message for each of many errors.
        if let Some(unstorable) = scanner.unstorable().filter(|_| self.error.is_none()) {
            let field = label(name, scanner.body);
            self.refuse(FieldError {
                code: Code::of(unstorable),
                message: unstorable.message(&field, scanner.body),
                field,
            });
        }
    }

    /// Finds duplicates by sorting the names, so the cost is O(n log n).
    fn refuse_duplicate_unknown(&mut self, body: &str) {
        // Only the first error is reported.
        if self.unknown.len() < 2 || self.error.is_some() {
            return;
        }
        let mut names: Vec<_> = self
            .unknown
            .iter()
            .map(|member| member.name.text(body))
            .collect();
        names.sort_unstable();
        let duplicate = names.windows(2).find_map(|pair| match pair {
            [left, right] if left == right => Some(duplicate(left)),
            _ => None,
        });
        if let Some(error) = duplicate {
            self.refuse(error);
        }
    }

    fn refuse(&mut self, error: FieldError) {
        self.error.get_or_insert(error);
    }

    #[must_use]
    pub const fn error(&self) -> Option<&FieldError> {
        self.error.as_ref()
    }

    /// The values of *field* that the event has, one for each spelling.
    #[must_use]
    pub fn sent(&self, field: Field) -> [Option<Value>; SPELLINGS] {
        let mut sent = [None; SPELLINGS];
        if let Some(slot) = sent.get_mut(self.first_spelling(field)) {
            *slot = self.known.get(field);
        }
        for (_, spelling, value) in self.others.iter().filter(|(other, ..)| *other == field) {
            if let Some(slot) = sent.get_mut(*spelling) {
                *slot = Some(*value);
            }
        }
        sent
    }

    fn first_spelling(&self, field: Field) -> usize {
        self.spellings.get(field as usize).copied().unwrap_or(0)
    }

    /// The fields that the event has, in the order of `Field::ALL`.
    pub fn fields_sent(&self) -> impl Iterator<Item = Field> {
        let mut rest = self.sent;
        std::iter::from_fn(move || {
            let field = Field::ALL.get(rest.trailing_zeros() as usize);
            rest &= rest.wrapping_sub(1);
            field.copied()
        })
    }

    /// The value of each field under the spelling that comes first in the event.
    #[must_use]
    pub const fn known(&self) -> &Fields {
        &self.known
    }

    #[must_use]
    pub const fn has_several_spellings(&self) -> bool {
        !self.others.is_empty()
    }

    #[must_use]
    pub const fn has(&self, field: Field) -> bool {
        self.sent & field.bit() != 0
    }

    /// The API key in the body, from a sender that cannot set headers.
    #[must_use]
    pub fn write_key(&self, body: &str) -> Option<String> {
        let value = self.known.get(Field::WriteKey);
        value.and_then(|value| value.storable_text(body))
    }

    #[must_use]
    pub fn unknown(&self) -> &[UnknownMember] {
        &self.unknown
    }

    #[must_use]
    pub const fn documents_digest(&self) -> u64 {
        self.documents_digest
    }

    #[must_use]
    pub const fn span(&self) -> &EventSpan {
        &self.span
    }

    #[must_use]
    pub fn violation(&self, body: &str, error: FieldError, event_id: Option<String>) -> Violation {
        Violation {
            code: error.code,
            field: Some(error.field),
            message: error.message,
            event_id,
            payload: self.span.payload(body),
        }
    }
}

fn slice(body: &str, range: Range<usize>) -> &[u8] {
    body.as_bytes().get(range).unwrap_or_default()
}

/// The name of a member for a message: decoded, or as sent if the decoded name cannot be stored.
#[must_use]
pub fn label(name: Value, body: &str) -> String {
    if name.is_unstorable {
        excerpt(name.raw(body).trim_matches('"'))
    } else {
        excerpt(&name.text(body))
    }
}

fn duplicate(name: &str) -> FieldError {
    let field = excerpt(name);
    FieldError {
        code: Code::AmbiguousField,
        message: format!("duplicate {field} in the event"),
        field,
    }
}
