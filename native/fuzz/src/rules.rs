//! Target: the rules for bodies and events, against the rules of `model.rs`.

use crate::draft;
use crate::json::{Json, Reading, must_read, read};
use crate::model::{Refusal, ValidBatch, ValidEvent, event_id, without_secrets};
use _native::event::envelope::{Scan, scan_batch, scan_event};
use _native::event::field::EventType;
use _native::event::members::Event;
use _native::event::violation::{Code, Malformed, Violation};
use _native::json::scanner::Scanner;

/// The limit of this target is small, so that inputs exceed it.
const EVENTS_MAX: usize = 3;

/// Checks a body as that of a batch and of an event. *input* is a body, or chooses the parts of one.
pub fn check(input: &[u8]) {
    let body = draft::body(input);
    let Ok(text) = str::from_utf8(&body) else {
        return;
    };
    match read(text) {
        Reading::Value(value @ Json::Object(_)) => {
            check_batch(text, &value);
            check_event(text, &value, endpoint(text));
        }
        Reading::Value(_) | Reading::Refused => {
            for scanned in scan_all(text) {
                let malformed = scanned.expect_err("a body that is not a JSON object");
                assert_eq!(Code::MalformedJson, malformed.code);
                check_malformed(&malformed, text);
            }
        }
        Reading::HalfOfPair | Reading::Undecided => {
            for scanned in scan_all(text) {
                match scanned {
                    Ok(scan) => check_counts(&scan),
                    Err(malformed) => check_malformed(&malformed, text),
                }
            }
        }
    }
}

/// The type of the endpoint for events. The length chooses it: all six would take three times as
/// long for each input.
fn endpoint(text: &str) -> EventType {
    EventType::ALL[text.len() % EventType::ALL.len()]
}

fn scan_all(text: &str) -> [Result<Scan, Box<Malformed>>; 2] {
    let body = text.as_bytes();
    [
        scan_batch(body, EVENTS_MAX),
        scan_event(body, endpoint(text)),
    ]
}

fn check_batch(text: &str, value: &Json) {
    let scanned = scan_batch(text.as_bytes(), EVENTS_MAX);
    match (ValidBatch::new(value, context_bytes(text)), scanned) {
        (Err(expected), Err(malformed)) => {
            check_malformed(&malformed, text);
            check_refusal(&expected, malformed.code, malformed.field.as_deref());
        }
        (Ok(expected), Ok(scan)) => {
            check_counts(&scan);
            assert_eq!(expected.events.len(), scan.count);
            assert_eq!(expected.sent_at_us, scan.sent_at_us);
            let key = (scan.write_key.clone(), scan.has_different_keys);
            assert_eq!(expected.key(EVENTS_MAX), key);
            let context = scan
                .context
                .map(|context| must_read(context.raw_bytes(text)));
            assert_eq!(expected.context, context);
            assert_eq!(context.is_some(), scan.context_bytes > 0);
            for (event, checked) in expected.events.iter().zip(&scan.events) {
                check_verdict(event, None, text, checked.as_ref().map_err(AsRef::as_ref));
            }
        }
        (expected, scanned) => panic!("{text}: expected {expected:?}, but is {scanned:?}"),
    }
}

/// The size of the `context` of a batch as it was sent.
pub(crate) fn context_bytes(text: &str) -> usize {
    let mut scanner = Scanner::new(text).expect("a short text");
    scanner.open().expect("an object");
    let mut bytes = 0;
    while let Some(name) = scanner.next_name().expect("a name") {
        let value = scanner.value().expect("a value");
        if name.text(text) == "context" {
            bytes = value.span().len();
        }
    }
    bytes
}

fn check_event(text: &str, value: &Json, event_type: EventType) {
    let scan = scan_event(text.as_bytes(), event_type).expect("a JSON object");
    check_counts(&scan);
    let checked = scan.events.first().expect("one event");
    check_verdict(
        value,
        Some(event_type),
        text,
        checked.as_ref().map_err(AsRef::as_ref),
    );
}

fn check_verdict(
    event: &Json,
    event_type: Option<EventType>,
    text: &str,
    checked: Result<&Event, &Violation>,
) {
    match (ValidEvent::new(event, event_type), checked) {
        (Ok(expected), Ok(event)) => {
            assert_eq!(expected.event_type, event.event_type);
            assert_eq!(
                text.get(event.span.bytes.clone())
                    .map(str::as_bytes)
                    .map(must_read),
                Some(Json::Object(expected.members))
            );
        }
        (Err(expected), Err(violation)) => {
            check_refusal(&expected, violation.code, violation.field.as_deref());
            assert!(!violation.message.is_empty());
            assert_eq!(event_id(event), violation.event_id);
            assert_eq!(without_secrets(event), must_read(&violation.payload));
        }
        (expected, checked) => panic!("{text}: expected {expected:?}, but is {checked:?}"),
    }
}

fn check_refusal(expected: &Refusal, code: Code, field: Option<&str>) {
    assert_eq!(expected.code, code);
    if expected.field.is_some() {
        assert_eq!(expected.field.as_deref(), field);
    }
}

fn check_malformed(malformed: &Malformed, text: &str) {
    assert!(!malformed.message.is_empty());
    assert!(malformed.offset.is_none_or(|offset| offset <= text.len()));
}

fn check_counts(scan: &Scan) {
    assert_eq!(scan.count.min(scan.events.len()), scan.events.len());
    assert!(scan.events.len() <= EVENTS_MAX);
}
