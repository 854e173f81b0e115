//! What the command line says.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use crate::event::Traffic;

pub const USAGE: &str = "forebay-generator --address HOST:PORT --key-header 'NAME: VALUE' [--key-header …] \
[--connections 32] [--batch 1] [--rate REQUESTS_PER_SECOND] [--warmup 1] [--seconds 5] [--time ISO]";

#[derive(Debug, Clone)]
pub struct Options {
    pub address: SocketAddr,
    pub traffic: Traffic,
    pub connections: usize,
    /// Requests a second; none for a closed loop.
    pub rate: Option<f64>,
    pub warmup: Duration,
    pub measured: Duration,
}

impl Options {
    /// Reads pairs of name and value.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut address: Option<SocketAddr> = None;
        let mut options = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            traffic: Traffic {
                host: String::new(),
                key_headers: Vec::new(),
                batch: 1,
                time: "2026-01-31T12:00:00.000Z".to_owned(),
            },
            connections: 32,
            rate: None,
            warmup: Duration::from_secs(1),
            measured: Duration::from_secs(5),
        };
        while let Some(name) = arguments.next() {
            let value = arguments
                .next()
                .ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--address" => address = Some(number(&name, &value)?),
                "--key-header" => options.traffic.key_headers.push(value),
                "--time" => options.traffic.time = value,
                "--batch" => options.traffic.batch = positive(&name, &value)?,
                "--connections" => options.connections = positive(&name, &value)?,
                "--rate" => options.rate = Some(seconds(&name, &value, f64::MIN_POSITIVE)?),
                "--warmup" => {
                    options.warmup = Duration::from_secs_f64(seconds(&name, &value, 0.0)?);
                }
                "--seconds" => {
                    options.measured = Duration::from_secs_f64(seconds(&name, &value, 0.01)?);
                }
                _ => return Err(format!("{name} is unknown")),
            }
        }
        options.address = address.ok_or("--address is needed")?;
        options.traffic.host = options.address.to_string();
        if options.traffic.key_headers.is_empty() {
            return Err("--key-header is needed".to_owned());
        }
        Ok(options)
    }
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{name} cannot be {value}"))
}

fn positive(name: &str, value: &str) -> Result<usize, String> {
    match number(name, value)? {
        0 => Err(format!("{name} cannot be 0")),
        count => Ok(count),
    }
}

fn seconds(name: &str, value: &str, least: f64) -> Result<f64, String> {
    let read: f64 = number(name, value)?;
    // A day is longer than any run, and a million a second more than any server answers here.
    if (least..=1e6).contains(&read) {
        return Ok(read);
    }
    Err(format!("{name} cannot be {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, String> {
        Options::parse(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn a_whole_line_is_read() {
        let options =
            parsed("--address 127.0.0.1:80 --key-header a --key-header b --rate 50.5 --batch 50");

        let found = options.map(|o| (o.traffic.key_headers, o.rate, o.traffic.batch));

        assert_eq!(
            Ok((vec!["a".to_owned(), "b".to_owned()], Some(50.5), 50)),
            found
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let start = "--address 127.0.0.1:80 --key-header a";
        for rest in [
            "--rate 0",
            "--rate NaN",
            "--batch 0",
            "--seconds -1",
            "--what 1",
            "--rate",
        ] {
            assert!(parsed(&format!("{start} {rest}")).is_err(), "{rest}");
        }
        assert!(parsed("--key-header a").is_err() && parsed("--address [::1]:80").is_err());
    }
}
