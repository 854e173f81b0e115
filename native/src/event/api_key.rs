//! Values that have the form of an API key. They are not stored.
#![forbid(unsafe_code)]

use crate::json::value::{Kind, Value};

const PREFIX: &[u8] = b"fb1_";
const ID_CHARS: usize = 12;
/// The secret and the check characters.
const SECRET_CHARS: usize = 32 + 6;
const CHARS: usize = PREFIX.len() + ID_CHARS + 1 + SECRET_CHARS;
/// The longest form in JSON: every character as an escape of six characters, between quotes.
const RAW_BYTES_MAX: usize = CHARS * 6 + 2;

/// Whether *value* is text in the form of an API key, `fb1_<id>_<secret><check>`.
#[must_use]
pub fn is_api_key(value: Value, body: &str) -> bool {
    if value.kind != Kind::Text || value.span().len() > RAW_BYTES_MAX {
        return false;
    }
    match value.plain_bytes(body) {
        Some(plain) => has_form(plain),
        None => has_form(value.text(body).as_bytes()),
    }
}

fn has_form(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(PREFIX).filter(|_| text.len() == CHARS) else {
        return false;
    };
    let (id, secret) = rest.split_at(ID_CHARS);
    let is_base62 = |part: &[u8]| part.iter().all(u8::is_ascii_alphanumeric);
    is_base62(id) && secret.strip_prefix(b"_").is_some_and(is_base62)
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
    fn other_values_are_not_keys() {
        for other in [
            String::new(),
            KEY[1..].to_owned(),
            KEY[..KEY.len() - 1].to_owned(),
            format!("{KEY}0"),
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
