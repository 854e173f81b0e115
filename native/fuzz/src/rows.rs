//! Target: the rows of events and the plan of a flush, against a slow encoder.

use crate::draft;
use crate::json::{Json, Reading, fold, must_read, read};
use crate::model::{ValidBatch, ValidEvent, is_document};
use crate::rules::context_bytes;
use _native::event::correction::AHEAD_US_MAX;
use _native::event::envelope::scan_batch;
use _native::event::field::{EventType, Field};
use _native::ids::{RowIds, SECRET_BYTES};
use _native::rows::payload::{RefusedEvent, Row, Rows};
use _native::rows::plan::{Part, Plan};
use _native::rows::row::{self, Arrival, BIGINT, COLUMNS, JSONB, POSTGRES_EPOCH_US, TEXT, UUID};
use sha2::{Digest, Sha256};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const EVENTS_MAX: usize = 50;
const NOON: i64 = 1_772_366_400_000_000; // 2026-03-01T12:00:00Z
const CLOCK_SKEW_MIN: i64 = 12 * 3_600_000_000;
const END_US: i64 = 253_402_300_800_000_000; // 10000-01-01
const SECRET: [u8; SECRET_BYTES] = [7; SECRET_BYTES];
const FIRST_ID: i64 = i64::MAX - 1; // the third id is 0
const WORKSPACE_ID: i64 = -2;
const OID: u32 = 99;

/// A column as the slow encoder expects it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Column {
    Number(i64),
    Text(String),
    Document(Json),
}

/// Checks the rows of the body of a batch. *input* is a body, or chooses the parts of one.
pub fn check(input: &[u8]) {
    let body = draft::body(input);
    let Ok(text) = str::from_utf8(&body) else {
        return;
    };
    let Reading::Value(value) = read(text) else {
        return;
    };
    let Ok(scan) = scan_batch(&body, EVENTS_MAX) else {
        return;
    };
    let batch = ValidBatch::new(&value, context_bytes(text)).expect("a valid batch");
    let mut ids = RowIds::new(FIRST_ID.cast_unsigned(), SECRET);
    let (rows, refused) = Rows::new(&scan, text, &mut ids, arrival(1));
    check_rows(&batch, &rows, &refused);
    let (others, _) = Rows::new(
        &scan,
        text,
        &mut ids,
        arrival(i64::from(body.len().is_multiple_of(2))),
    );
    check_plan(&[part(rows), part(others)]);
}

fn arrival(tenant_id: i64) -> Arrival {
    Arrival {
        tenant_id,
        workspace_id: WORKSPACE_ID,
        request_id: 3,
        received_at: NOON,
        clock_skew_min: CLOCK_SKEW_MIN,
        schema_version: "1.0".to_owned(),
    }
}

fn part(rows: Rows) -> Part {
    Part {
        range: 0..rows.rows.len(),
        rows: Arc::new(rows),
    }
}

fn check_rows(batch: &ValidBatch, rows: &Rows, refused: &[RefusedEvent]) {
    let mut made = rows.rows.iter();
    let mut refused = refused.iter();
    let mut accepted = Vec::new();
    let mut types = BTreeMap::new();
    for (index, event) in batch.events.iter().take(EVENTS_MAX).enumerate() {
        let place = i64::try_from(index).expect("a small index");
        let id = FIRST_ID.wrapping_add(place) & i64::MAX;
        let event = ValidEvent::new(event, None);
        let Some(expected) = event
            .ok()
            .and_then(|event| ExpectedRow::new(&event, batch, id))
        else {
            let refused = refused.next().expect("a refused event");
            assert_eq!((index, id), (refused.index, refused.id));
            continue;
        };
        let row = made.next().expect("a row");
        expected.check(rows, row);
        accepted.push(expected.event_id.clone());
        *types.entry(expected.event_type as usize).or_insert(0) += 1;
    }
    assert!(made.next().is_none() && refused.next().is_none());
    assert!(
        rows.types
            .iter()
            .enumerate()
            .all(|(index, count)| { types.get(&index).copied().unwrap_or_default() == *count })
    );
    check_answer(&must_read(&rows.accepted(&rows.rows)), &accepted);
}

