//! The rules for fields and types of events. The answer reports the first rule that is broken.
#![forbid(unsafe_code)]

use super::field::{EventType, Field, SPELLINGS, Shape};
use super::members::{Event, Fields, Members, Times};
use super::time::{self, TimeError};
use super::violation::{Code, FieldError, Violation};
use crate::json::text::excerpt;
use crate::json::value::{Kind, Value};

pub const EVENT_ID_BYTES_MAX: usize = 200;

/// Checks all rules for the event with *members*.
///
/// *expected* is the event type of the endpoint, `None` for a batch.
///
/// # Errors
/// The violation, including the values that quarantine stores.
#[inline]
pub fn check(
    members: &Members,
    body: &str,
    expected: Option<EventType>,
) -> Result<Event, Box<Violation>> {
    let mut fields = members.known().clone();
    match apply(members, body, expected, &mut fields) {
        Ok((event_type, times)) => Ok(Event {
            event_type,
            fields,
            times,
            unknown: 0..0,
            documents_digest: members.documents_digest(),
            span: members.span().clone(),
        }),
        Err(error) => Err(Box::new(violation(members, body, error))),
    }
}

#[cold]
fn violation(members: &Members, body: &str, error: FieldError) -> Violation {
    let event_id = one_value(members, body, Field::EventId)
        .ok()
        .and_then(|value| event_id(members, body, value).ok())
        .flatten()
        .filter(|value| !value.is_unstorable)
        .map(|value| value.text(body).into_owned());
    members.violation(body, error, event_id)
}

fn apply(
    members: &Members,
    body: &str,
    expected: Option<EventType>,
    fields: &mut Fields,
) -> Result<(EventType, Times), FieldError> {
    if let Some(error) = members.error() {
        return Err(error.clone());
    }
    for field in members.fields_sent() {
        let is_valid = fields
            .get(field)
            .is_some_and(|value| is_plain(field.shape(), value));
        if !is_valid || members.has_several_spellings() {
            let value = one_value(members, body, field).map_err(|error| *error)?;
            fields.set(field, value);
        }
    }
    let event_type = event_type(fields, body, expected)?;
    event_id(members, body, fields.get(Field::EventId))?;
    required(members, fields, event_type)?;
    let time = |field| match fields.get(field) {
        Some(given) if !given.is_empty_text() => read_time(members, body, field, given).map(Some),
        _ => Ok(None),
    };
    let times = Times {
        sent_at: time(Field::SentAt)?,
        timestamp: time(Field::Timestamp)?,
        original: time(Field::OriginalTimestamp)?,
    };
    Ok((event_type, times))
}

/// Whether *value* has the right kind and is neither null nor empty, as most values are.
const fn is_plain(shape: Shape, value: Value) -> bool {
    match shape {
        Shape::Object => matches!(value.kind, Kind::Object),
        Shape::Secret => false,
        _ => matches!(value.kind, Kind::Text) && !value.is_empty_text(),
    }
}

/// The value of *field*, whichever spelling it has.
fn one_value(
    members: &Members,
    body: &str,
    field: Field,
) -> Result<Option<Value>, Box<FieldError>> {
    let spelling = spelling_used(&members.sent(field), body, field)?;
    Ok(spelling.and_then(|spelling| members.sent(field).get(spelling).copied().flatten()))
}

/// The index of the spelling that has the value. An index is returned in a register, unlike a
/// value.
fn spelling_used(
    sent: &[Option<Value>; SPELLINGS],
    body: &str,
    field: Field,
) -> Result<Option<usize>, Box<FieldError>> {
    let mut used: Option<(usize, &Value)> = None;
    for (spelling, (value, name)) in sent.iter().zip(field.names()).enumerate() {
        let Some(value) = value.as_ref().filter(|value| value.kind != Kind::Null) else {
            continue;
        };
        check_shape(field.shape(), *value, name, body)?;
        if matches!(field.shape(), Shape::Id) && value.is_empty_text() {
            continue;
        }
        match used {
            Some((first, used)) if used.text(body) != value.text(body) => {
                let first = field.names().get(first).unwrap_or(name);
                return Err(Box::new(FieldError {
                    code: Code::AmbiguousField,
                    field: (*name).to_owned(),
                    message: format!("{first} and {name} are both given, with different values"),
                }));
            }
            _ => used = Some((spelling, value)),
        }
    }
    Ok(used.map(|(spelling, _)| spelling))
}

fn check_shape(shape: Shape, value: Value, name: &str, body: &str) -> Result<(), Box<FieldError>> {
    let is_valid = match shape {
        Shape::Id | Shape::Time => matches!(value.kind, Kind::Text | Kind::Number),
        Shape::Text => value.kind == Kind::Text,
        Shape::Object => value.is_document(body),
        Shape::Secret => true,
    };
    if is_valid {
        return Ok(());
    }
    Err(Box::new(wrong_kind(shape, value, name, body)))
}

#[cold]
fn wrong_kind(shape: Shape, value: Value, name: &str, body: &str) -> FieldError {
    let wanted = match shape {
        Shape::Id | Shape::Time => "text or a number",
        Shape::Text => "text",
        Shape::Object => "an object",
        Shape::Secret => "anything",
    };
    let found = match value.kind {
        Kind::Number => format!("the number {}", excerpt(value.raw(body))),
        kind => kind.phrase().to_owned(),
    };
    FieldError {
        code: Code::InvalidField,
        field: name.to_owned(),
        message: format!("{name} must be {wanted}, but is {found}"),
    }
}

