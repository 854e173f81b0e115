//! The rows of one flush: sorted, with one row for each key.
#![forbid(unsafe_code)]

use super::payload::{Row, Rows};
use super::row::{self, BIGINT, COLUMNS, TIMESTAMPTZ, UUID};
use crate::ids::EventKey;
use std::collections::HashSet;
use std::iter::once;
use std::ops::Range;
use std::sync::Arc;

/// The header of the binary format of COPY: signature, no flags, no extension.
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COPY_TRAILER: &[u8] = &(-1_i16).to_be_bytes();

/// The columns of `event_deduplication`.
const LEDGER_COLUMNS: usize = 5;
/// The columns of an event row before those of `events`: `event_key` and `payload_hash`.
const KEY_COLUMNS: usize = 2;

const ARRAY_HEAD_BYTES: usize = 20;
/// Size of the length before each element of an array.
const LENGTH_BYTES: usize = size_of::<i32>();
/// Number of columns, then the columns, each with its type and its length.
const LEDGER_ROW_BYTES: usize = 4 + 4 * (8 + 8) + (8 + 16);
/// The same for the part of an event row before the columns of `events`.
const EVENT_ROW_HEAD_BYTES: usize = 4 + (8 + 16) + (8 + 8);

/// All or some of the rows of a payload.
#[derive(Clone, Debug)]
pub struct Part {
    pub rows: Arc<Rows>,
    pub range: Range<usize>,
}

impl Part {
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        self.rows.rows.get(self.range.clone()).unwrap_or_default()
    }
}

/// The index of a part in a plan, and of a row in that part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowIndex {
    pub part: usize,
    pub row: usize,
}

/// The rows of one flush. `firsts` has the first row of each key, in the order that all flushes
/// use: by tenant, then by the bytes of the key. `duplicates` has the other rows, in the order of
/// arrival.
#[derive(Debug)]
pub struct Plan {
    parts: Vec<Part>,
    firsts: Vec<RowIndex>,
    duplicates: Vec<RowIndex>,
}

impl Plan {
    #[must_use]
    pub fn new(parts: Vec<Part>) -> Self {
        let mut keyed = Vec::with_capacity(parts.iter().map(|part| part.rows().len()).sum());
        for (part, rows) in parts.iter().enumerate() {
            let tenant_id = rows.rows.arrival.tenant_id;
            for (row, facts) in rows.rows().iter().enumerate() {
                #[cfg(feature = "panic-for-tests")]
                crate::panic_for_tests::panic_if_asked(
                    crate::panic_for_tests::IN_FLUSH,
                    rows.rows.bytes(facts),
                );
                // As a number, so that one comparison replaces sixteen.
                let event_key = u128::from_be_bytes(facts.event_key);
                keyed.push((tenant_id, event_key, RowIndex { part, row }));
            }
        }
        keyed.sort_unstable();
        let mut plan = Self {
            parts,
            firsts: Vec::with_capacity(keyed.len()),
            duplicates: Vec::new(),
        };
        let mut last = None;
        for (tenant_id, event_key, index) in keyed {
            if last.replace((tenant_id, event_key)) == Some((tenant_id, event_key)) {
                plan.duplicates.push(index);
            } else {
                plan.firsts.push(index);
            }
        }
        plan.duplicates.sort_unstable();
        plan
    }

