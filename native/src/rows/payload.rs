//! The rows of one payload: one for each accepted event, with its id, key and hash.
#![forbid(unsafe_code)]

use super::content::{self, Content, content_hash};
use super::row::{self, Arrival, RowWriter};
use crate::event::envelope::Scan;
use crate::event::field::EventType;
use crate::event::members::Event;
use crate::event::violation::Violation;
use crate::ids::{EventKey, RowIds, event_key};
use crate::json::text::push_quoted;
use std::borrow::Cow;
use std::ops::Range;

/// Approximate size of a row in bytes, without the bytes of its event.
const FRAME_BYTES: usize = 320;

/// The rows of one payload. Their bytes are in one buffer.
#[derive(Debug)]
pub struct Rows {
    pub arrival: Arrival,
    pub rows: Vec<Row>,
    /// Number of rows by type, in the order of `EventType::ALL`.
    pub types: [usize; EventType::ALL.len()],
    bytes: Vec<u8>,
    contents: Vec<u8>,
}

/// One row: its values for the ledger, and the positions of its bytes.
#[derive(Clone, Debug)]
pub struct Row {
    pub id: i64,
    pub event_key: EventKey,
    pub payload_hash: i64,
    bytes: Range<usize>,
    content: Range<usize>,
}

/// An event without a row: its index in the body, and the id that was reserved for its row.
#[derive(Debug, PartialEq, Eq)]
pub struct RefusedEvent {
    pub index: usize,
    pub id: i64,
    pub violation: Violation,
}

impl Rows {
    /// Makes the rows of the events of *scan*, a scan of *body*. Each event takes one id of *ids*.
    #[must_use]
    pub fn new(
        scan: &Scan,
        body: &str,
        ids: &mut RowIds,
        arrival: Arrival,
    ) -> (Self, Vec<RefusedEvent>) {
        // Sizes the buffers for accepted events only, because the rest of the body is not stored.
        let sent = scan.events.iter().flatten();
        let (count, sent_bytes) = sent.fold((0, 0), |(count, bytes), event| {
            (count + 1, bytes + event.span.bytes.len())
        });
        let mut rows = Self {
            arrival,
            rows: Vec::with_capacity(count),
            types: [0; EventType::ALL.len()],
            bytes: Vec::with_capacity(sent_bytes + count * FRAME_BYTES),
            contents: Vec::with_capacity(sent_bytes),
        };
        let mut refused = Vec::new();
        for (index, event) in scan.events.iter().enumerate() {
            let id = ids.take();
            let outcome = match event {
                Ok(event) => rows.push((scan, body), event, (id, ids)),
                Err(violation) => Err(*violation.clone()),
            };
            if let Err(violation) = outcome {
                refused.push(RefusedEvent {
                    index,
                    id,
                    violation,
                });
            }
        }
        (rows, refused)
    }

    fn push(
        &mut self,
        (scan, body): (&Scan, &str),
        event: &Event,
        (id, ids): (i64, &RowIds),
    ) -> Result<(), Violation> {
        let timestamp = self.arrival.correction().timestamp(scan, event, body)?;
        let event_id = event.event_id(body);
        let event_id =
            event_id.unwrap_or_else(|| Cow::Owned(ids.mint(id, self.arrival.received_at)));
        let start = self.contents.len();
        let texts_end = content::push(&mut self.contents, event, scan.unknown_of(event), body);
        let payload_hash = content_hash(&Content {
            workspace_id: self.arrival.workspace_id,
            texts: self.contents.get(start..texts_end).unwrap_or_default(),
            times: [event.times.timestamp, event.times.original],
            documents_digest: event.documents_digest,
        });
        let bytes = self.bytes.len();
        RowWriter {
            out: &mut self.bytes,
            scan,
            body,
            event,
            arrival: &self.arrival,
            id,
            event_id: &event_id,
            timestamp,
        }
        .write();
        self.rows.push(Row {
            id,
            event_key: event_key(&event_id),
            payload_hash,
            bytes: bytes..self.bytes.len(),
            content: start..self.contents.len(),
        });
        if let Some(count) = self.types.get_mut(event.event_type as usize) {
            *count += 1;
        }
        Ok(())
    }

