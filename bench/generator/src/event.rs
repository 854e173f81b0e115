//! Requests with realistic track and identify events of about 560 bytes each. They are written once;
//! what differs from request to request (event ids, users) is filled in where it stands.

use crate::random::Random;

/// Enough that texts differ, few enough that they stay in the cache.
const VARIANTS: usize = 32;
const ID: &str = "........-....-4...-a...-............";
const USER: &str = "########";
const NAMES: [&str; 6] = [
    "Order Completed",
    "Product Viewed",
    "Cart Updated",
    "Search Performed",
    "Plan Upgraded",
    "Coupon Applied",
];
const CITIES: [&str; 5] = ["Zürich", "Lyon", "Kraków", "Osaka", "Montréal"];
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142.0";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// What every request of a run has.
#[derive(Debug, Clone)]
pub struct Traffic {
    pub host: String,
    /// The header with the key, one per key; requests take turns.
    pub key_headers: Vec<String>,
    /// Events a request; 1 goes to the endpoints for one event.
    pub batch: usize,
    /// Time of the events.
    pub time: String,
}

/// Makes the bytes of requests.
#[derive(Debug)]
pub struct Requests {
    variants: Vec<Variant>,
    random: Random,
    turn: usize,
}

#[derive(Debug)]
struct Variant {
    bytes: Vec<u8>,
    ids: Vec<usize>,
    users: Vec<usize>,
}

impl Requests {
    pub fn new(traffic: &Traffic) -> Self {
        let mut random = Random::from_system();
        let variants = (0..VARIANTS.max(traffic.key_headers.len()))
            .map(|number| Variant::new(traffic, number, &mut random))
            .collect();
        Self {
            variants,
            random,
            turn: 0,
        }
    }