    /// The number of keys, which is the number of rows to write.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.firsts.len()
    }

    #[must_use]
    pub const fn has_duplicates(&self) -> bool {
        !self.duplicates.is_empty()
    }

    /// The part and the row at *index*.
    #[must_use]
    pub fn at(&self, index: RowIndex) -> Option<(&Part, &Row)> {
        let part = self.parts.get(index.part)?;
        Some((part, part.rows().get(index.row)?))
    }

    /// The rows that were not inserted: those with *ids*, then all duplicates.
    #[must_use]
    pub fn not_inserted(&self, ids: &HashSet<i64>) -> Vec<RowIndex> {
        let is_among = |index: &RowIndex| {
            let found = self.at(*index);
            found.is_some_and(|(_, row)| ids.contains(&row.id))
        };
        let firsts = self.firsts.iter().filter(|index| is_among(index));
        firsts.chain(&self.duplicates).copied().collect()
    }

    /// The array of ledger rows, which inserts the keys. *oid* is the OID of the row type.
    #[must_use]
    pub fn ledger_rows(&self, oid: u32) -> Vec<u8> {
        let bytes = self.count() * (LENGTH_BYTES + LEDGER_ROW_BYTES);
        self.array(oid, bytes, |out, part, row| {
            // All ledger rows have the same length. Appending blocks is faster than single values.
            let before = [
                pair(LEDGER_ROW_BYTES, LEDGER_COLUMNS),
                head::<i64>(BIGINT),
                part.arrival.tenant_id.to_be_bytes(),
                head::<EventKey>(UUID),
            ];
            let after = [
                head::<i64>(BIGINT),
                row.id.to_be_bytes(),
                head::<i64>(BIGINT),
                row.payload_hash.to_be_bytes(),
                head::<i64>(TIMESTAMPTZ),
                row::postgres_time(part.arrival.received_at).to_be_bytes(),
            ];
            out.extend_from_slice(before.as_flattened());
            out.extend_from_slice(&row.event_key);
            out.extend_from_slice(after.as_flattened());
        })
    }

    /// The array of event rows, which inserts keys and events. *oid* is the OID of the row type.
    #[must_use]
    pub fn event_rows(&self, oid: u32) -> Vec<u8> {
        let lengths = self.rows().map(|(part, row)| event_row_bytes(part, row));
        let bytes = lengths.map(|length| LENGTH_BYTES + length).sum();
        self.array(oid, bytes, |out, part, row| {
            #[cfg(feature = "panic-for-tests")]
            crate::panic_for_tests::panic_if_asked(
                crate::panic_for_tests::IN_WRITE,
                part.bytes(row),
            );
            let columns = KEY_COLUMNS + COLUMNS.len();
            let before = [
                pair(event_row_bytes(part, row), columns),
                head::<EventKey>(UUID),
            ];
            let after = [head::<i64>(BIGINT), row.payload_hash.to_be_bytes()];
            out.extend_from_slice(before.as_flattened());
            out.extend_from_slice(&row.event_key);
            out.extend_from_slice(after.as_flattened());
            for ((_, oid), column) in COLUMNS.iter().zip(row::measured_columns(part.bytes(row))) {
                out.extend_from_slice(&oid.to_be_bytes());
                out.extend_from_slice(column);
            }
        })
    }

    /// The pieces of a COPY stream for `events`, without the rows whose ids are in
    /// *`not_inserted`*.
    pub fn copy_data<'a>(
        &'a self,
        not_inserted: &'a HashSet<i64>,
    ) -> impl Iterator<Item = &'a [u8]> + Clone {
        let is_inserted = |row: &Row| not_inserted.is_empty() || !not_inserted.contains(&row.id);
        let rows = self.rows().filter(move |(_, row)| is_inserted(row));
        let rows = rows.map(|(part, row)| {
            let bytes = part.bytes(row);
            #[cfg(feature = "panic-for-tests")]
            crate::panic_for_tests::panic_if_asked(crate::panic_for_tests::IN_WRITE, bytes);
            bytes
        });
        once(COPY_HEADER).chain(rows).chain(once(COPY_TRAILER))
    }

    /// An array in binary format: dimensions, nulls, type, length, lower bound, then the elements.
    /// *push* appends an element; *bytes* is the size of all elements.
    fn array(&self, oid: u32, bytes: usize, push: impl Fn(&mut Vec<u8>, &Rows, &Row)) -> Vec<u8> {
        let mut out = Vec::with_capacity(ARRAY_HEAD_BYTES + bytes);
        row::push_i32(&mut out, 1);
        row::push_i32(&mut out, 0);
        out.extend_from_slice(&oid.to_be_bytes());
        row::push_i32(&mut out, self.firsts.len());
        row::push_i32(&mut out, 1);
        for (part, row) in self.rows() {
            push(&mut out, part, row);
        }
        out
    }

    /// The first row of each key, in the order of the keys.
    fn rows(&self) -> impl Iterator<Item = (&Rows, &Row)> + Clone {
        let rows = self.firsts.iter().filter_map(|index| self.at(*index));
        rows.map(|(part, row)| (&*part.rows, row))
    }
}

/// The size of *row* as an event row, in which each column has the OID of its type.
fn event_row_bytes(part: &Rows, row: &Row) -> usize {
    let columns = part.bytes(row).len().saturating_sub(size_of::<i16>());
    EVENT_ROW_HEAD_BYTES + columns + COLUMNS.len() * size_of::<u32>()
}

/// The header of a value: the OID of its type, and its length.
fn head<T>(oid: u32) -> [u8; 8] {
    pair(oid as usize, size_of::<T>())
}

