//! One event's members, gathered from the body in one walk.
#![forbid(unsafe_code)]

use crate::fault::Fault;
use crate::field::{EventType, Field, SPELLINGS};
use crate::json::Scanner;
use crate::text::excerpt;
use crate::value::Value;
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
    known: [[Option<Value>; SPELLINGS]; Field::COUNT],
    /// A bit for each field that is known.
    sent: u32,
    unknown: Vec<Unknown>,
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
        self.forget();
        self.unknown.clear();
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
            self.keep(scanner.body, name, value);
        }
        self.place.span = start..scanner.position();
        self.refuse_repeated_unknown(scanner.body);
        Ok(())
    }

    /// Only what was there: an event has half of the fields, in one spelling each.
    fn forget(&mut self) {
        for (field, values) in self.known.iter_mut().enumerate() {
            if self.sent & (1 << field) != 0 {
                *values = [None; SPELLINGS];
            }
        }
        self.sent = 0;
    }

    fn keep(&mut self, body: &str, name: Value, value: Value) {
        let found = match name.plain_bytes(body) {
            Some(plain) => Field::find(plain),
            None => Field::find(name.text(body).as_bytes()),
        };
        let Some((field, spelling)) = found else {
            self.unknown.push(Unknown { name, value });
            return;
        };
        if field == Field::WriteKey {
            self.place.secrets.push(value.span());
        }
        self.sent |= 1 << field as u32;
        let slot = self
            .known
            .get_mut(field as usize)
            .and_then(|spellings| spellings.get_mut(spelling));
        if let Some(slot) = slot
            && slot.replace(value).is_some()
        {
            self.refuse(repeated(&name.text(body)));
        }
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
    pub fn sent(&self, field: Field) -> &[Option<Value>; SPELLINGS] {
        self.known.get(field as usize).unwrap_or(&[None; SPELLINGS])
    }

    #[must_use]
    pub const fn is_sent(&self, field: Field) -> bool {
        self.sent & (1 << field as u32) != 0
    }

    /// The value of a field that came in one spelling.
    #[must_use]
    pub fn only(&self, field: Field) -> Option<Value> {
        match self.sent(field) {
            [Some(value), None] | [None, Some(value)] => Some(*value),
            _ => None,
        }
    }

    /// The key that a client with no headers sends in the body.
    #[must_use]
    pub fn write_key(&self, body: &str) -> Option<String> {
        let [value, _] = self.sent(Field::WriteKey);
        value.as_ref().and_then(|value| value.kept_text(body))
    }

    #[must_use]
    pub fn unknown(&self) -> &[Unknown] {
        &self.unknown
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
