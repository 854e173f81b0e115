//! Scans the body of a request: a single event, or the envelope of a batch with its events.
#![forbid(unsafe_code)]

use super::api_key::is_api_key;
use super::field::{EventType, Field};
use super::members::{Event, MASK, Members, UnknownMember, label};
use super::rules;
use super::violation::{Actual, Code, Malformed, Violation};
use crate::json::error::{Expected, JsonError};
use crate::json::scanner::Scanner;
use crate::json::value::{Kind, Value};

/// Maximum size of the context of a batch in bytes. It is stored with each event.
pub const BATCH_CONTEXT_BYTES_MAX: usize = 32 * 1_024;

/// The result of a scan. Values are positions in the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Of the body or, if it has none, of its events.
    pub write_key: Option<String>,
    /// The body has no key, and its events have different ones.
    pub has_different_keys: bool,
    pub sent_at: Option<Value>,
    pub sent_at_us: Option<i64>,
    pub context: Option<Value>,
    /// Size of the context as stored with each event, with its numbers written out.
    pub context_bytes: usize,
    /// Number of events in the body, including those after the limit.
    pub count: usize,
    pub events: Vec<Result<Event, Box<Violation>>>,
    /// The unknown members of all events, in the order of the events.
    pub unknown: Vec<UnknownMember>,
}

impl Scan {
    /// The unknown members of *event*.
    #[must_use]
    pub fn unknown_of(&self, event: &Event) -> &[UnknownMember] {
        self.unknown.get(event.unknown.clone()).unwrap_or_default()
    }

    #[inline]
    fn add(&mut self, checked: Result<Event, Box<Violation>>, members: &Members) {
        self.events.push(checked);
        if let Some(Ok(event)) = self.events.last_mut() {
            let start = self.unknown.len();
            self.unknown.extend_from_slice(members.unknown());
            event.unknown = start..self.unknown.len();
        }
    }
}

/// Scans a body that is one event.
///
/// # Errors
/// If the body as a whole is invalid.
pub fn scan_event(body: &[u8], expected: EventType) -> Result<Scan, Box<Malformed>> {
    let body = utf8(body)?;
    let mut scanner = begin(body)?;
    let mut members = Members::default();
    members
        .read(&mut scanner)
        .and_then(|()| scanner.end())
        .map_err(|error| Box::new(Malformed::new(error, body)))?;
    let mut scan = Scan {
        write_key: members.write_key(body),
        count: 1,
        ..Scan::default()
    };
    scan.add(rules::check(&members, body, Some(expected)), &members);
    Ok(scan)
}

/// Scans the first `events_max` events of the `batch` in a body, and counts the others.
///
/// # Errors
/// If the body as a whole is invalid.
pub fn scan_batch(body: &[u8], events_max: usize) -> Result<Scan, Box<Malformed>> {
    let body = utf8(body)?;
    let scanner = begin(body)?;
    let mut envelope = Envelope {
        scanner,
        events_max,
        seen: Seen::default(),
        scan: Scan::default(),
        key_of_events: None,
        have_events_different_keys: false,
        error: None,
    };
    envelope
        .read()
        .map_err(|error| Box::new(Malformed::new(error, body)))?;
    envelope.finish()
}

fn utf8(body: &[u8]) -> Result<&str, Box<Malformed>> {
    simdutf8::compat::from_utf8(body).map_err(|error| {
        let offset = error.valid_up_to();
        let found = body
            .get(offset)
            .map_or_else(|| "the end".to_owned(), |byte| format!("0x{byte:02x}"));
        Box::new(Malformed {
            code: Code::MalformedJson,
            field: None,
            message: format!("the body is not UTF-8: byte {offset} is {found}"),
            offset: Some(offset),
            limit: None,
            actual: None,
        })
    })
}

/// Returns a scanner at the start of the object that the body must be.
fn begin(body: &str) -> Result<Scanner<'_>, Box<Malformed>> {
    #[cfg(feature = "panic-for-tests")]
    crate::panic_for_tests::panic_if_asked(crate::panic_for_tests::IN_SCAN, body.as_bytes());
    let Some(mut scanner) = Scanner::new(body) else {
        return Err(Box::new(too_long(body)));
    };
    let found = match scanner.skip_space() {
        b'{' => return Ok(scanner),
        _ if scanner.position() == scanner.body.len() => "an empty body",
        b'[' => Kind::Array.phrase(),
        b'"' => Kind::Text.phrase(),
        b'-' | b'0'..=b'9' => Kind::Number.phrase(),
        b't' | b'f' => Kind::Boolean.phrase(),
        b'n' => Kind::Null.phrase(),
        _ => {
            let error = JsonError::new(scanner.position(), Expected::Object);
            return Err(Box::new(Malformed::new(error, body)));
        }
    };
    Err(Box::new(Malformed {
        code: Code::MalformedJson,
        field: None,
        message: format!("the body must be a JSON object, but is {found}"),
        offset: Some(scanner.position()),
        limit: None,
        actual: Some(Actual::Text(found.to_owned())),
    }))
}

