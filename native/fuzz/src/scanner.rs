//! Target: the JSON scanner, against `serde_json` and a slow digest.

use crate::json::{Json, Reading, SPACE, Storability, must_read, read};
use _native::event::envelope::{scan_batch, scan_event};
use _native::event::field::EventType;
use _native::event::violation::Code;
use _native::json::error::{JsonError, UnstorableKind};
use _native::json::scanner::Scanner;
use _native::json::text::push_quoted;
use _native::json::value::Kind;

/// Checks any bytes as one JSON value.
pub fn check(input: &[u8]) {
    match str::from_utf8(input) {
        Ok(text) => check_text(text),
        Err(error) => check_refusal(input, error.valid_up_to()),
    }
}

/// A body that is not UTF-8 is refused at the first byte that is not.
fn check_refusal(input: &[u8], offset: usize) {
    for scanned in [scan_batch(input, 50), scan_event(input, EventType::Track)] {
        let malformed = scanned.expect_err("bytes that are not UTF-8");
        assert_eq!(Code::MalformedJson, malformed.code);
        assert_eq!(Some(offset), malformed.offset);
    }
}

fn check_text(text: &str) {
    let scanned = scan(text);
    if let Err(error) = scanned {
        assert!(error.offset as usize <= text.len());
        assert!(!error.message(text).is_empty());
    }
    match (read(text), scanned) {
        (Reading::Refused, Err(_)) | (Reading::Undecided, _) => {}
        (Reading::HalfOfPair, Ok(facts)) => assert!(facts.unstorable.is_some()),
        (Reading::Value(value), Ok(facts)) => {
            let mut storability = Storability::new();
            let unstorable = storability.of(&value, 0);
            let expected = Facts {
                unstorable,
                expanded_digits: storability.expanded_digits as usize,
                digest: value.digest(),
            };
            assert_eq!(expected, facts);
            assert_eq!(value, walk(text));
            check_quotes(&value);
        }
        (reading, scanned) => panic!("{text:?}: serde_json {reading:?}, the core {scanned:?}"),
    }
}

/// What the scanner finds in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    unstorable: Option<UnstorableKind>,
    expanded_digits: usize,
    digest: u64,
}

/// Scans the value in one call, as the core does with the members of an event.
fn scan(text: &str) -> Result<Facts, JsonError> {
    let mut scanner = Scanner::new(text).expect("a short text");
    let value = scanner.value()?;
    let unstorable = scanner.unstorable().map(|found| {
        assert!(
            text.get(found.start..found.end)
                .is_some_and(|part| !part.is_empty())
        );
        assert!(!found.message("field", text).is_empty());
        found.kind
    });
    assert_eq!(value.is_unstorable, unstorable.is_some());
    let facts = Facts {
        unstorable,
        expanded_digits: scanner.expanded_digits(),
        digest: scanner.digest(value),
    };
    scanner.end()?;
    assert_eq!(text.trim_matches(SPACE), value.raw(text));
    Ok(facts)
}

/// Reads a value element by element, as the core does with the envelope.
fn walk(text: &str) -> Json {
    let mut scanner = Scanner::new(text).expect("a short text");
    let value = walk_value(&mut scanner);
    scanner.end().expect("the end");
    value
}

fn walk_value(scanner: &mut Scanner) -> Json {
    match scanner.skip_space() {
        b'{' => {
            let mut members = Vec::new();
            scanner.open().expect("an object");
            while let Some(name) = scanner.next_name().expect("a name") {
                let name = name.text(scanner.body).into_owned();
                members.push((name, walk_value(scanner)));
            }
            Json::Object(members)
        }
        b'[' => {
            let mut values = Vec::new();
            scanner.open().expect("an array");
            while scanner.has_next().expect("an element") {
                values.push(walk_value(scanner));
            }
            Json::Array(values)
        }
        _ => {
            let value = scanner.value().expect("a value");
            let text = value.text(scanner.body).into_owned();
            match value.kind {
                Kind::Text => Json::Text(text),
                Kind::Number => Json::Number(text),
                Kind::Boolean => Json::Boolean(text == "true"),
                Kind::Null => Json::Null,
                kind => panic!("{kind:?} does not begin with a bracket"),
            }
        }
    }
}

/// Each text is read back from the form in which the core writes it.
fn check_quotes(value: &Json) {
    match value {
        Json::Text(text) => {
            let mut quoted = Vec::new();
            push_quoted(&mut quoted, text);
            assert_eq!(value, &must_read(&quoted));
        }
        Json::Array(values) => values.iter().for_each(check_quotes),
        Json::Object(members) => members.iter().for_each(|(_, value)| check_quotes(value)),
        _ => {}
    }
}
