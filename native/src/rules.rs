//! What each field and each type of event must be. The first rule that is broken decides.
#![forbid(unsafe_code)]

use crate::event::{Event, Fields, Members, Times};
use crate::field::{EventType, Field, SPELLINGS, Shape};
use crate::text::excerpt;
use crate::time::{self, TimeFault};
use crate::value::{Kind, Value};
use crate::violation::{Code, Refusal, Violation};

pub const EVENT_ID_BYTES_MAX: usize = 200;

/// The checked event, or why it is refused.
///
/// *expected* is the type that the endpoint stands for; a batch stands for none.
///
/// # Errors
/// The violation, with all that quarantine keeps.
#[inline]
pub fn check(
    members: &Members,
    body: &str,
    expected: Option<EventType>,
) -> Result<Event, Box<Violation>> {
    let mut fields = members.known().clone();
    match judge(members, body, expected, &mut fields) {
        Ok((event_type, times)) => Ok(Event {
            event_type,
            fields,
            times,
            unknown: 0..0,
            documents: members.documents(),
            place: members.place().clone(),
        }),
        Err(refusal) => Err(Box::new(refused(members, body, refusal))),
    }
}

#[cold]
fn refused(members: &Members, body: &str, refusal: Refusal) -> Violation {
    let event_id = one_value(members, body, Field::EventId)
        .ok()
        .and_then(|value| event_id(members, body, value).ok())
        .flatten()
        .filter(|value| !value.has_trouble)
        .map(|value| value.text(body).into_owned());
    members.violation(body, refusal, event_id)
}

