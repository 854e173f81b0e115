//! The rules for events and envelopes, applied to decoded values: slow, and independent of the core.

use crate::json::{Json, Storability};
use _native::event::envelope::BATCH_CONTEXT_BYTES_MAX;
use _native::event::field::{EventType, Field, Shape};
use _native::event::rules::EVENT_ID_BYTES_MAX;
use _native::event::time;
use _native::event::violation::Code;
use _native::json::error::UnstorableKind;
use std::collections::BTreeSet;

/// Characters of a name that are repeated in an answer.
const EXCERPT_CHARS: usize = 64;

/// Why an event or a body is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    /// `None` if it cannot be derived from decoded values.
    pub field: Option<String>,
}

/// A valid event: its type, and its members in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidEvent {
    pub event_type: EventType,
    pub members: Vec<(String, Json)>,
}

/// A valid body of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidBatch {
    pub events: Vec<Json>,
    pub context: Option<Json>,
    pub sent_at_us: Option<i64>,
    /// Of the batch itself.
    pub write_key: Option<String>,
}

fn refuse(code: Code, field: &str) -> Refusal {
    Refusal {
        code,
        field: Some(excerpt(field)),
    }
}

fn unstorable(kind: UnstorableKind, name: &str) -> Refusal {
    let code = match kind {
        UnstorableKind::Depth => Code::TooDeep,
        UnstorableKind::Nul | UnstorableKind::Surrogate => Code::InvalidText,
        _ => Code::InvalidNumber,
    };
    // A name that cannot be stored is repeated as it was sent, with its escapes.
    let field = Storability::of_name(name).is_none();
    Refusal {
        code,
        field: field.then(|| excerpt(name)),
    }
}

fn excerpt(text: &str) -> String {
    if text.chars().count() > EXCERPT_CHARS {
        let start: String = text.chars().take(EXCERPT_CHARS).collect();
        format!("{start}…")
    } else {
        text.to_owned()
    }
}

impl ValidEvent {
    /// Applies all rules to *event*. *expected*: the event type of the endpoint.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn new(event: &Json, expected: Option<EventType>) -> Result<Self, Refusal> {
        let Json::Object(members) = event else {
            return Err(Refusal {
                code: Code::InvalidEvent,
                field: None,
            });
        };
        check_members(members)?;
        for field in Field::ALL {
            check_field(members, field)?;
        }
        let event_type = event_type(members, expected)?;
        check_event_id(members)?;
        check_required(members, event_type)?;
        for field in [Field::SentAt, Field::Timestamp, Field::OriginalTimestamp] {
            moment(members, field)?;
        }
        Ok(Self {
            event_type,
            members: members.clone(),
        })
    }

    #[must_use]
    pub fn value(&self, field: Field) -> Option<&Json> {
        value(&self.members, field)
    }

    #[must_use]
    pub fn text(&self, field: Field) -> Option<&str> {
        self.value(field).and_then(Json::text)
    }

    #[must_use]
    pub fn moment(&self, field: Field) -> Option<i64> {
        moment(&self.members, field).ok().flatten()
    }

    /// The members that are not known fields, without API keys.
    #[must_use]
    pub fn unknown(&self) -> Vec<(String, Json)> {
        let unknown = self.members.iter().filter(|member| is_unknown(member));
        unknown.cloned().collect()
    }
}

/// The id that the answer for an event names: that of a valid event, or of a refused one if the id
/// itself is valid.
#[must_use]
pub fn event_id(event: &Json) -> Option<String> {
    let members = event.members();
    // Of two members with the same name the last one counts here.
    check_field(members, Field::EventId).ok()?;
    check_event_id(members).ok()?;
    let given = value(members, Field::EventId)?;
    // All members count, because the digits of numbers with an exponent are added up.
    let mut storability = Storability::new();
    let is_storable = members
        .iter()
        .all(|(_, value)| storability.of(value, 1).is_none() || !std::ptr::eq(value, given));
    given.text().filter(|_| is_storable).map(str::to_owned)
}

fn is_unknown((name, value): &(String, Json)) -> bool {
    !is_known(name) && !is_api_key(value)
}

/// Whether *value* is text in the form of an API key: `fb1_`, 12 characters, `_`, 38 characters;
/// behind a colon anything may follow.
fn is_api_key(value: &Json) -> bool {
    let Json::Text(text) = value else {
        return false;
    };
    let key = text.split(':').next().unwrap_or_default();
    let parts: Vec<&str> = key.split('_').collect();
    let is_alphanumeric = |part: &&str| {
        part.chars()
            .all(|character| character.is_ascii_alphanumeric())
    };
    parts.first() == Some(&"fb1")
        && parts.iter().map(|part| part.len()).eq([3, 12, 38])
        && parts.iter().all(is_alphanumeric)
}