fn check_answer(answer: &Json, accepted: &[String]) {
    let results = accepted.iter().map(|event_id| {
        Json::Object(vec![
            ("event_id".to_owned(), Json::Text(event_id.clone())),
            ("status".to_owned(), Json::Text("accepted".to_owned())),
        ])
    });
    assert_eq!(&Json::Array(results.collect()), answer);
}

struct ExpectedRow {
    event_type: EventType,
    event_id: String,
    id: i64,
    hash: i64,
    content: Json,
    columns: BTreeMap<&'static str, Column>,
}

impl ExpectedRow {
    /// The row of *event*; `None` if its corrected time is out of range.
    fn new(event: &ValidEvent, batch: &ValidBatch, id: i64) -> Option<Self> {
        let timestamp = corrected(event, batch)?;
        let event_id = event
            .text(Field::EventId)
            .map_or_else(|| minted(id), str::to_owned);
        let given = event.moment(Field::Timestamp);
        let original = event.moment(Field::OriginalTimestamp);
        let own_sent_at = event.moment(Field::SentAt);
        let mut columns = BTreeMap::new();
        let mut number = |name, number: Option<i64>| {
            columns.extend(number.map(|number| (name, Column::Number(number))));
        };
        number("id", Some(id));
        number("tenant_id", Some(1));
        number("workspace_id", Some(WORKSPACE_ID));
        number("request_id", Some(3));
        number("original_timestamp", original.or(given).map(stored_time));
        number("sent_at", own_sent_at.or(batch.sent_at_us).map(stored_time));
        number("received_at", Some(stored_time(NOON)));
        number("timestamp", Some(stored_time(timestamp)));
        let mut text = |name, text: Option<&str>| {
            columns.extend(text.map(|text| (name, Column::Text(text.to_owned()))));
        };
        text("event_id", Some(&event_id));
        text("type", Some(event.event_type.name()));
        text("schema_version", Some("1.0"));
        for field in Field::CONTENT_TEXTS {
            text(field.name(), event.text(field));
        }
        let mut document = |name, document: Option<Json>| {
            columns.extend(document.map(|document| (name, Column::Document(document))));
        };
        document(
            "properties",
            event.value(Field::Properties).map(as_document),
        );
        document("traits", traits(event));
        document(
            "context",
            merged(batch.context.as_ref(), event.value(Field::Context)),
        );
        document("extra", extra(event));
        Some(Self {
            event_type: event.event_type,
            event_id,
            id,
            hash: hash(event),
            content: content(event),
            columns,
        })
    }

    fn check(&self, rows: &Rows, row: &Row) {
        assert_eq!(self.id, row.id);
        assert_eq!(self.hash, row.payload_hash);
        assert_eq!(self.content, must_read(rows.content(row)));
        assert_eq!(self.event_id, rows.event_id(row));
        assert_eq!(Sha256::digest(&self.event_id)[..16], row.event_key);
        let bytes = rows.bytes(row);
        let mut rest = bytes;
        assert_eq!(
            COLUMNS.len(),
            usize::from(u16::from_be_bytes(taken(&mut rest)))
        );
        for (name, oid) in COLUMNS {
            let column = column(&mut rest).map(|bytes| decoded(oid, bytes));
            assert_eq!(self.columns.get(name), column.as_ref(), "{name}");
        }
        assert!(rest.is_empty());
        assert_eq!(COLUMNS.len(), row::columns(bytes).count());
    }
}

fn stored_time(moment: i64) -> i64 {
    moment - POSTGRES_EPOCH_US
}

/// The time of the event by the clock of the service; `None` if it is out of range.
fn corrected(event: &ValidEvent, batch: &ValidBatch) -> Option<i64> {
    let original = event.moment(Field::OriginalTimestamp);
    let timestamp = event.moment(Field::Timestamp);
    let Some(given) = timestamp.or(original) else {
        return Some(NOON);
    };
    let mut moments = vec![given];
    let sent_at = event.moment(Field::SentAt).or(batch.sent_at_us);
    if let Some(sent_at) = sent_at.filter(|_| timestamp.is_none() || original.is_none())
        && (sent_at > NOON || sent_at + CLOCK_SKEW_MIN < NOON)
    {
        moments.insert(0, NOON - (sent_at - given));
    }
    let range = 0..END_US.min(NOON + AHEAD_US_MAX + 1);
    moments.into_iter().find(|moment| range.contains(moment))
}

