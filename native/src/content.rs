//! The canonical content of an event: what is decoded, stored and hashed, and nothing else.
//!
//! A JSON array with fixed places, the same for every spelling and every escape of the same event:
//! type, event, `user_id`, `anonymous_id`, `group_id`, `previous_id`, name, category, timestamp,
//! `original_timestamp`, properties, traits, context, extra.
#![forbid(unsafe_code)]

use crate::event::{Event, Fields, Unknown};
use crate::field::Field;
use crate::text::push_quoted;
use crate::value::{Kind, Value};

/// The fields after the type, in their places.
const TEXTS: [Field; 7] = [
    Field::Event,
    Field::UserId,
    Field::AnonymousId,
    Field::GroupId,
    Field::PreviousId,
    Field::Name,
    Field::Category,
];

/// The fields after `TEXTS`, in their places.
const TIMES_AND_DOCUMENTS: [Field; 5] = [
    Field::Timestamp,
    Field::OriginalTimestamp,
    Field::Properties,
    Field::Traits,
    Field::Context,
];

/// Brackets, commas, nulls and quotes around numbers.
const FRAME_BYTES: usize = 96;

/// Appends the content of *event*, and returns where its texts end. *unknown* holds the members
/// that are not known fields.
pub fn push(content: &mut Vec<u8>, event: &Event, unknown: &[Unknown], body: &str) -> usize {
    content.reserve(FRAME_BYTES + bytes_of(&event.fields, unknown));
    content.extend_from_slice(b"[\"");
    content.extend_from_slice(event.event_type.name().as_bytes());
    content.push(b'"');
    push_fields(content, &TEXTS, &event.fields, body);
    let texts_end = content.len();
    push_fields(content, &TIMES_AND_DOCUMENTS, &event.fields, body);
    content.push(b',');
    if unknown.is_empty() {
        content.extend_from_slice(b"null");
    } else {
        push_unknown(content, unknown, body);
    }
    content.push(b']');
    texts_end
}

fn push_fields(content: &mut Vec<u8>, places: &[Field], fields: &Fields, body: &str) {
    for field in places {
        match fields.get(*field) {
            None => content.extend_from_slice(b",null"),
            Some(value) => {
                content.push(b',');
                push_value(content, value, body);
            }
        }
    }
}

fn bytes_of(fields: &Fields, unknown: &[Unknown]) -> usize {
    let known: usize = (TEXTS.iter().chain(&TIMES_AND_DOCUMENTS))
        .filter_map(|field| fields.get(*field))
        .map(|value| value.span().len())
        .sum();
    let extra: usize = unknown
        .iter()
        .map(|member| member.value.span().end - member.name.span().start)
        .sum();
    known + extra
}

fn push_value(content: &mut Vec<u8>, value: Value, body: &str) {
    match value.kind {
        // The rules let a number through in ids alone, where it is text.
        Kind::Number => push_quoted(content, value.raw(body)),
        Kind::Text if value.is_escaped => push_quoted(content, &value.text(body)),
        _ => content.extend_from_slice(value.raw_bytes(body)),
    }
}

/// Appends the members without a name of ours, at least one, as one object.
pub fn push_unknown(out: &mut Vec<u8>, unknown: &[Unknown], body: &str) {
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