/// The event as quarantine stores it: without keys.
#[must_use]
pub fn without_secrets(event: &Json) -> Json {
    let mask = || Json::Text("***".to_owned());
    let Json::Object(members) = event else {
        return if is_api_key(event) {
            mask()
        } else {
            event.clone()
        };
    };
    let mut members = members.clone();
    for (name, value) in &mut members {
        if name == "writeKey" || !is_known(name) && is_api_key(value) {
            *value = mask();
        }
    }
    Json::Object(members)
}

fn is_known(name: &str) -> bool {
    Field::ALL.iter().any(|field| field.names().contains(&name))
}

/// Errors in the order of the text, then duplicates among the unknown members.
fn check_members(members: &[(String, Json)]) -> Result<(), Refusal> {
    let mut storability = Storability::new();
    let mut seen = BTreeSet::new();
    for (name, value) in members {
        let problem = Storability::of_name(name);
        if let Some(kind) = problem.or_else(|| storability.of(value, 1)) {
            return Err(unstorable(kind, name));
        }
        if is_known(name) && !seen.insert(name) {
            return Err(refuse(Code::AmbiguousField, name));
        }
    }
    let unknown = members.iter().filter(|member| is_unknown(member));
    let mut unknown: Vec<_> = unknown.map(|(name, _)| name).collect();
    unknown.sort();
    let twice = unknown.windows(2).find(|pair| pair[0] == pair[1]);
    twice.map_or(Ok(()), |pair| Err(refuse(Code::AmbiguousField, pair[0])))
}

/// The values of a field with the names under which they were sent, in the order of spellings.
fn sent(members: &[(String, Json)], field: Field) -> Vec<(&'static str, &Json)> {
    let mut found = Vec::new();
    for name in field.names() {
        let last = members.iter().rev().find(|(other, _)| other == name);
        found.extend(last.map(|(_, value)| (*name, value)));
    }
    found
}

fn is_given(field: Field, value: &Json) -> bool {
    let is_id = field.shape() == Shape::Id;
    let is_empty = value.text().is_some_and(str::is_empty);
    !(value.is_null() || is_id && is_empty)
}

fn value(members: &[(String, Json)], field: Field) -> Option<&Json> {
    let mut given = sent(members, field).into_iter().map(|(_, value)| value);
    given.rfind(|value| is_given(field, value))
}

fn check_field(members: &[(String, Json)], field: Field) -> Result<(), Refusal> {
    let mut first: Option<&Json> = None;
    for (name, value) in sent(members, field) {
        if value.is_null() {
            continue;
        }
        let is_valid = match field.shape() {
            Shape::Id | Shape::Time => matches!(value, Json::Text(_) | Json::Number(_)),
            Shape::Text => matches!(value, Json::Text(_)),
            Shape::Object => is_document(value),
            Shape::Secret => true,
        };
        if !is_valid {
            return Err(refuse(Code::InvalidField, name));
        }
        if !is_given(field, value) {
            continue;
        }
        if first.is_some_and(|first| first.text() != value.text()) {
            return Err(refuse(Code::AmbiguousField, name));
        }
        first = Some(value);
    }
    Ok(())
}

/// Whether *value* is an object, or an empty array, which PHP writes for an empty object.
#[must_use]
pub fn is_document(value: &Json) -> bool {
    matches!(value, Json::Object(_)) || *value == Json::Array(vec![])
}

fn event_type(
    members: &[(String, Json)],
    expected: Option<EventType>,
) -> Result<EventType, Refusal> {
    let Some(given) = value(members, Field::Type) else {
        return expected.ok_or_else(|| refuse(Code::MissingField, "type"));
    };
    let found = EventType::ALL
        .into_iter()
        .find(|event_type| Some(event_type.name()) == given.text());
    match (expected, found) {
        (None, Some(found)) => Ok(found),
        (None, None) => Err(refuse(Code::InvalidType, "type")),
        (Some(expected), found) if found == Some(expected) => Ok(expected),
        (Some(_), _) => Err(refuse(Code::AmbiguousField, "type")),
    }
}

/// The name under which an answer mentions a field.
fn spelling(members: &[(String, Json)], field: Field) -> &'static str {
    sent(members, field)
        .first()
        .map_or(field.name(), |(name, _)| name)
}

fn check_event_id(members: &[(String, Json)]) -> Result<(), Refusal> {
    let Some(text) = value(members, Field::EventId).and_then(Json::text) else {
        return Ok(());
    };
    if text.len() > EVENT_ID_BYTES_MAX || text.chars().any(char::is_control) {
        let name = spelling(members, Field::EventId);
        return Err(refuse(Code::InvalidEventId, name));
    }
    Ok(())
}

fn check_required(members: &[(String, Json)], event_type: EventType) -> Result<(), Refusal> {
    let has = |field| {
        let text = value(members, field).and_then(Json::text);
        text.is_some_and(|text| !text.is_empty())
    };
    let missing = match event_type {
        EventType::Track if !has(Field::Event) => Field::Event,
        EventType::Identify if !has(Field::UserId) && !has(Field::AnonymousId) => Field::UserId,
        EventType::Group if !has(Field::GroupId) => Field::GroupId,
        EventType::Alias if !has(Field::PreviousId) => Field::PreviousId,
        EventType::Alias if !has(Field::UserId) => Field::UserId,
        _ => return Ok(()),
    };
    Err(refuse(Code::MissingField, spelling(members, missing)))
}