/// An empty array is an empty object.
fn as_document(value: &Json) -> Json {
    match value {
        Json::Array(_) => Json::Object(vec![]),
        object => object.clone(),
    }
}

/// The traits of an event; those in the context if an identify event has no others.
fn traits(event: &ValidEvent) -> Option<Json> {
    if let Some(traits) = event.value(Field::Traits) {
        return Some(as_document(traits));
    }
    let context = event.value(Field::Context).map_or(&[][..], Json::members);
    let (_, traits) = context.iter().rfind(|(name, _)| name == "traits")?;
    (event.event_type == EventType::Identify && is_document(traits)).then(|| as_document(traits))
}

fn minted(id: i64) -> String {
    let mut hasher = Sha256::new();
    hasher.update(SECRET);
    hasher.update(id.to_be_bytes());
    hasher.update(NOON.to_be_bytes());
    let digits = "0123456789abcdefghijklmnopqrstuvwxyz".as_bytes();
    let digest = hasher.finalize();
    digest[..20]
        .iter()
        .map(|byte| char::from(digits[usize::from(byte % 36)]))
        .collect()
}

/// jsonb keeps the last of two members with the same name: that of the event.
fn merged(shared: Option<&Json>, own: Option<&Json>) -> Option<Json> {
    let members = [shared, own].into_iter().flatten().flat_map(Json::members);
    (shared.is_some() || own.is_some()).then(|| Json::Object(members.cloned().collect()))
}

fn extra(event: &ValidEvent) -> Option<Json> {
    let unknown = event.unknown();
    (!unknown.is_empty()).then_some(Json::Object(unknown))
}

/// The type and the text fields: the start of the content.
fn texts(event: &ValidEvent) -> Vec<Json> {
    let text = |text: Option<&str>| text.map_or(Json::Null, |text| Json::Text(text.to_owned()));
    let fields = Field::CONTENT_TEXTS.map(|field| text(event.text(field)));
    std::iter::once(text(Some(event.event_type.name())))
        .chain(fields)
        .collect()
}

fn content(event: &ValidEvent) -> Json {
    let mut values = texts(event);
    for field in Field::CONTENT_REST {
        values.push(event.value(field).cloned().unwrap_or(Json::Null));
    }
    values.push(extra(event).unwrap_or(Json::Null));
    Json::Array(values)
}

fn hash(event: &ValidEvent) -> i64 {
    let texts: Vec<_> = texts(event)
        .iter()
        .map(|text| {
            text.text()
                .map_or(serde_json::Value::Null, Into::into)
                .to_string()
        })
        .collect();
    let start = format!("[{}", texts.join(","));
    let mut hash = xxh3_64_with_seed(start.as_bytes(), WORKSPACE_ID.cast_unsigned());
    for field in [Field::Timestamp, Field::OriginalTimestamp] {
        hash = fold(hash, event.moment(field).unwrap_or(-1).cast_unsigned());
    }
    let is_hashed = |name: &str, value: &Json| match name {
        "properties" | "traits" | "context" => !value.is_null(),
        _ => Field::find(name.as_bytes()).is_none(),
    };
    let documents = event
        .members
        .iter()
        .filter(|(name, value)| is_hashed(name, value));
    let sum = documents.fold(0_u64, |sum, (name, value)| {
        let name = Json::Text(name.clone());
        sum.wrapping_add(fold(name.digest(), value.digest()))
    });
    let hash = fold(hash, sum) & ((1 << 60) - 1);
    (2 << 60) | hash.cast_signed()
}

fn decoded(oid: u32, bytes: &[u8]) -> Column {
    match oid {
        TEXT => Column::Text(String::from_utf8(bytes.to_vec()).expect("UTF-8")),
        JSONB => {
            let (version, json) = bytes.split_first().expect("the version of jsonb");
            assert_eq!(1, *version);
            Column::Document(must_read(json))
        }
        _ => Column::Number(i64::from_be_bytes(bytes.try_into().expect("8 bytes"))),
    }
}

/// Takes the bytes of a number from the start of *rest*.
fn taken<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    *rest
        .split_off(..N)
        .and_then(<[u8]>::first_chunk)
        .expect("a number")
}

/// Takes a column from the start of *rest*: its length, and its bytes.
fn column<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = i32::from_be_bytes(taken(rest));
    if length == -1 {
        return None;
    }
    let length = usize::try_from(length).expect("a length");
    Some(rest.split_off(..length).expect("a whole column"))
}