fn event_type(
    fields: &Fields,
    body: &str,
    expected: Option<EventType>,
) -> Result<EventType, FieldError> {
    let name = Field::Type.name();
    let error = |code, message| FieldError {
        code,
        field: name.to_owned(),
        message,
    };
    let Some(given) = fields.get(Field::Type) else {
        return expected.ok_or_else(|| {
            let message = format!("each event of a batch needs {name}: {}", EventType::NAMES);
            error(Code::MissingField, message)
        });
    };
    let text = given.text(body);
    let found = EventType::find(&text);
    match (expected, found) {
        (None, Some(found)) => Ok(found),
        (Some(expected), found) if found == Some(expected) => Ok(expected),
        (Some(expected), _) => {
            let (expected, found) = (expected.name(), excerpt(&text));
            let message =
                format!("{name} is {found:?}, but this endpoint accepts only {expected:?}");
            Err(error(Code::AmbiguousField, message))
        }
        (None, None) => {
            let (names, found) = (EventType::NAMES, excerpt(&text));
            let message = format!("{name} must be one of {names}, but is {found:?}");
            Err(error(Code::InvalidType, message))
        }
    }
}

/// Checks that *value* is a valid event id, and returns it.
fn event_id(
    members: &Members,
    body: &str,
    value: Option<Value>,
) -> Result<Option<Value>, FieldError> {
    let Some(value) = value else { return Ok(None) };
    let name = spelling(members, Field::EventId);
    let error = |message| FieldError {
        code: Code::InvalidEventId,
        field: name.to_owned(),
        message,
    };
    let text = value.text(body);
    let bytes = text.len();
    if bytes > EVENT_ID_BYTES_MAX {
        return Err(error(format!(
            "{name} must have 1 to {EVENT_ID_BYTES_MAX} bytes, but has {bytes}"
        )));
    }
    if let Some(control) = control_character(&text) {
        let code_point = u32::from(control);
        return Err(error(format!(
            "{name} must have no control characters, but has U+{code_point:04X}"
        )));
    }
    Ok(Some(value))
}

/// Parses *given*, the value of *field*.
fn read_time(members: &Members, body: &str, field: Field, given: Value) -> Result<i64, FieldError> {
    moment(given, body).map_err(|error| {
        let name = spelling(members, field);
        FieldError {
            code: Code::InvalidTimestamp,
            field: name.to_owned(),
            message: time_message(name, given, body, error),
        }
    })
}

/// Parses *given*, a text or a number, to microseconds since 1970.
///
/// # Errors
/// If it is not a valid time.
pub fn moment(given: Value, body: &str) -> Result<i64, TimeError> {
    match given.kind {
        Kind::Number => time::parse_number(given.raw(body)),
        _ => time::parse(&given.text(body)),
    }
}

/// The message for *given*, which is not a valid time.
#[must_use]
pub fn time_message(name: &str, given: Value, body: &str, error: TimeError) -> String {
    let found = quoted(given, body);
    match error {
        TimeError::NotATime => {
            format!("{name} {found} is not an ISO 8601 time such as 2026-01-31T12:00:00.000Z")
        }
        TimeError::NotSinceEpoch => format!(
            "{name} {found} is not a time: a number must have 10 digits before the point, for \
             seconds since 1970, or 13, for milliseconds"
        ),
        TimeError::Before1970 => format!("{name} {found} is before 1970"),
    }
}

/// A text or a number as a message shows it: a text with quotes.
#[must_use]
pub fn quoted(value: Value, body: &str) -> String {
    let shown = excerpt(&value.text(body));
    match value.kind {
        Kind::Text => format!("{shown:?}"),
        _ => shown,
    }
}

fn control_character(text: &str) -> Option<char> {
    // Fast path for printable ASCII, as in nearly all ids. The compiler vectorizes this loop,
    // because it has no early exit.
    let is_plain = |is_plain, byte| is_plain & matches!(byte, b' '..=b'~');
    if text.bytes().fold(true, is_plain) {
        return None;
    }
    text.chars().find(|character| character.is_control())
}

fn required(members: &Members, fields: &Fields, event_type: EventType) -> Result<(), FieldError> {
    let missing = |field: Field, needs: &str| {
        Err(FieldError {
            code: Code::MissingField,
            field: spelling(members, field).to_owned(),
            message: format!(
                "{} needs {needs}, not null and not empty",
                event_type.name()
            ),
        })
    };
    let has = |field| fields.get(field).is_some();
    match event_type {
        EventType::Track if !has_text(fields, Field::Event) => missing(Field::Event, "event"),
        EventType::Identify if !has(Field::UserId) && !has(Field::AnonymousId) => {
            missing(Field::UserId, "user_id or anonymous_id")
        }
        EventType::Group if !has(Field::GroupId) => missing(Field::GroupId, "group_id"),
        EventType::Alias if !has(Field::PreviousId) => missing(Field::PreviousId, "previous_id"),
        EventType::Alias if !has(Field::UserId) => missing(Field::UserId, "user_id"),
        _ => Ok(()),
    }
}

fn has_text(fields: &Fields, field: Field) -> bool {
    fields
        .get(field)
        .is_some_and(|value| !value.is_empty_text())
}

/// The spelling of *field* in the event; the first spelling if the event does not have the field.
fn spelling(members: &Members, field: Field) -> &'static str {
    let sent = members.sent(field);
    let mut names = field.names().iter().zip(sent);
    names
        .find_map(|(name, value)| value.map(|_| *name))
        .unwrap_or(field.name())
}
