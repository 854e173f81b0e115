//! The verdict, as one line of JSON.

use std::fmt::Write;

use crate::load::Seen;
use crate::options::Options;

pub fn json(seen: &Seen, options: &Options) -> String {
    let seconds = options.measured.as_secs_f64();
    let statuses: Vec<String> = seen
        .statuses
        .iter()
        .map(|(status, count)| format!("\"{status}\":{count}"))
        .collect();
    let rate = options
        .rate
        .map_or("null".to_owned(), |rate| rate.to_string());
    let mut line = format!(
        r#"{{"connections":{},"batch":{},"rate":{rate},"seconds":{seconds},"requests":{},"requests_per_s":{:.1},"events_per_s":{:.1},"accepted_ever":{},"accepted":{},"duplicates":{},"rejected":{},"broken":{},"unanswered":{},"statuses":{{{}}}"#,
        options.connections,
        options.traffic.batch,
        seen.latencies.len() as u64 + seen.broken + seen.unanswered,
        seen.answers_in_time as f64 / seconds,
        seen.accepted_in_time as f64 / seconds,
        seen.accepted_ever,
        seen.outcomes.accepted,
        seen.outcomes.duplicates,
        seen.outcomes.rejected,
        seen.broken,
        seen.unanswered,
        statuses.join(","),
    );
    let permilles = [
        ("p50", 500),
        ("p90", 900),
        ("p99", 990),
        ("p999", 999),
        ("max", 1000),
    ];
    for (name, permille) in permilles {
        let latency = seen.latencies.percentile(permille).as_secs_f64() * 1000.0;
        // Writing to a String cannot fail.
        let _ = write!(line, r#","{name}_ms":{latency:.3}"#);
    }
    line + "}"
}