    /// Writes the next request into `out`, in place of what was there.
    pub fn fill(&mut self, out: &mut Vec<u8>) {
        self.turn = (self.turn + 1) % self.variants.len();
        let Some(variant) = self.variants.get(self.turn) else {
            return;
        };
        out.clear();
        out.extend_from_slice(&variant.bytes);
        for &at in &variant.ids {
            fill_dots(&mut out[at..at + ID.len()], &mut self.random);
        }
        for &at in &variant.users {
            let mut number = self.random.next();
            for digit in &mut out[at..at + USER.len()] {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
    }
}

impl Variant {
    fn new(traffic: &Traffic, number: usize, random: &mut Random) -> Self {
        let (path, body) = if traffic.batch == 1 {
            one_event(traffic, number, random)
        } else {
            many_events(traffic, number, random)
        };
        let key_header = &traffic.key_headers[number % traffic.key_headers.len()];
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\n{key_header}\r\n\
             User-Agent: forebay-generator\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            traffic.host,
            body.len()
        );
        let text = head + &body;
        let places = |words: &str| text.match_indices(words).map(|(at, _)| at).collect();
        Self {
            ids: places(ID),
            users: places(USER),
            bytes: text.into_bytes(),
        }
    }
}

fn one_event(traffic: &Traffic, number: usize, random: &mut Random) -> (&'static str, String) {
    if is_identify(number) {
        ("/v1/identify", identify(&traffic.time, random))
    } else {
        ("/v1/track", track(&traffic.time, number, random))
    }
}

fn many_events(traffic: &Traffic, number: usize, random: &mut Random) -> (&'static str, String) {
    let events: Vec<String> = (0..traffic.batch)
        .map(|place| one_event(traffic, number + place, random).1)
        .collect();
    let sent_at = &traffic.time;
    let body = format!(r#"{{"batch":[{}],"sentAt":"{sent_at}"}}"#, events.join(","));
    ("/v1/batch", body)
}

/// One event in five.
const fn is_identify(number: usize) -> bool {
    number % 5 == 4
}

fn track(time: &str, number: usize, random: &mut Random) -> String {
    let name = NAMES[number % NAMES.len()];
    let (total, quantity) = (random.below(100_000), 1 + random.below(9));
    let (sku, page) = (random.below(10_000), random.below(1_000));
    let cents = total % 100;
    let total = total / 100;
    format!(
        r#"{{"type":"track","messageId":"{ID}","event":"{name}","userId":"user-{USER}","anonymousId":"anon-{USER}","timestamp":"{time}","properties":{{"order_id":"{USER}","total":{total}.{cents:02},"currency":"EUR","quantity":{quantity},"sku":"SKU-{sku:05}","is_gift":false,"coupon":null,"categories":["garden","tools"]}},"context":{{"ip":"203.0.113.{}","locale":"de-CH","userAgent":"{BROWSER}","page":{{"path":"/products/{page}","title":"Product {page}"}},"library":{{"name":"analytics-node","version":"3.1.0"}}}}}}"#,
        random.below(256)
    )
}

fn identify(time: &str, random: &mut Random) -> String {
    let city = CITIES[random.below(CITIES.len())];
    let (age, visits) = (18 + random.below(60), random.below(5_000));
    format!(
        r#"{{"type":"identify","messageId":"{ID}","userId":"user-{USER}","anonymousId":"anon-{USER}","timestamp":"{time}","traits":{{"email":"person{USER}@example.com","name":"Person {USER}","plan":"professional","age":{age},"visits":{visits},"is_subscribed":true,"address":{{"city":"{city}","postalCode":"8004"}}}},"context":{{"ip":"203.0.113.{}","locale":"de-CH","userAgent":"{BROWSER}","library":{{"name":"analytics-node","version":"3.1.0"}}}}}}"#,
        random.below(256)
    )
}

fn fill_dots(id: &mut [u8], random: &mut Random) {
    let (mut word, mut left) = (0, 0);
    for byte in id.iter_mut().filter(|byte| **byte == b'.') {
        if left == 0 {
            (word, left) = (random.next(), 16);
        }
        *byte = HEX[(word & 15) as usize];
        word >>= 4;
        left -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn requests(batch: usize) -> Requests {
        Requests::new(&Traffic {
            host: "127.0.0.1:8000".to_owned(),
            key_headers: vec!["X-API-Key: one".to_owned(), "X-API-Key: two".to_owned()],
            batch,
            time: "2026-01-31T12:00:00.000Z".to_owned(),
        })
    }

    fn texts(requests: &mut Requests, count: usize) -> Vec<String> {
        let mut out = Vec::new();
        (0..count)
            .map(|_| {
                requests.fill(&mut out);
                String::from_utf8_lossy(&out).into_owned()
            })
            .collect()
    }

    fn ids(text: &str) -> Vec<String> {
        let marks = text.split(r#""messageId":""#).skip(1);
        marks.map(|rest| rest[..ID.len()].to_owned()).collect()
    }

    #[test]
    fn no_event_id_comes_twice() {
        let found: Vec<_> = texts(&mut requests(50), 200)
            .iter()
            .flat_map(|t| ids(t))
            .collect();

        assert_eq!(200 * 50, found.len());
        assert_eq!(200 * 50, found.iter().collect::<HashSet<_>>().len());
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        for text in texts(&mut requests(1), 64) {
            assert!(!text.contains("....") && !text.contains("####"), "{text}");
        }
    }

    #[test]
    fn the_length_is_that_of_the_body() {
        for text in texts(&mut requests(50), 8) {
            let length = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
            assert!(length.is_some_and(|n| text.contains(&format!("Content-Length: {n}\r\n"))));
        }
    }

    #[test]
    fn an_event_has_about_560_bytes() {
        let text = texts(&mut requests(50), 32).concat();

        let mean = text.len() / (32 * 50);

        assert!((520..=600).contains(&mean), "{mean}");
    }

    #[test]
    fn the_keys_take_turns() {
        let found = texts(&mut requests(1), 32);

        let of_one = found
            .iter()
            .filter(|t| t.contains("X-API-Key: one"))
            .count();

        assert_eq!(16, of_one);
    }
}