fn too_long(body: &str) -> Malformed {
    let (limit, actual) = (u32::MAX as usize, body.len());
    Malformed {
        code: Code::MalformedJson,
        field: None,
        message: format!("the body has {actual} bytes; the limit is {limit}"),
        offset: None,
        limit: Some(limit),
        actual: Some(Actual::Count(actual)),
    }
}

/// The members of the envelope that have been read, to detect duplicates.
#[derive(Debug, Default)]
struct Seen {
    batch: bool,
    context: bool,
    write_key: bool,
    sent_at: [bool; 2],
}

struct Envelope<'a> {
    scanner: Scanner<'a>,
    events_max: usize,
    seen: Seen,
    scan: Scan,
    /// The first key in an event. Some SDKs put the key nowhere else.
    key_of_events: Option<String>,
    have_events_different_keys: bool,
    /// The first error. It is returned only if the rest of the body is valid JSON.
    error: Option<Malformed>,
}

impl Envelope<'_> {
    fn read(&mut self) -> Result<(), JsonError> {
        self.scanner.open()?;
        while let Some(name) = self.scanner.next_name()? {
            if name.is_unstorable {
                self.note_unstorable(name);
            }
            match &*name.text(self.scanner.body) {
                "batch" => self.batch(name)?,
                "context" => self.context(name)?,
                "writeKey" => self.write_key(name)?,
                "sent_at" => self.sent_at(name, 0)?,
                "sentAt" => self.sent_at(name, 1)?,
                _ => {
                    self.scanner.value()?;
                }
            }
        }
        self.scanner.end()
    }

    fn finish(mut self) -> Result<Scan, Box<Malformed>> {
        if !self.seen.batch {
            let message = "batch is missing: it must be an array of events".to_owned();
            self.refuse(Code::MissingField, "batch", message, None);
        }
        self.refuse_large_context();
        self.read_sent_at();
        self.use_key_of_events();
        self.error
            .map_or(Ok(self.scan), |error| Err(Box::new(error)))
    }

    fn batch(&mut self, name: Value) -> Result<(), JsonError> {
        let is_duplicate = std::mem::replace(&mut self.seen.batch, true);
        self.refuse_duplicate(is_duplicate, name);
        if self.scanner.skip_space() != b'[' || is_duplicate {
            let value = self.scanner.value()?;
            self.refuse_kind(name, value, Kind::Array);
            return Ok(());
        }
        let mut members = Members::default();
        self.scanner.open()?;
        self.scanner.count_levels_from_here();
        while self.scanner.has_next()? {
            if self.scan.count < self.events_max {
                self.event(&mut members)?;
            } else {
                self.scanner.value()?;
            }
            self.scan.count += 1;
        }
        self.scanner.count_levels_from_body();
        Ok(())
    }

    fn event(&mut self, members: &mut Members) -> Result<(), JsonError> {
        let body = self.scanner.body;
        if self.scanner.skip_space() == b'{' {
            members.read(&mut self.scanner)?;
            self.scan.add(rules::check(members, body, None), members);
            if members.has(Field::WriteKey) {
                self.note_key_of_event(members);
            }
            return Ok(());
        }
        let value = self.scanner.value()?;
        let found = value.kind.phrase();
        self.scan.events.push(Err(Box::new(Violation {
            code: Code::InvalidEvent,
            field: None,
            message: format!("an event must be an object, but is {found}"),
            event_id: None,
            payload: if is_api_key(value, body) {
                MASK.to_vec()
            } else {
                value.raw(body).as_bytes().to_vec()
            },
        })));
        Ok(())
    }

    fn note_key_of_event(&mut self, members: &Members) {
        let body = self.scanner.body;
        let [value, ..] = members.sent(Field::WriteKey);
        let is_key = |value: &Value| {
            value.kind == Kind::Text && !value.is_unstorable && !value.is_empty_text()
        };
        let Some(text) = value.filter(is_key).map(|value| value.text(body)) else {
            return;
        };
        match &self.key_of_events {
            None => self.key_of_events = Some(text.into_owned()),
            Some(first) => self.have_events_different_keys |= *first != text,
        }
    }

    fn use_key_of_events(&mut self) {
        let own = self.scan.write_key.as_deref().unwrap_or_default();
        if !own.is_empty() || self.key_of_events.is_none() {
            return;
        }
        self.scan.has_different_keys = self.have_events_different_keys;
        if !self.have_events_different_keys {
            self.scan.write_key = self.key_of_events.take();
        }
    }

    fn context(&mut self, name: Value) -> Result<(), JsonError> {
        let is_duplicate = std::mem::replace(&mut self.seen.context, true);
        self.refuse_duplicate(is_duplicate, name);
        let value = self.stored_value(name)?;
        if value.kind != Kind::Null {
            if !value.is_document(self.scanner.body) {
                self.refuse_kind(name, value, Kind::Object);
            }
            self.scan.context = Some(value);
            self.scan.context_bytes = value.span().len() + self.scanner.expanded_digits();
        }
        Ok(())
    }

    fn write_key(&mut self, name: Value) -> Result<(), JsonError> {
        let is_duplicate = std::mem::replace(&mut self.seen.write_key, true);
        self.refuse_duplicate(is_duplicate, name);
        let value = self.stored_value(name)?;
        self.scan.write_key = value.storable_text(self.scanner.body);
        Ok(())
    }

    fn sent_at(&mut self, name: Value, spelling: usize) -> Result<(), JsonError> {
        let is_duplicate = self
            .seen
            .sent_at
            .get_mut(spelling)
            .is_some_and(|seen| std::mem::replace(seen, true));
        self.refuse_duplicate(is_duplicate, name);
        let value = self.stored_value(name)?;
        if value.kind == Kind::Null {
            return Ok(());
        }
        if value.kind != Kind::Number {
            self.refuse_kind(name, value, Kind::Text);
        }
        let body = self.scanner.body;
        let earlier = self.scan.sent_at.replace(value);
        if earlier.is_some_and(|earlier| earlier.text(body) != value.text(body)) {
            let message = "sent_at and sentAt are both given, with different values".to_owned();
            self.refuse(
                Code::AmbiguousField,
                &label(name, self.scanner.body),
                message,
                None,
            );
        }
        Ok(())
    }

    /// Parses `sentAt`, unless there is an error already.
    fn read_sent_at(&mut self) {
        let given = self.scan.sent_at.filter(|value| !value.is_empty_text());
        let Some(given) = given.filter(|_| self.error.is_none()) else {
            return;
        };
        let body = self.scanner.body;
        match rules::moment(given, body) {
            Ok(moment) => self.scan.sent_at_us = Some(moment),
            Err(error) => {
                let message = rules::time_message("sentAt", given, body, error);
                self.refuse(Code::InvalidTimestamp, "sentAt", message, None);
            }
        }
    }

    fn refuse_large_context(&mut self) {
        let (limit, actual) = (
            BATCH_CONTEXT_BYTES_MAX,
            self.scan.context.map_or(0, |context| context.span().len()),
        );
        if actual > limit {
            self.error.get_or_insert(Malformed {
                code: Code::InvalidField,
                field: Some("context".to_owned()),
                message: format!(
                    "context of the batch has {actual} bytes; the limit is {limit}, because it is stored with each event"
                ),
                offset: None,
                limit: Some(limit),
                actual: Some(Actual::Count(actual)),
            });
        }
    }

    fn stored_value(&mut self, name: Value) -> Result<Value, JsonError> {
        self.scanner.count_digits_from_here();
        let value = self.scanner.value()?;
        if value.is_unstorable {
            self.note_unstorable(name);
        }
        Ok(value)
    }

    fn note_unstorable(&mut self, name: Value) {
        if let Some(unstorable) = self.scanner.unstorable().filter(|_| self.error.is_none()) {
            let field = label(name, self.scanner.body);
            let malformed = Malformed {
                code: Code::of(unstorable),
                message: unstorable.message(&field, self.scanner.body),
                field: Some(field),
                offset: Some(unstorable.start),
                limit: unstorable.limit(),
                actual: None,
            };
            self.error.get_or_insert(malformed);
        }
    }

    fn refuse_duplicate(&mut self, is_duplicate: bool, name: Value) {
        if is_duplicate && self.error.is_none() {
            let field = label(name, self.scanner.body);
            let message = format!("duplicate {field} in the body");
            self.refuse(Code::AmbiguousField, &field, message, None);
        }
    }

    fn refuse_kind(&mut self, name: Value, value: Value, wanted: Kind) {
        if value.kind != wanted && self.error.is_none() {
            let (field, found) = (label(name, self.scanner.body), value.kind.phrase());
            let message = format!("{field} must be {}, but is {found}", wanted.phrase());
            let actual = Actual::Text(found.to_owned());
            self.refuse(Code::InvalidField, &field, message, Some(actual));
        }
    }

    fn refuse(&mut self, code: Code, field: &str, message: String, actual: Option<Actual>) {
        self.error.get_or_insert(Malformed {
            code,
            field: Some(field.to_owned()),
            message,
            offset: None,
            limit: None,
            actual,
        });
    }
}
