//! One event as `PostgreSQL` takes it: a row of COPY in its binary form.
//!
//! Each column is its length and its bytes, numbers with the most significant byte first; a length
//! of -1 is null. The order of the columns is that of `COLUMNS`, here and in service/store.
#![forbid(unsafe_code)]

use crate::content::push_unknown;
use crate::envelope::Scan;
use crate::event::Event;
use crate::field::Field;
use crate::time::POSTGRES_EPOCH_US;
use crate::value::Value;

pub const BIGINT: u32 = 20;
pub const TEXT: u32 = 25;
pub const TIMESTAMPTZ: u32 = 1_184;
pub const UUID: u32 = 2_950;
pub const JSONB: u32 = 3_802;

/// The columns of `events`, each with the number of its type, which `PostgreSQL` never changes.
pub const COLUMNS: [(&str, u32); 22] = [
    ("id", BIGINT),
    ("tenant_id", BIGINT),
    ("workspace_id", BIGINT),
    ("event_id", TEXT),
    ("type", TEXT),
    ("event", TEXT),
    ("name", TEXT),
    ("category", TEXT),
    ("user_id", TEXT),
    ("anonymous_id", TEXT),
    ("group_id", TEXT),
    ("previous_id", TEXT),
    ("properties", JSONB),
    ("traits", JSONB),
    ("context", JSONB),
    ("extra", JSONB),
    ("schema_version", TEXT),
    ("request_id", BIGINT),
    ("original_timestamp", TIMESTAMPTZ),
    ("sent_at", TIMESTAMPTZ),
    ("received_at", TIMESTAMPTZ),
    ("timestamp", TIMESTAMPTZ),
];

pub const EVENT_ID: usize = 3;
pub const SENT_AT: usize = 19;

/// The length of a column that is null.
const NULL: [u8; size_of::<i32>()] = (-1_i32).to_be_bytes();

/// The first byte of every jsonb on the wire.
const JSONB_VERSION: u8 = 1;

/// In the order of `COLUMNS`, from `event` on.
const TEXTS: [Field; 7] = [
    Field::Event,
    Field::Name,
    Field::Category,
    Field::UserId,
    Field::AnonymousId,
    Field::GroupId,
    Field::PreviousId,
];

/// What is true for every event of one request; times in microseconds since 1970.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub tenant_id: i64,
    pub workspace_id: i64,
    pub request_id: i64,
    pub received_at: i64,
    pub schema_version: String,
}

/// What an event was given on its arrival.
#[derive(Debug)]
pub struct Given<'a> {
    pub id: i64,
    pub event_id: &'a str,
    pub timestamp: i64,
}

/// Appends the row of *event*.
pub fn push(
    out: &mut Vec<u8>,
    (scan, body): (&Scan, &str),
    event: &Event,
    arrival: &Arrival,
    given: &Given,
) {
    push_i16(out, COLUMNS.len());
    push_bigint(out, given.id);
    push_bigint(out, arrival.tenant_id);
    push_bigint(out, arrival.workspace_id);
    push_column(out, given.event_id.as_bytes());
    push_column(out, event.event_type.name().as_bytes());
    for field in TEXTS {
        match event.fields.get(field) {
            None => push_null(out),
            Some(value) => push_text(out, value, body),
        }
    }
    push_document(out, event.fields.get(Field::Properties), body);
    push_document(out, event.fields.get(Field::Traits), body);
    push_context(out, scan.context, event.fields.get(Field::Context), body);
    match scan.unknown_of(event) {
        [] => push_null(out),
        unknown => push_measured(out, |out| {
            out.push(JSONB_VERSION);
            push_unknown(out, unknown, body);
        }),
    }
    push_column(out, arrival.schema_version.as_bytes());
    push_bigint(out, arrival.request_id);
    let times = event.times;
    push_time(out, times.original.or(times.timestamp));
    push_time(out, times.sent_at.or(scan.sent_at_us));
    push_time(out, Some(arrival.received_at));
    push_time(out, Some(given.timestamp));
}

/// The bytes of each column of a row, none for null.
pub fn columns(row: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    measured_columns(row).map(|column| match column.split_first_chunk() {
        None | Some((&NULL, _)) => None,
        Some((_, bytes)) => Some(bytes),
    })
}

/// Each column of a row with its length before it.
pub fn measured_columns(row: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = row.get(size_of::<i16>()..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = i32::from_be_bytes(*rest.first_chunk()?);
        rest.split_off(..NULL.len() + usize::try_from(length).unwrap_or(0))
    })
}

/// Appends a count that is known to be small.
pub fn push_i16(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&i16::try_from(count).unwrap_or(i16::MAX).to_be_bytes());
}

/// Appends a length. Past what its four bytes hold `PostgreSQL` finds no such row, and refuses it.
pub fn push_i32(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&i32::try_from(length).unwrap_or(i32::MAX).to_be_bytes());
}

pub fn push_bigint(out: &mut Vec<u8>, value: i64) {
    push_column(out, &value.to_be_bytes());
}

/// Appends microseconds since 1970 as a timestamptz.
pub fn push_time(out: &mut Vec<u8>, moment: Option<i64>) {
    match moment {
        None => push_null(out),
        Some(moment) => push_bigint(out, time(moment)),
    }
}

/// Microseconds since 1970 as those of a timestamptz.
#[must_use]
pub const fn time(moment: i64) -> i64 {
    moment - POSTGRES_EPOCH_US
}

