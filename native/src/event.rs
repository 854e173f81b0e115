//! One event's members, gathered from the body in one walk.
#![forbid(unsafe_code)]

use crate::digest::fold;
use crate::fault::Fault;
use crate::field::{EventType, Field, SPELLINGS, Shape};
use crate::json::Scanner;
use crate::text::excerpt;
use crate::value::{Kind, Value};
use crate::violation::{Code, Refusal, Violation};
use std::borrow::Cow;
use std::ops::Range;

/// An event that passed every check: where its values stand in the body, and when it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub event_type: EventType,
    pub fields: Fields,
    pub times: Times,
    /// Its members without a name of ours, in the list that its scan keeps for all events.
    pub unknown: Range<usize>,
    /// Sum of the digests of its documents and unknown members.
    pub documents: u64,
    pub place: Place,
}

impl Event {
    /// The client's id; none when it was absent, null or empty.
    #[must_use]
    pub fn event_id<'a>(&self, body: &'a str) -> Option<Cow<'a, str>> {
        self.fields
            .get(Field::EventId)
            .map(|value| value.text(body))
    }
}

/// The fields of one event: one value each, nulls and empty ids taken out.
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

/// The times of one event as its sender gave them, in microseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    pub timestamp: Option<i64>,
    pub original: Option<i64>,
    pub sent_at: Option<i64>,
}

/// Where an event stands in the body, and what in it is secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub span: Range<usize>,
    /// Values of writeKey, which no copy of the event may show; a second one is refused.
    pub secrets: Vec<Range<usize>>,
}

impl Place {
    /// The event as it was sent, for quarantine: all but the secret.
    #[must_use]
    pub fn payload(&self, body: &str) -> Vec<u8> {
        let mut payload = Vec::with_capacity(self.span.len());
        let mut from = self.span.start;
        for secret in &self.secrets {
            payload.extend_from_slice(piece(body, from..secret.start));
            payload.extend_from_slice(b"\"***\"");
            from = secret.end;
        }
        payload.extend_from_slice(piece(body, from..self.span.end));
        payload
    }
}

/// A member that we have no name for, and keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown {
    pub name: Value,
    pub value: Value,
}

/// Where the members of one event stand. Kept from event to event, for its memory.
#[derive(Debug, Default)]
pub struct Members {
    /// The value of each field under the spelling that came first.
    known: Fields,
    /// A bit for each of them whose first spelling was that of Segment's SDKs.
    theirs: u32,
    /// Values of fields that came in both spellings, which is rare: those of the later one.
    others: Vec<(Field, Value)>,
    /// A bit for each field that is known.
    sent: u32,
    unknown: Vec<Unknown>,
    documents: u64,
    /// The first thing that the walk itself refuses.
    refusal: Option<Refusal>,
    place: Place,
}

impl Members {
    /// Reads the object that begins here.
    ///
    /// # Errors
    /// Where it breaks the grammar.
    pub fn read(&mut self, scanner: &mut Scanner) -> Result<(), Fault> {
        self.known = Fields::default();
        (self.sent, self.theirs) = (0, 0);
        self.others.clear();
        self.unknown.clear();
        self.documents = 0;
        self.place.secrets.clear();
        self.refusal = None;
        let start = scanner.position();
        scanner.open()?;
        while let Some(name) = scanner.next_name()? {
            if name.has_trouble {
                self.note_trouble(scanner, name);
            }
            let value = scanner.value()?;
            if value.has_trouble {
                self.note_trouble(scanner, name);
            }
            self.keep(scanner, name, value);
        }
        self.place.span = start..scanner.position();
        self.refuse_repeated_unknown(scanner.body);
        Ok(())
    }

    fn keep(&mut self, scanner: &Scanner, name: Value, value: Value) {
        let body = scanner.body;
        let found = match name.plain_bytes(body) {
            Some(plain) => Field::find(plain),
            None => Field::find(name.text(body).as_bytes()),
        };
        let Some((field, spelling)) = found else {
            self.unknown.push(Unknown { name, value });
            self.add_document(scanner, name, value);
            return;
        };
        if field.shape() == Shape::Object && value.kind == Kind::Object {
            self.add_document(scanner, name, value);
        }
        if field == Field::WriteKey {
            self.place.secrets.push(value.span());
        }
        let bit = 1 << field as u32;
        if self.sent & bit != 0 {
            return self.keep_other(body, name, field, spelling, value);
        }
        self.sent |= bit;
        if spelling > 0 {
            self.theirs |= bit;
        }
        self.known.set(field, Some(value));
    }