/// Checks all forms of a flush against each other.
fn check_plan(parts: &[Part]) {
    let mut firsts: BTreeMap<(i64, [u8; 16]), (&Rows, &Row)> = BTreeMap::new();
    let mut duplicates = Vec::new();
    for part in parts {
        for row in part.rows() {
            let key = (part.rows.arrival.tenant_id, row.event_key);
            match firsts.entry(key) {
                Entry::Vacant(first) => drop(first.insert((&*part.rows, row))),
                Entry::Occupied(_) => duplicates.push(row.id),
            }
        }
    }
    let plan = Plan::new(parts.to_vec());
    assert_eq!(firsts.len(), plan.count());
    assert_eq!(!duplicates.is_empty(), plan.has_duplicates());
    let firsts: Vec<_> = firsts.into_values().collect();
    let odd: HashSet<i64> = firsts
        .iter()
        .map(|(_, row)| row.id)
        .filter(|id| id % 2 == 1)
        .collect();
    check_copy(&plan, &firsts, &HashSet::new());
    check_copy(&plan, &firsts, &odd);
    let not_inserted = plan.not_inserted(&odd).into_iter();
    let not_inserted: Vec<_> = not_inserted
        .map(|index| plan.at(index).expect("a row").1.id)
        .collect();
    let expected = firsts
        .iter()
        .map(|(_, row)| row.id)
        .filter(|id| odd.contains(id));
    assert_eq!(expected.chain(duplicates).collect::<Vec<_>>(), not_inserted);
    check_arrays(&plan, &firsts);
}

fn check_copy(plan: &Plan, firsts: &[(&Rows, &Row)], without: &HashSet<i64>) {
    let stream: Vec<u8> = plan.copy_data(without).flatten().copied().collect();
    let mut expected = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for (rows, row) in firsts.iter().filter(|(_, row)| !without.contains(&row.id)) {
        expected.extend_from_slice(rows.bytes(row));
    }
    expected.extend_from_slice(&[0xff, 0xff]);
    assert_eq!(expected, stream);
}

fn check_arrays(plan: &Plan, firsts: &[(&Rows, &Row)]) {
    let (ledger, events) = (plan.ledger_rows(OID), plan.event_rows(OID));
    let (mut ledger, mut events) = (&*ledger, &*events);
    for array in [&mut ledger, &mut events] {
        let head: [u32; 5] = std::array::from_fn(|_| u32::from_be_bytes(taken(array)));
        let count = u32::try_from(firsts.len()).expect("a small plan");
        assert_eq!([1, 0, OID, count, 1], head);
    }
    for (rows, row) in firsts {
        let (tenant_id, received_at) = (rows.arrival.tenant_id, rows.arrival.received_at);
        let mut one = column(&mut ledger).expect("a ledger row");
        let columns = composite(&mut one);
        let number = |number: i64| Some(number.to_be_bytes().to_vec());
        let key = (UUID, Some(row.event_key.to_vec()));
        let expected = vec![
            (BIGINT, number(tenant_id)),
            key.clone(),
            (BIGINT, number(row.id)),
            (BIGINT, number(row.payload_hash)),
            (row::TIMESTAMPTZ, number(stored_time(received_at))),
        ];
        assert_eq!(expected, columns);
        let mut one = column(&mut events).expect("an event row");
        let mut expected = vec![key, (BIGINT, number(row.payload_hash))];
        let stored = row::columns(rows.bytes(row)).map(|column| column.map(<[u8]>::to_vec));
        expected.extend(COLUMNS.iter().map(|(_, oid)| *oid).zip(stored));
        assert_eq!(expected, composite(&mut one));
    }
    assert!(ledger.is_empty() && events.is_empty());
}

/// The types and the bytes of the columns of a composite value, which is all of *rest*.
fn composite(rest: &mut &[u8]) -> Vec<(u32, Option<Vec<u8>>)> {
    let count = u32::from_be_bytes(taken(rest));
    let columns = (0..count).map(|_| {
        let oid = u32::from_be_bytes(taken(rest));
        (oid, column(rest).map(<[u8]>::to_vec))
    });
    let columns = columns.collect();
    assert!(rest.is_empty());
    columns
}
