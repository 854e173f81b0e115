//! How fast the core is: `cargo run --release --no-default-features --example throughput`.
//!
//! Megabytes of body a second on one core, the best of many rounds, for batches of 50 events.
#![forbid(unsafe_code)]

use _native::event::envelope::scan_batch;
use _native::ids::{RowIds, SECRET_BYTES};
use _native::rows::payload::Rows;
use _native::rows::row::Arrival;
use std::hint::black_box;
use std::time::{Duration, Instant};

const EVENTS: usize = 50;
const ROUNDS: usize = 2_000;

fn main() {
    for (name, body) in [
        (
            "compact, 560 bytes an event",
            body(false, "Ordered by phone"),
        ),
        (
            "spaced, as Python writes it",
            body(true, "Ordered by phone"),
        ),
        (
            "escapes in every text",
            body(false, "Orde\\u0072ed \\\"by\\\" phone\\n"),
        ),
    ] {
        let mut best = Duration::MAX;
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let scan = black_box(scan_batch(black_box(body.as_bytes()), EVENTS));
            best = best.min(start.elapsed());
            assert!(scan.is_ok_and(|scan| scan.events.iter().all(Result::is_ok)));
        }
        report(name, body.len(), best);
        rows(&body);
    }
}

/// The same, and the rows of its events.
fn rows(body: &str) {
    let mut ids = RowIds::new(0, [7; SECRET_BYTES]);
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let arrival = Arrival {
            tenant_id: 1,
            workspace_id: 1,
            request_id: 1,
            received_at: 1_795_000_000_000_000,
            schema_version: "1.0".to_owned(),
        };
        let start = Instant::now();
        let scan = scan_batch(black_box(body.as_bytes()), EVENTS);
        let made = scan.map(|scan| black_box(Rows::new(&scan, body, &mut ids, arrival)));
        best = best.min(start.elapsed());
        assert!(made.is_ok_and(|(rows, refused)| rows.rows.len() == EVENTS && refused.is_empty()));
    }
    report("  and its rows", body.len(), best);
}

#[expect(clippy::cast_precision_loss, reason = "a figure for a person")]
fn report(name: &str, bytes: usize, best: Duration) {
    let megabytes = bytes as f64 / 1e6 / best.as_secs_f64();
    println!("{name}: {bytes} bytes in {best:?}, {megabytes:.0} MB/s");
}

fn body(is_spaced: bool, text: &str) -> String {
    let events: Vec<String> = (0..EVENTS).map(|number| event(number, text)).collect();
    let body = format!(
        r#"{{"batch":[{}],"sentAt":"2026-11-22T19:02:44.350Z","writeKey":"key"}}"#,
        events.join(",")
    );
    if is_spaced {
        body.replace("\":", "\": ").replace(",\"", ", \"")
    } else {
        body
    }
}

fn event(number: usize, text: &str) -> String {
    format!(
        concat!(
            r#"{{"type":"track","event":"Order Completed","messageId":"node-{number:022}","#,
            r#""userId":"user-{number}","anonymousId":"0b4a1c7e-anonymous","integrations":{{}},"#,
            r#""timestamp":"2026-11-22T19:02:43.853Z","properties":{{"revenue":39.95,"#,
            r#""currency":"EUR","items":["a","b",{number}],"note":"{text}","first":true,"#,
            r#""coupon":null,"path":"/shop/orders/confirmation"}},"context":{{"#,
            r#""ip":"203.0.113.7","locale":"en-US","campaign":{{"name":"spring"}},"#,
            r#""library":{{"name":"analytics-node","version":"2.4.0"}},"#,
            r#""userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"}}}}"#
        ),
        number = number,
        text = text
    )
}