    /// The bytes of *row* in the binary format of COPY.
    #[must_use]
    pub fn bytes(&self, row: &Row) -> &[u8] {
        self.bytes.get(row.bytes.clone()).unwrap_or_default()
    }

    /// The canonical content of the event of *row*.
    #[must_use]
    pub fn content(&self, row: &Row) -> &[u8] {
        self.contents.get(row.content.clone()).unwrap_or_default()
    }

    #[must_use]
    pub fn event_id(&self, row: &Row) -> &str {
        let column = row::columns(self.bytes(row)).nth(row::EVENT_ID).flatten();
        str::from_utf8(column.unwrap_or_default()).unwrap_or_default()
    }

    /// The time at which the event was sent, by the sender's clock, in microseconds since 1970.
    #[must_use]
    pub fn sent_at(&self, row: &Row) -> Option<i64> {
        let column = row::columns(self.bytes(row)).nth(row::SENT_AT).flatten()?;
        Some(row::POSTGRES_EPOCH_US + i64::from_be_bytes(*column.first_chunk()?))
    }

    /// The memory of these rows in bytes.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.bytes.len() + self.contents.len()
    }

    /// The JSON array of results in an answer that accepts all of *rows*.
    #[must_use]
    pub fn accepted(&self, rows: &[Row]) -> Vec<u8> {
        let mut out = Vec::with_capacity(rows.len() * 64 + 2);
        out.push(b'[');
        for (index, row) in rows.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"event_id\":");
            push_quoted(&mut out, self.event_id(row));
            out.extend_from_slice(b",\"status\":\"accepted\"}");
        }
        out.push(b']');
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::envelope::scan_batch;
    use crate::event::violation::Code;
    use crate::ids::SECRET_BYTES;

    const NOON: i64 = 1_772_366_400_000_000; // 2026-03-01T12:00:00Z

    fn ids() -> RowIds {
        RowIds::new(10, [7; SECRET_BYTES])
    }

    fn made(body: &str) -> (Rows, Vec<RefusedEvent>) {
        let scan = scan_batch(body.as_bytes(), 50).unwrap();
        let arrival = Arrival {
            tenant_id: 1,
            workspace_id: 2,
            request_id: 3,
            received_at: NOON,
            clock_skew_min: 10_000_000,
            schema_version: "1.0".to_owned(),
        };
        Rows::new(&scan, body, &mut ids(), arrival)
    }

    #[test]
    fn an_event_without_a_row_has_its_index_and_id() {
        let (rows, refused) = made(
            r#"{"batch":[7,{"type":"page"},{"type":"page","messageId":"m","writeKey":"k",
            "timestamp":"2030-01-01"},{"type":"track","event":"e"}]}"#,
        );

        assert_eq!(
            vec![11, 13],
            rows.rows.iter().map(|row| row.id).collect::<Vec<_>>()
        );
        assert_eq!([1, 0, 1, 0, 0, 0], rows.types);
        let [first, second] = &refused[..] else {
            unreachable!("two events were refused");
        };
        assert_eq!((0, 10), (first.index, first.id));
        assert_eq!((2, 12), (second.index, second.id));
        assert_eq!(Code::InvalidTimestamp, second.violation.code);
        assert_eq!(Some("m"), second.violation.event_id.as_deref());
        assert!(second.violation.payload.ends_with(b"2030-01-01\"}"));
        assert!(
            !second
                .violation
                .payload
                .windows(3)
                .any(|bytes| bytes == b"\"k\"")
        );
    }

    #[test]
    fn what_is_not_stored_takes_no_memory() {
        let junk = "x".repeat(100_000);
        let (rows, _) = made(&format!(
            r#"{{"batch":[{{"type":"page"}},{{"type":"{junk}"}}],"junk":"{junk}"}}"#
        ));

        assert_eq!(1, rows.rows.len());
        assert!(rows.bytes.capacity() + rows.contents.capacity() < 1_000);
    }

    #[test]
    fn key_and_hash_are_those_of_the_id_and_the_content() {
        let (rows, _) = made(r#"{"batch":[{"type":"page","event_id":"\u0061"},{"type":"page"}]}"#);
        let minted = ids().mint(11, NOON);

        for (row, event_id) in rows.rows.iter().zip(["a", &minted]) {
            assert_eq!(event_id, rows.event_id(row));
            assert_eq!(event_key(event_id), row.event_key);
            let content = Content {
                workspace_id: 2,
                texts: br#"["page",null,null,null,null,null,null,null"#,
                times: [None, None],
                documents_digest: 0,
            };
            assert_eq!(content_hash(&content), row.payload_hash);
            assert!(rows.content(row).starts_with(content.texts));
        }
    }

    #[test]
    fn an_event_written_differently_has_the_same_hash() {
        let hash = |event: &str| made(&format!(r#"{{"batch":[{event}]}}"#)).0.rows[0].payload_hash;
        let one = hash(
            r#"{"type":"page","name":"É","timestamp":"2026-03-01T11:00:00Z","x":1,"y":[2],
            "properties":{"a":1,"b":{"c":2,"d":"É"}}}"#,
        );

        for same in [
            r#"{"y":[ 2 ],"properties":{ "b":{"d":"É","c":2} ,"a":1},"x":1,"name":"É",
            "type":"page","timestamp":"2026-03-01T12:00:00.000+01:00","traits":null}"#,
            r#"{"type":"page","name":"É","timestamp":"20260301T11","original_timestamp":"","x":1,
            "properties":{"a":0,"b":{"c":2,"d":"É"},"a":1},"y":[2],"sentAt":"2026-03-01"}"#,
        ] {
            assert_eq!(one, hash(same), "{same}");
        }
        for other in [
            r#"{"type":"page","name":"É","timestamp":"2026-03-01T11:00:00.001Z","x":1,"y":[2],
            "properties":{"a":1,"b":{"c":2,"d":"É"}}}"#,
            r#"{"type":"page","name":"É","original_timestamp":"2026-03-01T11:00:00Z","x":1,"y":[2],
            "properties":{"a":1,"b":{"c":2,"d":"É"}}}"#,
            r#"{"type":"page","name":"É","timestamp":"2026-03-01T11:00:00Z","x":1,"y":[2],
            "traits":{"a":1,"b":{"c":2,"d":"É"}}}"#,
            r#"{"type":"page","name":"É","timestamp":"2026-03-01T11:00:00Z","x":1,"y":2,
            "properties":{"a":1,"b":{"c":2,"d":"É"}}}"#,
            r#"{"type":"page","name":"É","timestamp":"2026-03-01T11:00:00Z","y":[2],
            "properties":{"a":1,"b":{"c":2,"d":"É"},"x":1}}"#,
        ] {
            assert_ne!(one, hash(other), "{other}");
        }
    }

    #[test]
    fn a_timestamp_beside_an_original_one_is_taken_as_given() {
        let (rows, refused) = made(
            r#"{"sentAt":"2022-12-23T00:29:12Z","batch":[{"type":"page",
            "timestamp":"2022-12-25T00:00:00Z","originalTimestamp":"2022-12-23T00:29:10Z"}]}"#,
        );
        let row = &rows.rows[0];
        for (name, text) in [
            ("original_timestamp", "2022-12-23T00:29:10Z"),
            ("sent_at", "2022-12-23T00:29:12Z"),
            ("received_at", "2026-03-01T12:00:00Z"),
            ("timestamp", "2022-12-25T00:00:00Z"),
        ] {
            let index = row::COLUMNS.iter().position(|column| column.0 == name);
            let column = row::columns(rows.bytes(row)).nth(index.unwrap()).unwrap();
            let expected = row::postgres_time(crate::event::time::parse(text).unwrap());
            assert_eq!(expected.to_be_bytes(), column.unwrap(), "{name}");
        }
        assert!(refused.is_empty());
    }

    #[test]
    fn each_spelling_of_an_event_id_is_one_and_a_number_is_its_digits() {
        let (rows, refused) = made(
            r#"{"batch":[{"type":"page","message_id":"a"},{"type":"page","messageId":1.0},
            {"type":"page","event_id":-0,"message_id":"-0"},{"type":"page","message_id":1e3,
            "messageId":null},{"type":"page","message_id":"a","messageId":"b"},
            {"type":"page","event_id":"","message_id":"a","message_id":"a"}]}"#,
        );
        let ids: Vec<_> = rows.rows.iter().map(|row| rows.event_id(row)).collect();
        let messages: Vec<_> = refused
            .iter()
            .map(|event| &*event.violation.message)
            .collect();

        assert_eq!(vec!["a", "1.0", "-0", "1e3"], ids);
        assert_eq!(
            vec![
                "messageId and message_id are both given, with different values",
                "duplicate message_id in the event"
            ],
            messages
        );
    }

    #[test]
    fn a_time_out_of_range_is_named_and_quoted_with_the_time_of_sending() {
        let ahead = "is more than 24 hours ahead of the arrival at 2026-03-01T12:00:00Z";
        let (_, refused) = made(
            r#"{"sent_at":"2025-12-31","batch":[
            {"type":"page","timestamp":"2027-01-01","sentAt":""},
            {"type":"page","originalTimestamp" : 1798761600, "sentAt" :"2026-12-30T00:00Z"},
            {"type":"page","original_timestamp":"9999-12-31","sentAt":1000000000},
            {"type":"page","timestamp":"2027-01-01","sentAt":"9999-01-01"},
            {"type":"page","timestamp":"2027-01-01","originalTimestamp":"2026-02-28"},
            {"type":"page","timestamp":"2027-01-01","sentAt":"2026-03-01T11:59:50Z"}]}"#,
        );

        for (event, (field, message)) in refused.iter().zip([
            (
                "timestamp",
                format!(
                    r#"timestamp "2027-01-01" {ahead}, and corrected by sent_at "2025-12-31" it is 2027-03-02T12:00:00Z"#
                ),
            ),
            (
                "originalTimestamp",
                format!(
                    r#"originalTimestamp 1798761600 {ahead}, and corrected by sentAt "2026-12-30T00:00Z" it is 2026-03-03T12:00:00Z"#
                ),
            ),
            (
                "original_timestamp",
                format!(
                    r#"original_timestamp "9999-12-31" {ahead}, and corrected by sentAt 1000000000 it is after the year 9999"#
                ),
            ),
            (
                "timestamp",
                format!(
                    r#"timestamp "2027-01-01" {ahead}, and corrected by sentAt "9999-01-01" it is before 1970"#
                ),
            ),
            ("timestamp", format!(r#"timestamp "2027-01-01" {ahead}"#)),
            ("timestamp", format!(r#"timestamp "2027-01-01" {ahead}"#)),
        ]) {
            let violation = &event.violation;
            assert_eq!(Code::InvalidTimestamp, violation.code);
            assert_eq!((Some(field), &message), (violation.field.as_deref(), &violation.message));
        }
        assert_eq!(6, refused.len());
    }

    #[test]
    fn the_time_of_sending_is_the_events_own_else_the_batchs() {
        let (rows, _) = made(
            r#"{"sentAt":"2000-01-01T00:00:01Z","batch":[{"type":"page"},
            {"type":"page","sentAt":"2000-01-01T00:00:02Z"}]}"#,
        );
        let sent: Vec<_> = rows.rows.iter().map(|row| rows.sent_at(row)).collect();

        assert_eq!(
            vec![
                Some(row::POSTGRES_EPOCH_US + 1_000_000),
                Some(row::POSTGRES_EPOCH_US + 2_000_000)
            ],
            sent
        );
    }

    #[test]
    fn the_answer_is_a_json_array_in_order() {
        let (rows, _) = made(
            r#"{"batch":[{"type":"page","event_id":"\"\u00e9"},{"type":"page","event_id":"b"}]}"#,
        );

        assert_eq!(
            r#"[{"event_id":"\"é","status":"accepted"},{"event_id":"b","status":"accepted"}]"#,
            String::from_utf8(rows.accepted(&rows.rows)).unwrap()
        );
        assert_eq!(b"[]".to_vec(), rows.accepted(&[]));
    }
}