fn judge(
    members: &Members,
    body: &str,
    expected: Option<EventType>,
    fields: &mut Fields,
) -> Result<(EventType, Times), Refusal> {
    if let Some(refusal) = members.refusal() {
        return Err(refusal.clone());
    }
    for field in members.fields_sent() {
        let is_fit = fields
            .get(field)
            .is_some_and(|value| is_plain(field.shape(), value));
        if !is_fit || members.has_others() {
            let value = one_value(members, body, field).map_err(|refusal| *refusal)?;
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

/// Whether a value is what most are: fit for its field, and neither null nor empty.
const fn is_plain(shape: Shape, value: Value) -> bool {
    match shape {
        Shape::Object => matches!(value.kind, Kind::Object),
        Shape::Secret => false,
        _ => matches!(value.kind, Kind::Text) && !value.is_empty_text(),
    }
}

/// The one value of *field*, whichever spelling it came under.
fn one_value(members: &Members, body: &str, field: Field) -> Result<Option<Value>, Box<Refusal>> {
    let spelling = spelling_used(&members.sent(field), body, field)?;
    Ok(spelling.and_then(|spelling| members.sent(field).get(spelling).copied().flatten()))
}

/// Which of the spellings carries the value. (Its place in registers; the value would go by memory.)
fn spelling_used(
    sent: &[Option<Value>; SPELLINGS],
    body: &str,
    field: Field,
) -> Result<Option<usize>, Box<Refusal>> {
    let mut used: Option<(usize, &Value)> = None;
    for (spelling, (value, name)) in sent.iter().zip(field.names()).enumerate() {
        let Some(value) = value.as_ref().filter(|value| value.kind != Kind::Null) else {
            continue;
        };
        check_shape(field.shape(), *value, name, body)?;
        let is_id = matches!(field.shape(), Shape::Id | Shape::EventId);
        if is_id && value.is_empty_text() {
            continue;
        }
        match used {
            Some((_, first)) if first.text(body) != value.text(body) => {
                let [ours, theirs] = field.names();
                return Err(Box::new(Refusal {
                    code: Code::AmbiguousField,
                    field: name.to_owned(),
                    message: format!("{ours} and {theirs} are both given, and differ"),
                }));
            }
            _ => used = Some((spelling, value)),
        }
    }
    Ok(used.map(|(spelling, _)| spelling))
}

fn check_shape(shape: Shape, value: Value, name: &str, body: &str) -> Result<(), Box<Refusal>> {
    let is_fit = match shape {
        Shape::Id => matches!(value.kind, Kind::Text | Kind::Number),
        Shape::EventId | Shape::Text => value.kind == Kind::Text,
        Shape::Object => value.kind == Kind::Object,
        Shape::Secret => true,
    };
    if is_fit {
        return Ok(());
    }
    Err(Box::new(misshapen(shape, value, name, body)))
}

#[cold]
fn misshapen(shape: Shape, value: Value, name: &str, body: &str) -> Refusal {
    let wanted = match shape {
        Shape::Id => "text or a number",
        Shape::EventId | Shape::Text => "text",
        Shape::Object => "an object",
        Shape::Secret => "anything",
    };
    let found = match value.kind {
        Kind::Number => format!("the number {}", excerpt(value.raw(body))),
        kind => kind.phrase().to_owned(),
    };
    Refusal {
        code: Code::InvalidField,
        field: name.to_owned(),
        message: format!("{name} must be {wanted}, this is {found}"),
    }
}

fn event_type(
    fields: &Fields,
    body: &str,
    expected: Option<EventType>,
) -> Result<EventType, Refusal> {
    let name = Field::Type.names()[0];
    let refusal = |code, message| Refusal {
        code,
        field: name.to_owned(),
        message,
    };
    let Some(given) = fields.get(Field::Type) else {
        return expected.ok_or_else(|| {
            let message = format!("each event of a batch needs {name}: {}", EventType::NAMES);
            refusal(Code::MissingField, message)
        });
    };
    let text = given.text(body);
    let found = EventType::find(&text);
    match (expected, found) {
        (None, Some(found)) => Ok(found),
        (Some(expected), found) if found == Some(expected) => Ok(expected),
        (Some(expected), _) => {
            let (expected, found) = (expected.name(), excerpt(&text));
            let message = format!("{name} is {found:?}, and the endpoint takes {expected:?}");
            Err(refusal(Code::AmbiguousField, message))
        }
        (None, None) => {
            let (names, found) = (EventType::NAMES, excerpt(&text));
            let message = format!("{name} must be one of {names}, this is {found:?}");
            Err(refusal(Code::InvalidType, message))
        }
    }
}

/// *value*, if it may be an event id.
fn event_id(members: &Members, body: &str, value: Option<Value>) -> Result<Option<Value>, Refusal> {
    let Some(value) = value else { return Ok(None) };
    let name = spelling(members, Field::EventId);
    let refusal = |message| Refusal {
        code: Code::InvalidEventId,
        field: name.to_owned(),
        message,
    };
    let text = value.text(body);
    let bytes = text.len();
    if bytes > EVENT_ID_BYTES_MAX {
        return Err(refusal(format!(
            "{name} must have 1 to {EVENT_ID_BYTES_MAX} bytes, this has {bytes}"
        )));
    }
    if let Some(control) = control_character(&text) {
        let code_point = u32::from(control);
        return Err(refusal(format!(
            "{name} must have no control characters, this has U+{code_point:04X}"
        )));
    }
    Ok(Some(value))
}

/// The time that *given* is, the text of *field*.
fn read_time(members: &Members, body: &str, field: Field, given: Value) -> Result<i64, Refusal> {
    let text = given.text(body);
    time::read(&text).map_err(|fault| {
        let name = spelling(members, field);
        Refusal {
            code: Code::InvalidTimestamp,
            field: name.to_owned(),
            message: time_message(name, &text, fault),
        }
    })
}

/// One sentence about a text that is no time.
#[must_use]
pub fn time_message(name: &str, text: &str, fault: TimeFault) -> String {
    let found = excerpt(text);
    match fault {
        TimeFault::NotATime => {
            format!("{name} {found:?} is not an ISO 8601 time such as 2026-01-31T12:00:00.000Z")
        }
        TimeFault::Before1970 => format!("{name} {found:?} is before 1970"),
    }
}

fn control_character(text: &str) -> Option<char> {
    // Bytes first: nearly every id is ASCII, and with no way out many of them are taken at a time.
    let is_plain = |is_plain, byte| is_plain & matches!(byte, b' '..=b'~');
    if text.bytes().fold(true, is_plain) {
        return None;
    }
    text.chars().find(|character| character.is_control())
}

fn required(members: &Members, fields: &Fields, event_type: EventType) -> Result<(), Refusal> {
    let missing = |field: Field, needs: &str| {
        Err(Refusal {
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

/// The name that the client used for *field*; ours if it used none.
fn spelling(members: &Members, field: Field) -> &'static str {
    let [ours, theirs] = field.names();
    match members.sent(field) {
        [None, Some(_)] => theirs,
        _ => ours,
    }
}