pub fn push_column(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(size_of::<i32>() + bytes.len());
    push_i32(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn push_null(out: &mut Vec<u8>) {
    out.extend_from_slice(&NULL);
}

fn push_text(out: &mut Vec<u8>, value: Value, body: &str) {
    if let Some(plain) = value.plain_bytes(body) {
        push_column(out, plain);
    } else {
        // A number that is an id is text, digit by digit.
        push_column(out, value.text(body).as_bytes());
    }
}

fn push_document(out: &mut Vec<u8>, value: Option<Value>, body: &str) {
    let Some(value) = value else {
        return push_null(out);
    };
    let raw = value.raw_bytes(body);
    push_i32(out, raw.len() + 1);
    out.push(JSONB_VERSION);
    out.extend_from_slice(raw);
}

/// Appends the members of both objects: of two with one name jsonb keeps the last, the event's own.
fn push_context(out: &mut Vec<u8>, shared: Option<Value>, own: Option<Value>, body: &str) {
    let (Some(shared), Some(own)) = (shared, own) else {
        return push_document(out, own.or(shared), body);
    };
    let (shared, own) = (shared.members(body), own.members(body));
    let comma: &[u8] = if shared.is_empty() || own.is_empty() {
        b""
    } else {
        b","
    };
    push_measured(out, |out| {
        out.extend_from_slice(&[JSONB_VERSION, b'{']);
        out.extend_from_slice(shared.as_bytes());
        out.extend_from_slice(comma);
        out.extend_from_slice(own.as_bytes());
        out.push(b'}');
    });
}

/// Appends what *write* appends, with its length before it.
pub fn push_measured(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let place = out.len();
    push_i32(out, 0);
    let start = out.len();
    write(out);
    let length = i32::try_from(out.len() - start).unwrap_or(i32::MAX);
    if let Some(slot) = out.get_mut(place..start) {
        slot.copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::scan_batch;

    /// The columns of the first event of *body*, by name; jsonb without its version.
    fn stored(body: &str) -> impl Fn(&str) -> Option<String> + use<> {
        let scan = scan_batch(body.as_bytes(), 1).unwrap();
        let event = scan.events[0].as_ref().unwrap();
        let arrival = Arrival {
            tenant_id: 1,
            workspace_id: 2,
            request_id: 5,
            received_at: POSTGRES_EPOCH_US,
            schema_version: "1.0".to_owned(),
        };
        let given = Given {
            id: 3,
            event_id: "e",
            timestamp: POSTGRES_EPOCH_US + 7,
        };
        let mut out = Vec::new();
        push(&mut out, (&scan, body), event, &arrival, &given);
        assert_eq!(COLUMNS.len(), columns(&out).count());
        move |name| {
            let place = COLUMNS.iter().position(|column| column.0 == name).unwrap();
            let bytes = columns(&out).nth(place).unwrap()?;
            Some(match COLUMNS[place].1 {
                TEXT => String::from_utf8(bytes.to_vec()).unwrap(),
                JSONB => {
                    assert_eq!(JSONB_VERSION, bytes[0]);
                    String::from_utf8(bytes[1..].to_vec()).unwrap()
                }
                _ => i64::from_be_bytes(bytes.try_into().unwrap()).to_string(),
            })
        }
    }

    #[test]
    fn each_value_stands_in_its_column() {
        let column = stored(
            r#"{"batch":[{"type":"page","name":"\u00e9","userId":7e0,"x":[1],"\u0079":2,
            "properties":{ "a":"\u00e9" },"sentAt":"2000-01-01T00:00:00.000002Z"}]}"#,
        );

        for (name, expected) in [
            ("id", "3"),
            ("tenant_id", "1"),
            ("workspace_id", "2"),
            ("request_id", "5"),
            ("event_id", "e"),
            ("type", "page"),
            ("name", "é"),
            ("user_id", "7e0"),
            ("properties", r#"{ "a":"\u00e9" }"#),
            ("extra", r#"{"x":[1],"\u0079":2}"#),
            ("schema_version", "1.0"),
            ("sent_at", "2"),
            ("received_at", "0"),
            ("timestamp", "7"),
        ] {
            assert_eq!(Some(expected.to_owned()), column(name), "{name}");
        }
        for name in [
            "event",
            "category",
            "group_id",
            "traits",
            "context",
            "original_timestamp",
        ] {
            assert_eq!(None, column(name), "{name}");
        }
    }

    #[test]
    fn the_events_own_context_comes_after_the_shared_one() {
        for (shared, own, expected) in [
            (r#"{"a":1}"#, r#"{"a":2,"b":3}"#, r#"{"a":1,"a":2,"b":3}"#),
            (r#"{"a":1}"#, "null", r#"{"a":1}"#),
            ("null", r#"{ "a":1 }"#, r#"{ "a":1 }"#),
            ("{ }", r#"{ "a":1 }"#, r#"{"a":1}"#),
            (r#"{ "a":1 }"#, "{}", r#"{"a":1}"#),
            ("{}", "{}", "{}"),
        ] {
            let column = stored(&format!(
                r#"{{"context":{shared},"batch":[{{"type":"page","context":{own}}}]}}"#
            ));

            assert_eq!(Some(expected.to_owned()), column("context"));
        }
    }

    #[test]
    fn columns_of_a_row_that_is_cut_are_those_that_are_whole() {
        assert_eq!(0, columns(&[]).count());
        assert_eq!(0, columns(&[0, 1, 0, 0, 0]).count());
        assert_eq!(0, columns(&[0, 1, 0, 0, 0, 2, 9]).count());
        assert_eq!(
            vec![None, Some(&[9_u8][..])],
            columns(&[0, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 9]).collect::<Vec<_>>()
        );
    }
}