    /// Adds a member to the sum of digests, which does not depend on the order of members.
    fn add_document(&mut self, scanner: &Scanner, name: Value, value: Value) {
        let member = fold(scanner.digest(name), scanner.digest(value));
        self.documents = self.documents.wrapping_add(member);
    }

    /// Keeps the value of a field that came before: under its other spelling, or twice.
    #[cold]
    fn keep_other(&mut self, body: &str, name: Value, field: Field, spelling: usize, value: Value) {
        let is_theirs = self.theirs & (1 << field as u32) != 0;
        let other = self.others.iter_mut().find(|(other, _)| *other == field);
        if is_theirs == (spelling > 0) {
            self.known.set(field, Some(value));
        } else if let Some((_, other)) = other {
            *other = value;
        } else {
            self.others.push((field, value));
            return;
        }
        self.refuse(repeated(&name.text(body)));
    }

    #[cold]
    fn note_trouble(&mut self, scanner: &Scanner, name: Value) {
        if let Some(trouble) = scanner.trouble() {
            let field = label(name, scanner.body);
            self.refuse(Refusal {
                code: trouble.code(),
                message: trouble.message(&field, scanner.body),
                field,
            });
        }
    }

    /// Sorted, so that thousands of members cost no more than their sorting.
    fn refuse_repeated_unknown(&mut self, body: &str) {
        if self.unknown.len() < 2 {
            return;
        }
        let mut names: Vec<_> = self
            .unknown
            .iter()
            .map(|member| member.name.text(body))
            .collect();
        names.sort_unstable();
        let twin = names.windows(2).find_map(|pair| match pair {
            [left, right] if left == right => Some(repeated(left)),
            _ => None,
        });
        if let Some(refusal) = twin {
            self.refuse(refusal);
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
    }

    #[must_use]
    pub const fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// What was sent for *field*, under each of its spellings.
    #[must_use]
    pub fn sent(&self, field: Field) -> [Option<Value>; SPELLINGS] {
        let first = self.known.get(field);
        let mut others = self.others.iter().filter(|(other, _)| *other == field);
        let other = others.next().map(|(_, value)| *value);
        if self.theirs & (1 << field as u32) != 0 {
            [other, first]
        } else {
            [first, other]
        }
    }

    /// The fields that were sent, in their order.
    pub fn fields_sent(&self) -> impl Iterator<Item = Field> {
        let mut rest = self.sent;
        std::iter::from_fn(move || {
            let field = Field::ALL.get(rest.trailing_zeros() as usize);
            rest &= rest.wrapping_sub(1);
            field.copied()
        })
    }

    /// The value of each field under the spelling that came first: all there is, but for `others`.
    #[must_use]
    pub const fn known(&self) -> &Fields {
        &self.known
    }

    #[must_use]
    pub const fn has_others(&self) -> bool {
        !self.others.is_empty()
    }

    /// The key that a client with no headers sends in the body.
    #[must_use]
    pub fn write_key(&self, body: &str) -> Option<String> {
        let [value, _] = self.sent(Field::WriteKey);
        value.and_then(|value| value.kept_text(body))
    }

    #[must_use]
    pub fn unknown(&self) -> &[Unknown] {
        &self.unknown
    }

    #[must_use]
    pub const fn documents(&self) -> u64 {
        self.documents
    }

    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    #[must_use]
    pub fn violation(&self, body: &str, refusal: Refusal, event_id: Option<String>) -> Violation {
        Violation {
            code: refusal.code,
            field: Some(refusal.field),
            message: refusal.message,
            event_id,
            payload: self.place.payload(body),
        }
    }
}

fn piece(body: &str, range: Range<usize>) -> &[u8] {
    body.as_bytes().get(range).unwrap_or_default()
}

/// A member's name as a message may show it: as sent, when decoding it would make it unfit to store.
#[must_use]
pub fn label(name: Value, body: &str) -> String {
    if name.has_trouble {
        excerpt(name.raw(body).trim_matches('"'))
    } else {
        excerpt(&name.text(body))
    }
}

fn repeated(name: &str) -> Refusal {
    let field = excerpt(name);
    Refusal {
        code: Code::AmbiguousField,
        message: format!("{field} is given twice in one event"),
        field,
    }
}
