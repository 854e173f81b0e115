//! Finds a member of an object that has been scanned before.
#![forbid(unsafe_code)]

use super::scanner::Scanner;
use super::value::Value;

/// The value of the member *name* of *object*; of several, that of the last one, as in jsonb.
#[must_use]
pub fn member(object: Value, name: &str, body: &str) -> Option<Value> {
    let mut scanner = Scanner::new(body)?.at(object);
    let mut found = None;
    scanner.open().ok()?;
    while let Some(member) = scanner.next_name().ok()? {
        let value = scanner.value().ok()?;
        if member.text(body) == name {
            found = Some(value);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_by_its_name() {
        for (object, value) in [
            (r#"{"a":1}"#, Some("1")),
            (r#"{"b":{"a":1}, "a" : [ "a" ] }"#, Some(r#"[ "a" ]"#)),
            (r#"{"\u0061":"é"}"#, Some(r#""é""#)),
            (r#"{"a":1,"a":{"a":2}}"#, Some(r#"{"a":2}"#)),
            (r#"{"b":{"a":1}}"#, None),
            ("{ }", None),
            ("[]", None),
        ] {
            let body = format!("[ {object} , 7]");
            let mut scanner = Scanner::new(&body).unwrap();
            scanner.open().unwrap();
            let object = scanner.has_next().and_then(|_| scanner.value()).unwrap();
            let found = member(object, "a", &body);

            assert_eq!(
                value,
                found.as_ref().map(|found| found.raw(&body)),
                "{body}"
            );
        }
    }
}
