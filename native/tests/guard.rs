//! Tests of the core with hostile input.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that fails by unwrap says where")]

use _native::event::envelope::{Scan, scan_batch, scan_event};
use _native::event::field::EventType;
use _native::event::violation::{Code, Malformed, Violation};
use _native::ids::{RowIds, SECRET_BYTES};
use _native::rows::content;
use _native::rows::payload::Rows;
use _native::rows::row::{self, Arrival, COLUMNS};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const NOON: i64 = 1_772_366_400_000_000; // 2026-03-01T12:00:00Z

const SEED: &str = r#"{"batch":[{"type":"track","event":"a\u00e9\n","userId":42,"messageId":"m",
 "properties":{"a":[1,-0.5e+3,true,null,{"b":"😀"}]},"context":{},"x":"y","writeKey":"k"},
 {"type":"identify","user_id":"u","traits":{"n":1E2}}],
 "sentAt":"2026-01-01T00:00:00Z","context":{"ip":"::1"},"writeKey":"k"}"#;

/// Scans any bytes, and checks that the result is complete.
fn scan_all(body: &[u8]) {
    for scanned in [scan_batch(body, 3), scan_event(body, EventType::Track)] {
        match scanned {
            Ok(scan) => check_rows(&scan, str::from_utf8(body).unwrap()),
            Err(malformed) => {
                assert!(!malformed.message.is_empty());
                assert!(malformed.offset.is_none_or(|offset| offset <= body.len()));
            }
        }
    }
}

/// Checks that each event has a complete row or a complete violation.
fn check_rows(scan: &Scan, body: &str) {
    let arrival = Arrival {
        tenant_id: 1,
        workspace_id: 1,
        request_id: 1,
        received_at: NOON,
        clock_skew_min: 0,
        schema_version: "1.0".to_owned(),
    };
    let mut ids = RowIds::new(1, [7; SECRET_BYTES]);
    let (rows, refused) = Rows::new(scan, body, &mut ids, arrival);
    assert_eq!(scan.events.len(), rows.rows.len() + refused.len());
    for row in &rows.rows {
        let content: Vec<Value> = serde_json::from_slice(rows.content(row)).unwrap();
        assert_eq!(content::names().len(), content.len());
        assert_eq!(COLUMNS.len(), row::columns(rows.bytes(row)).count());
    }
    for violation in refused.iter().map(|refused| &refused.violation) {
        assert!(!violation.message.is_empty() && !violation.payload.is_empty());
    }
}

/// The canonical content of an event, or the reason why it is refused.
fn one(event: &str) -> Result<String, Box<Violation>> {
    let body = format!(r#"{{"batch":[{event}]}}"#);
    let scan = scan_batch(body.as_bytes(), 1).unwrap();
    check_rows(&scan, &body);
    let event = scan
        .events
        .first()
        .unwrap()
        .as_ref()
        .map_err(Clone::clone)?;
    let mut content = Vec::new();
    content::push(&mut content, event, scan.unknown_of(event), &body);
    Ok(String::from_utf8(content).unwrap())
}

fn malformed(body: &str) -> Malformed {
    *scan_batch(body.as_bytes(), 50).unwrap_err()
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // eighths: any decoder reads them exactly
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 8.0)),
        ".{0,12}"
            .prop_filter("no NUL", |text| !text.contains('\0'))
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        let name = ".{0,6}".prop_filter("no NUL", |text: &String| !text.contains('\0'));
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..6)
                .prop_map(|members| Value::Object(Map::from_iter(members))),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body: Vec<u8>) {
        scan_all(&body);
    }

    #[test]
    fn no_json_like_text_makes_it_panic(body in r#"[{}\[\]",:\\u0-9a-fdD8e.+\-tN ]{0,80}"#) {
        scan_all(body.as_bytes());
    }

    #[test]
    fn no_damage_to_a_good_body_makes_it_panic(
        edits in prop::collection::vec((0..SEED.len(), any::<u8>()), 1..6),
        cut in 0..SEED.len(),
    ) {
        let mut body = SEED.as_bytes().to_vec();
        for (place, byte) in edits {
            body[place] = byte;
        }
        scan_all(&body);
        scan_all(&body[..cut]);
    }

    #[test]
    fn what_a_serializer_writes_is_accepted_and_stored(properties in any_json(), spaced: bool) {
        let event = json!({"type": "page", "properties": {"kept": properties.clone()}, "other": properties});
        let sent = if spaced {
            serde_json::to_string_pretty(&event).unwrap()
        } else {
            event.to_string()
        };
        let content: Value = serde_json::from_str(&one(&sent).unwrap()).unwrap();

        prop_assert_eq!(&event["properties"], &content[10]);
        prop_assert_eq!(&event["other"], &content.as_array().unwrap().last().unwrap()["other"]);
    }

    #[test]
    fn neither_spelling_nor_escapes_change_the_content(id in "[^\0]{1,20}", name in "[^\0]{1,20}") {
        let escaped = |text: &str| -> String {
            let units: Vec<_> = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            format!("\"{}\"", units.concat())
        };
        let (plain_id, plain_name) = (json!(id).to_string(), json!(name).to_string());
        let plain = one(&format!(
            r#"{{"type":"track","event":{plain_name},"user_id":{plain_id},"name":{plain_name}}}"#
        ));
        let other = one(&format!(
            r#"{{ "n\u0061me" : {}, "userId" : {}, "\u0065vent" : {}, "type" : "tr\u0061ck" }}"#,
            escaped(&name), escaped(&id), escaped(&name)
        ));

        prop_assert_eq!(plain.unwrap(), other.unwrap());
    }
}

