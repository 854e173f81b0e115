//! Decodes JSON strings, and encodes them with as few escapes as possible.
#![forbid(unsafe_code)]

use std::borrow::Cow;

/// Maximum number of characters of a sender's text in a message.
const EXCERPT_CHARS: usize = 64;

/// Decodes the escapes of a string. *raw* is the string without its quotes, and must be valid JSON.
///
/// A lone surrogate, which the rules refuse, becomes U+FFFD.
#[must_use]
pub fn unescape(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, after)) = rest.split_once('\\') {
        text.push_str(plain);
        let mut escape = after.chars();
        match escape.next() {
            Some('u') => {
                let (character, remainder) = unicode_escape(escape.as_str());
                text.push(character);
                rest = remainder;
                continue;
            }
            Some('b') => text.push('\u{8}'),
            Some('f') => text.push('\u{c}'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some(itself) => text.push(itself),
            None => {}
        }
        rest = escape.as_str();
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// Decodes a `\u` escape. *digits* is the text after `\u`. Returns the character and the text after
/// the escape.
fn unicode_escape(digits: &str) -> (char, &str) {
    let Some((high, rest)) = code_unit(digits) else {
        return (char::REPLACEMENT_CHARACTER, "");
    };
    if let Some(character) = char::from_u32(high) {
        return (character, rest);
    }
    let pair = rest.strip_prefix("\\u").and_then(code_unit);
    if let Some((low @ 0xdc00..=0xdfff, after)) = pair
        && high < 0xdc00
    {
        let scalar = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        return (
            char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER),
            after,
        );
    }
    (char::REPLACEMENT_CHARACTER, rest)
}

fn code_unit(digits: &str) -> Option<(u32, &str)> {
    let (four, rest) = digits.split_at_checked(4)?;
    Some((u32::from_str_radix(four, 16).ok()?, rest))
}

/// Appends *text* as a JSON string. Only quotes, backslashes and control characters are escaped.
pub fn push_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => {
                out.extend_from_slice(if byte < 0x10 { b"\\u000" } else { b"\\u001" });
                let low = byte & 0x0f;
                out.push(if low < 10 {
                    b'0' + low
                } else {
                    b'a' + (low - 10)
                });
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// The first `EXCERPT_CHARS` characters of *text*, with an ellipsis if it is longer.
#[must_use]
pub fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quoted(text: &str) -> String {
        let mut out = Vec::new();
        push_quoted(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_escape_is_decoded() {
        for (raw, text) in [
            (r"plain", "plain"),
            (r#"\"\\\/"#, r#""\/"#),
            (r"\b\f\n\r\t", "\u{8}\u{c}\n\r\t"),
            (r"\u00e9 \u00E9", "é é"),
            (r"a\ud83d\ude00b", "a😀b"),
            (r"\ud83d", "\u{fffd}"),
            (r"\ude00\ud83d!", "\u{fffd}\u{fffd}!"),
            (r"\ud83d\u0041", "\u{fffd}A"),
            (r"\\u0000", r"\u0000"),
        ] {
            assert_eq!(text, unescape(raw), "{raw}");
        }
    }

    #[test]
    fn only_what_must_be_escaped_is() {
        assert_eq!(
            r#""\"\\/\b\f\n\r\t\u0001\u001fé😀""#,
            quoted("\"\\/\u{8}\u{c}\n\r\t\u{1}\u{1f}é😀")
        );
    }

    #[test]
    fn an_excerpt_ends_in_an_ellipsis() {
        assert_eq!("short", excerpt("short"));
        assert_eq!(format!("{}…", "é".repeat(64)), excerpt(&"é".repeat(65)));
    }

    proptest! {
        #[test]
        fn an_encoded_text_decodes_again(text: String) {
            let written = quoted(&text);

            prop_assert_eq!(&text, &serde_json::from_str::<String>(&written).unwrap());
            prop_assert_eq!(text, unescape(&written[1..written.len() - 1]));
        }

        #[test]
        fn other_escapes_decode_to_the_same_text(text: String) {
            let units: Vec<String> =
                text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            let escaped = units.concat();

            prop_assert_eq!(text, unescape(&escaped));
        }
    }
}
