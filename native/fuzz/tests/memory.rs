//! The memory that the core allocates for a body depends on its size, and little on what is in it.
//!
//! If this test fails: one sender with small requests can use up the memory of a worker.
#![forbid(unsafe_code)]

use _native::event::envelope::scan_batch;
use _native::ids::{RowIds, SECRET_BYTES};
use _native::rows::payload::Rows;
use _native::rows::plan::{Part, Plan};
use _native::rows::row::Arrival;
use peak_alloc::PeakAlloc;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Shapes of bodies, which `tests/native/hostile_bodies.py` describes.
const SHAPES: &str = include_str!("../../../tests/corpus/hostile_bodies.json");
const EVENTS_MAX: usize = 2_500;
const SIZES: [usize; 2] = [256 * 1_024, 4 * 1_024 * 1_024];
/// Peak of the allocated bytes of a scan, its rows and its flush, for each byte of the body. The
/// most expensive shapes need 10.
const BYTES_PER_BYTE_MAX: usize = 16;
/// A context is stored with each event: `FOREBAY_PAYLOAD_EXPANSION_MAX` bounds the size of all
/// copies, as a multiple of the size of the body.
const EXPANSION_MAX: usize = 4;

fn body(shape: &Value, size: usize) -> String {
    let part = |name| shape[name].as_str().unwrap_or_default();
    let between = shape["between"].as_str().unwrap_or(",");
    let levels = usize::try_from(shape["levels"].as_u64().unwrap_or(0)).unwrap_or(0);
    let (opening, closing) = (
        part("opening").repeat(levels),
        part("closing").repeat(levels),
    );
    let item = format!("{opening}{}{closing}", part("item"));
    let width = item.replace('#', "000000").len() + between.len();
    let count = (size / width).max(1);
    let numbered = |number| item.replace('#', &format!("{number:06}"));
    let items: Vec<_> = if item.contains('#') {
        (0..count).map(numbered).collect()
    } else {
        vec![item; count]
    };
    format!("{}{}{}", part("start"), items.join(between), part("end"))
}

fn copied_context(size: usize) -> String {
    let context = format!(r#"{{"a":"{}"}}"#, "x".repeat(32_000));
    let count = ((EXPANSION_MAX - 1) * size / context.len()).min(EVENTS_MAX);
    let events = vec![r#"{"type":"page"}"#; count].join(",");
    let padding = "x".repeat(size - context.len() - events.len());
    format!(r#"{{"context":{context},"batch":[{events}],"padding":"{padding}"}}"#)
}

/// Does with a body what the service does, and returns the peak of the allocated bytes.
fn peak_bytes(body: &str) -> usize {
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    if let Ok(scan) = scan_batch(body.as_bytes(), EVENTS_MAX) {
        let mut ids = RowIds::new(0, [0; SECRET_BYTES]);
        let arrival = Arrival {
            tenant_id: 1,
            workspace_id: 1,
            request_id: 1,
            received_at: 1_772_366_400_000_000,
            clock_skew_min: 0,
            schema_version: "1.0".to_owned(),
        };
        let (rows, _refused) = Rows::new(&scan, body, &mut ids, arrival);
        drop(scan);
        let range = 0..rows.rows.len();
        let rows = Arc::new(rows);
        let plan = Plan::new(vec![Part { rows, range }]);
        let stream: Vec<u8> = plan.copy_data(&HashSet::new()).flatten().copied().collect();
        assert!(!stream.is_empty());
    }
    ALLOCATED.peak_usage() - before
}

fn check(name: &str, body: &str) {
    let (peak, limit) = (peak_bytes(body), BYTES_PER_BYTE_MAX * body.len());
    assert!(
        peak < limit,
        "{name}: {peak} bytes for a body of {} bytes; the limit is {limit}",
        body.len()
    );
}

#[test]
fn no_body_needs_much_more_memory_than_its_size() {
    let shapes: serde_json::Map<String, Value> = serde_json::from_str(SHAPES).expect("JSON");
    for size in SIZES {
        for (name, shape) in &shapes {
            check(name, &body(shape, size));
        }
        check("a context for each event", &copied_context(size));
    }
}