fn moment(members: &[(String, Json)], field: Field) -> Result<Option<i64>, Refusal> {
    let given = value(members, field);
    let given = given.filter(|given| given.text() != Some(""));
    given.map(moment_of).transpose().map_err(|()| {
        let name = spelling(members, field);
        refuse(Code::InvalidTimestamp, name)
    })
}

fn moment_of(given: &Json) -> Result<i64, ()> {
    match given {
        Json::Text(text) => {
            let moment = time::parse(text).map_err(|_| ())?;
            check_time(text, moment);
            Ok(moment)
        }
        Json::Number(number) => epoch(number).ok_or(()),
        _ => Err(()),
    }
}

/// A number of seconds or milliseconds since 1970, in microseconds: by its size.
fn epoch(number: &str) -> Option<i64> {
    let mut parts = number.split('.');
    let whole: i64 = parts.next()?.parse().ok()?;
    let unit = match whole {
        1_000_000_000..10_000_000_000 => 1_000_000,
        1_000_000_000_000..10_000_000_000_000 => 1_000,
        _ => return None,
    };
    let mut moment = whole * unit;
    let mut worth = unit;
    for digit in parts.next().unwrap_or_default().chars() {
        worth /= 10;
        moment += i64::from(digit.to_digit(10)?) * worth;
    }
    Some(moment)
}

/// A time with an offset is the moment that jiff parses, without the nanoseconds.
fn check_time(text: &str, moment: i64) {
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        assert_eq!(timestamp.as_microsecond(), moment, "{text}");
    }
}

impl ValidBatch {
    /// Applies the rules for the body of a batch. *`context_bytes`*: the size of the last context.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn new(body: &Json, context_bytes: usize) -> Result<Self, Refusal> {
        let mut batch = Self {
            events: Vec::new(),
            context: None,
            sent_at_us: None,
            write_key: None,
        };
        let mut seen = BTreeSet::new();
        let mut sent_at: Option<&Json> = None;
        for (name, value) in body.members() {
            if let Some(kind) = Storability::of_name(name) {
                return Err(unstorable(kind, name));
            }
            let is_known = ["batch", "context", "writeKey", "sent_at", "sentAt"].contains(&&**name);
            if is_known && !seen.insert(name) {
                return Err(refuse(Code::AmbiguousField, name));
            }
            if is_known
                && name != "batch"
                && let Some(kind) = Storability::new().of(value, 1)
            {
                return Err(unstorable(kind, name));
            }
            match (name.as_str(), value) {
                ("batch", Json::Array(events)) => batch.events.clone_from(events),
                ("context", _) if is_document(value) => batch.context = Some(value.clone()),
                ("writeKey", Json::Text(key)) => batch.write_key = Some(key.clone()),
                ("sent_at" | "sentAt", Json::Text(_) | Json::Number(_)) => {
                    if sent_at.is_some_and(|first| first.text() != value.text()) {
                        return Err(refuse(Code::AmbiguousField, name));
                    }
                    sent_at = Some(value);
                }
                ("context" | "sent_at" | "sentAt", Json::Null) | ("writeKey", _) => {}
                _ if is_known => return Err(refuse(Code::InvalidField, name)),
                _ => {}
            }
        }
        if !seen.contains(&"batch".to_owned()) {
            return Err(refuse(Code::MissingField, "batch"));
        }
        if batch.context.is_some() && context_bytes > BATCH_CONTEXT_BYTES_MAX {
            return Err(refuse(Code::InvalidField, "context"));
        }
        if let Some(given) = sent_at.filter(|given| given.text() != Some("")) {
            let moment = moment_of(given);
            let moment = moment.map_err(|()| refuse(Code::InvalidTimestamp, "sentAt"))?;
            batch.sent_at_us = Some(moment);
        }
        Ok(batch)
    }

    /// The key of the body, and whether it has none and its events have different ones.
    #[must_use]
    pub fn key(&self, events_max: usize) -> (Option<String>, bool) {
        let own = self.write_key.clone();
        if own.as_ref().is_some_and(|key| !key.is_empty()) {
            return (own, false);
        }
        let events = self.events.iter().take(events_max);
        let keys: BTreeSet<String> = events.filter_map(key_of_event).collect();
        let has_different = keys.len() > 1;
        let first = keys.into_iter().next().filter(|_| !has_different);
        (first.or(own), has_different)
    }
}

fn key_of_event(event: &Json) -> Option<String> {
    match value(event.members(), Field::WriteKey) {
        Some(Json::Text(text)) if !text.is_empty() && Storability::of_name(text).is_none() => {
            Some(text.clone())
        }
        _ => None,
    }
}