fn pair(first: usize, second: usize) -> [u8; 8] {
    let number = |number| u64::from(u32::try_from(number).unwrap_or(u32::MAX));
    (number(first) << u32::BITS | number(second)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::envelope::scan_batch;
    use crate::ids::{RowIds, SECRET_BYTES, event_key};
    use crate::rows::row::Arrival;

    const OID: u32 = 70_000;

    /// Rows of a tenant with these event ids; their row ids count from the first.
    fn part(tenant_id: i64, first_id: u64, event_ids: &[&str]) -> Part {
        let events: Vec<String> = event_ids
            .iter()
            .map(|event_id| format!(r#"{{"type":"page","event_id":"{event_id}"}}"#))
            .collect();
        let body = format!(r#"{{"batch":[{}]}}"#, events.join(","));
        let scan = scan_batch(body.as_bytes(), 50).unwrap();
        let mut ids = RowIds::new(first_id, [7; SECRET_BYTES]);
        let arrival = Arrival {
            tenant_id,
            workspace_id: 1,
            request_id: 1,
            received_at: 1_772_366_400_000_000,
            clock_skew_min: 0,
            schema_version: "1.0".to_owned(),
        };
        let (rows, _) = Rows::new(&scan, &body, &mut ids, arrival);
        Part {
            rows: Arc::new(rows),
            range: 0..event_ids.len(),
        }
    }

    fn ids(plan: &Plan, indexes: &[RowIndex]) -> Vec<i64> {
        indexes
            .iter()
            .map(|index| plan.at(*index).unwrap().1.id)
            .collect()
    }

    fn set(ids: &[i64]) -> HashSet<i64> {
        ids.iter().copied().collect()
    }

    #[test]
    fn rows_are_sorted_by_tenant_then_by_the_bytes_of_their_key() {
        let plan = Plan::new(vec![
            part(10, 1, &["a", "b", "c", "d"]),
            part(-9, 5, &["d", "c", "b", "a"]),
        ]);
        let keys: Vec<_> = plan
            .firsts
            .iter()
            .map(|index| {
                let (part, row) = plan.at(*index).unwrap();
                (part.rows.arrival.tenant_id, row.event_key)
            })
            .collect();
        let mut expected: Vec<_> = [-9, 10]
            .into_iter()
            .flat_map(|tenant_id| ["a", "b", "c", "d"].map(|id| (tenant_id, event_key(id))))
            .collect();
        expected.sort_unstable();

        assert_eq!(expected, keys);
        assert_eq!((8, false), (plan.count(), plan.has_duplicates()));
    }

    #[test]
    fn the_first_row_of_a_key_is_written_and_duplicates_keep_their_order() {
        let plan = Plan::new(vec![part(1, 1, &["b", "a", "b"]), part(1, 4, &["a", "b"])]);

        assert_eq!(vec![3, 4, 5], ids(&plan, &plan.duplicates));
        assert_eq!((2, true), (plan.count(), plan.has_duplicates()));
        assert_eq!(vec![2, 3, 4, 5], ids(&plan, &plan.not_inserted(&set(&[2]))));
        assert_eq!(vec![3, 4, 5], ids(&plan, &plan.not_inserted(&set(&[99]))));
    }

    #[test]
    fn a_part_is_the_rows_of_its_range_alone() {
        let mut part = part(1, 1, &["a", "b", "c"]);
        part.range = 1..2;
        let plan = Plan::new(vec![part.clone()]);
        assert_eq!(vec![2], ids(&plan, &plan.firsts));

        part.range = 2..9;
        assert_eq!(0, part.rows().len());
    }

    #[test]
    fn copy_data_holds_the_inserted_rows_in_order() {
        let plan = Plan::new(vec![part(1, 1, &["a", "b", "c"])]);
        let kept = plan.firsts.iter().map(|index| plan.at(*index).unwrap());
        let kept = kept.filter(|(_, row)| row.id != 2);
        let rows: Vec<u8> = kept
            .flat_map(|(part, row)| part.rows.bytes(row).to_vec())
            .collect();

        let copied = |ids| plan.copy_data(&set(ids)).collect::<Vec<_>>().concat();
        let expected = [COPY_HEADER, &rows, &[0xff, 0xff]].concat();
        assert_eq!(expected, copied(&[2]));
        assert_eq!([COPY_HEADER, &[0xff, 0xff]].concat(), copied(&[1, 2, 3]));
    }

    #[test]
    fn an_array_has_one_dimension_no_nulls_and_its_rows_measured() {
        let plan = Plan::new(vec![part(1, 1, &["a", "b"])]);

        for (array, columns) in [
            (plan.ledger_rows(OID), LEDGER_COLUMNS),
            (plan.event_rows(OID), KEY_COLUMNS + COLUMNS.len()),
        ] {
            assert_eq!(array.capacity(), array.len());
            let numbers = [1, 0, OID, 2, 1].map(u32::to_be_bytes).concat();
            assert_eq!(numbers, array[..20]);
            let mut rest = &array[20..];
            for _ in 0..2 {
                let (length, after) = rest.split_first_chunk::<4>().unwrap();
                let (row, after) = after.split_at(u32::from_be_bytes(*length) as usize);
                assert_eq!(u32::try_from(columns).unwrap().to_be_bytes(), row[..4]);
                rest = after;
            }
            assert!(rest.is_empty());
        }
        assert_eq!(
            [1, 0, OID, 0, 1].map(u32::to_be_bytes).concat(),
            Plan::new(vec![]).ledger_rows(OID)
        );
    }
}
