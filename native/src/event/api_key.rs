//! Values that have the form of an API key. They are not stored.
#![forbid(unsafe_code)]

use crate::json::text::unescape;
use crate::json::value::{Kind, Value};
use std::borrow::Cow;

const PREFIX: &[u8] = b"fb1_";
const ID_CHARS: usize = 12;
/// The secret and the check characters.
const SECRET_CHARS: usize = 32 + 6;
const CHARS: usize = PREFIX.len() + ID_CHARS + 1 + SECRET_CHARS;

/// Whether *value* is text in the form of an API key, `fb1_<id>_<secret><check>`, or of
/// `<key>:<anything>`, which is accepted as that key.
#[must_use]
pub fn is_api_key(value: Value, body: &str) -> bool {
    match value.plain_bytes(body) {
        Some(plain) => has_form(plain),
        None if value.kind == Kind::Text => has_form(escaped_start(value, body).as_bytes()),
        None => false,
    }
}

fn has_form(text: &[u8]) -> bool {
    let key = match text.get(CHARS) {
        None => Some(text),
        Some(b':') => text.get(..CHARS),
        Some(_) => None,
    };
    let key = key.filter(|key| key.len() == CHARS);
    let Some(rest) = key.and_then(|key| key.strip_prefix(PREFIX)) else {
        return false;
    };
    let (id, secret) = rest.split_at(ID_CHARS);
    let is_base62 = |part: &[u8]| part.iter().all(u8::is_ascii_alphanumeric);
    is_base62(id) && secret.strip_prefix(b"_").is_some_and(is_base62)
}

/// The first characters of a text with escapes, as many as a key and a colon have: the rest of a
/// long text is not decoded.
fn escaped_start(value: Value, body: &str) -> Cow<'_, str> {
    let raw = value.raw(body).trim_matches('"');
    let mut end = 0;
    for _ in 0..=CHARS {
        end += match raw.as_bytes().get(end..) {
            Some([b'\\', b'u', ..]) => 6,
            Some([b'\\', _, ..]) => 2,
            Some([_, ..]) => 1,
            _ => 0,
        };
    }
    // Not at the end of a character: then the start is not ASCII, and not a key.
    raw.get(..end).map_or(Cow::Borrowed(""), unescape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::scanner::Scanner;
    use std::fmt::Write;

    const KEY: &str = "fb1_0123456789Ab_0123456789abcdefghijABCDEFGHIJ01234567";

    fn is_key(json: &str) -> bool {
        let value = Scanner::new(json).unwrap().value().unwrap();
        is_api_key(value, json)
    }

    #[test]
    fn a_key_is_found_in_every_spelling() {
        let mut escaped = String::new();
        for character in KEY.chars() {
            write!(escaped, "\\u{:04x}", u32::from(character)).unwrap();
        }

        assert!(is_key(&format!("\"{KEY}\"")));
        assert!(is_key(&format!("\"{}\"", KEY.replace('_', "\\u005f"))));
        assert!(is_key(&format!("\"{escaped}\"")));
    }

    #[test]
    fn a_key_with_a_colon_and_anything_behind_it_is_found() {
        for rest in [
            "",
            "x",
            "***",
            r"é\u00e9\ud83d\ude00",
            r#"\""#,
            &"x".repeat(999),
        ] {
            assert!(is_key(&format!("\"{KEY}:{rest}\"")), "{rest}");
            assert!(is_key(&format!(
                "\"{}\\u003a{rest}\"",
                KEY.replace('_', "\\u005f")
            )));
        }
    }

    #[test]
    fn other_values_are_not_keys() {
        for other in [
            String::new(),
            KEY[1..].to_owned(),
            KEY[..KEY.len() - 1].to_owned(),
            format!("{KEY}0"),
            format!("{KEY}0:"),
            format!("{KEY}é"),
            format!("{KEY}\\u003b"),
            format!("{}:", &KEY[..KEY.len() - 1]),
            KEY.replace("fb1", "fb2"),
            KEY.replace("9Ab_0", "9Ab00"),
            KEY.replace("fghij", "fgh.j"),
            KEY.replace("fghij", "fgh\u{e9}"),
        ] {
            assert!(!is_key(&format!("\"{other}\"")), "{other}");
        }
        assert!(!is_key(&format!("[\"{KEY}\"]")));
        assert!(!is_key("7"));
    }
}