#[test]
fn the_seed_of_the_mutations_is_a_valid_body() {
    let scan = scan_batch(SEED.as_bytes(), 50).unwrap();

    assert_eq!(2, scan.count);
    assert!(scan.events.iter().all(Result::is_ok));
    assert_eq!(Some("k"), scan.write_key.as_deref());
    assert_eq!(
        Some(r#"{"ip":"::1"}"#),
        scan.context.map(|context| context.raw(SEED))
    );
    assert_eq!(Some(1_767_225_600_000_000), scan.sent_at_us);
}

#[test]
fn the_content_has_a_fixed_order() {
    let event = one(r#"{"type":"alias","event":"","userId":7e0,"previousId":"p","x":1}"#).unwrap();

    assert!(event.starts_with(r#"["alias","","7e0",null,null,"p",null,null,"#));
    assert!(event.ends_with(r#",{"x":1}]"#));
}

#[test]
fn a_body_of_brackets_costs_neither_stack_nor_time() {
    for body in ["[", "{\"batch\":[", "{\"a\":"] {
        let refusal = malformed(&format!("{{\"batch\":[{}", body.repeat(200_000)));

        assert_eq!(Code::MalformedJson, refusal.code);
    }
}

#[test]
fn an_event_of_64_levels_is_accepted_and_one_of_65_is_refused_alone() {
    let event = |levels: usize| {
        let (open, close) = ("[".repeat(levels - 2), "]".repeat(levels - 2));
        format!(r#"{{"type":"page","properties":{{"a":{open}{close}}}}}"#)
    };
    let body = format!(r#"{{"batch":[{},{},{}]}}"#, event(64), event(65), event(64));
    let scan = scan_batch(body.as_bytes(), 50).unwrap();
    let violation = scan.events[1].as_ref().unwrap_err();

    assert!(scan.events[0].is_ok() && scan.events[2].is_ok());
    assert_eq!(Code::TooDeep, violation.code);
    assert_eq!(Some("properties".to_owned()), violation.field);
}

#[test]
fn the_body_may_nest_1024_levels_and_no_more() {
    let body = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(r#"{{"other":{open}{close},"batch":[]}}"#)
    };

    assert_eq!(Ok(Scan::default()), scan_batch(body(1_023).as_bytes(), 50));
    assert_eq!(Some(1_024), malformed(&body(1_024)).limit);
}

#[test]
fn many_unknown_members_are_compared_fast() {
    let members: Vec<String> = (0..50_000)
        .map(|number| format!("\"k{number}\":1"))
        .collect();
    let event = format!(r#"{{"type":"page",{}}}"#, members.join(","));
    let twice = event.replace("\"k49999\"", "\"k7\"");

    assert!(one(&event).is_ok());
    assert_eq!(Some("k7".to_owned()), one(&twice).unwrap_err().field);
}

#[test]
fn a_body_that_is_not_json_is_refused_before_what_is_missing_in_it() {
    assert_eq!(Code::MissingField, malformed("{}").code);
    assert_eq!(Code::InvalidField, malformed(r#"{"batch":{}}"#).code);
    assert_eq!(Code::MalformedJson, malformed(r#"{"batch":{}}x"#).code);
}
