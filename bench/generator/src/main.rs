//! `forebay-generator`: sends events over HTTP and says what came back, as one line of JSON.
//!
//! On standard output it also says `begin` and `end`, each on a line of its own, when the measured
//! time begins and ends: whoever counts the server's CPU counts between the two.

mod answer;
mod connection;
mod event;
mod latency;
mod load;
mod options;
mod random;
mod readiness;
mod report;
mod schedule;

use std::io::{self, Write};
use std::process::ExitCode;

use load::Load;
use options::{Options, USAGE};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(fault) => {
            eprintln!("{fault}\nusage: {USAGE}");
            return ExitCode::from(2);
        }
    };
    match Load::open(&options).and_then(|load| load.run(say)) {
        Ok(seen) => {
            say(&report::json(&seen, &options));
            ExitCode::SUCCESS
        }
        Err(fault) => {
            eprintln!("{}: {fault}", options.address);
            ExitCode::FAILURE
        }
    }
}

fn say(line: &str) {
    // Nobody listens any more: then nobody misses it.
    let _ = writeln!(io::stdout(), "{line}");
}
