//! Request bodies made from any bytes, so that most inputs reach the rules and the rows.

use arbitrary::{Result, Unstructured};
use std::fmt::Write;

const NAMES: [&str; 36] = [
    "event_id",
    "messageId",
    "type",
    "event",
    "user_id",
    "userId",
    "anonymous_id",
    "anonymousId",
    "group_id",
    "groupId",
    "previous_id",
    "previousId",
    "name",
    "category",
    "timestamp",
    "original_timestamp",
    "originalTimestamp",
    "sent_at",
    "sentAt",
    "properties",
    "traits",
    "context",
    "writeKey",
    "integrations",
    "Type",
    "userid",
    "write_key",
    "api_key",
    "a",
    "b",
    "",
    "é",
    "a.b",
    "😀",
    "\u{7f}",
    "message_id",
];
const ENVELOPE_NAMES: [&str; 7] = [
    "context", "sentAt", "sent_at", "writeKey", "batch", "other", "é",
];
const TYPES: [&str; 8] = [
    "track", "identify", "page", "screen", "group", "alias", "Track", "",
];
const TEXTS: [&str; 23] = [
    "a",
    "b",
    "",
    "user-1",
    "7",
    "7e0",
    "Größe",
    "😀é",
    "\"",
    "\\",
    "\\u0000",
    "/",
    "a\nb\t",
    "\u{1}\u{1f}",
    "\u{7f}\u{85}",
    "\u{2028}",
    "\u{d7ff}\u{e000}\u{ffff}",
    "𐀀\u{10ffff}",
    "NaN",
    "null",
    "0123456789abcdef0123456789abcdef",
    "fb1_0123456789Ab_0123456789abcdefghijABCDEFGHIJ01234567",
    "event",
];
const TIMES: [&str; 29] = [
    "2026-03-01T12:00:00.000Z",
    "2026-02-28T23:59:59.999Z",
    "2026-03-01T13:00:00+01:00",
    "2026-03-01T11:30:00-0030",
    "2026-03-01 12:00",
    "20260301T120000Z",
    "2026-03-01 13:00:00 +0100",
    "2026-3-1T12:00:00Z",
    "2026-03-01T12:00:00.123456789Z",
    "2026-03-01",
    "2016-12-31T23:59:60Z",
    "1970-01-01T00:00:00.000Z",
    "1969-12-31T23:59:59Z",
    "9999-12-31T23:59:59.999Z",
    "9999-12-31T23:59:59-14:00",
    "2026-02-29T00:00:00.000Z",
    "2026-03-02T12:00:00.000Z",
    "2026-03-02T12:00:00.001Z",
    "2027-01-01",
    "2026-03-01T24:00:00.000Z",
    "soon",
    "",
    // Written as numbers.
    "1772366400",
    "1772280000.5",
    "1772366399999.1234567",
    "4102444800000",
    "177236640",
    "-1772366400",
    "1772366400e0",
];
const NUMBERS: [&str; 14] = [
    "0",
    "-0",
    "1",
    "7",
    "7e0",
    "-1E+2",
    "1.50e3",
    "0.0e-0",
    "1e308",
    "-2.5e-308",
    "1e309",
    "12345678901234567890123",
    "0.1000000000000000055511151231257827",
    "11111111111111111111111111111111111111111111111111111111111111111",
];
const SPACES: [&str; 8] = ["", "", "", "", " ", "\n\t", "\r ", "  "];
/// Tokens that only the core accepts, and text that no JSON has.
const ODD_TOKENS: [&str; 8] = [
    "NaN",
    "-Infinity",
    "\"\\ud83d\"",
    "\"\\u0000\"",
    "\"\\ud83d\\ude00\\/\\b\\f\"",
    "tru",
    "1,",
    "\"\u{1}\"",
];
const LEVELS_MAX: usize = 4;

/// A body: *input* itself if it begins with a brace, or one whose parts *input* chooses.
#[must_use]
pub fn body(input: &[u8]) -> Vec<u8> {
    if input.starts_with(b"{") {
        return input.to_vec();
    }
    let mut draft = Draft {
        choices: Unstructured::new(input),
        out: String::new(),
    };
    // When there are no choices left, the body is cut off, which is a case, too.
    let _ = draft.body();
    draft.out.into_bytes()
}

struct Draft<'a> {
    choices: Unstructured<'a>,
    out: String,
}

impl Draft<'_> {
    fn body(&mut self) -> Result<()> {
        if self.choices.ratio(1, 4)? {
            return self.event();
        }
        self.out.push('{');
        let before = self.choices.int_in_range(0..=1)?;
        self.envelope(before)?;
        self.out.push_str("\"batch\":[");
        for place in 0..self.choices.int_in_range(0..=5)? {
            self.comma(place)?;
            self.event()?;
        }
        self.out.push(']');
        for _ in 0..self.choices.int_in_range(0..=3)? {
            self.comma(1)?;
            self.envelope_member()?;
        }
        self.out.push('}');
        Ok(())
    }

    fn envelope(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            self.envelope_member()?;
            self.out.push(',');
        }
        Ok(())
    }

    fn envelope_member(&mut self) -> Result<()> {
        let name = self.chosen(&ENVELOPE_NAMES)?;
        self.text(name)?;
        self.colon()?;
        match name {
            "context" if !self.is_odd()? => self.object(1),
            "sentAt" | "sent_at" if !self.is_odd()? => self.time(),
            _ => self.value(1),
        }
    }

    fn event(&mut self) -> Result<()> {
        if self.is_odd()? {
            return self.value(1);
        }
        self.out.push('{');
        let count = self.choices.int_in_range(0..=7)?;
        let has_type = !self.is_odd()?;
        if has_type {
            self.out.push_str("\"type\":");
            let event_type = self.chosen(&TYPES)?;
            self.text(event_type)?;
        }
        for place in 0..count {
            self.comma(place + usize::from(has_type))?;
            self.member()?;
        }
        self.out.push('}');
        Ok(())
    }

    fn member(&mut self) -> Result<()> {
        let name = self.chosen(&NAMES)?;
        self.text(name)?;
        self.colon()?;
        if self.is_odd()? {
            return self.value(1);
        }
        match name {
            "type" => {
                let event_type = self.chosen(&TYPES)?;
                self.text(event_type)
            }
            "properties" | "traits" | "context" => self.object(1),
            "timestamp" | "original_timestamp" | "originalTimestamp" | "sent_at" | "sentAt" => {
                self.time()
            }
            "a" | "b" | "writeKey" | "integrations" => self.value(1),
            _ if name.ends_with("Id") || name.ends_with("_id") => self.id(),
            _ => self.any_text(),
        }
    }

    fn value(&mut self, level: usize) -> Result<()> {
        match self.choices.int_in_range(0..=9)? {
            0 => self.out.push_str("null"),
            1 => self.out.push_str("true"),
            2 => self.out.push_str("false"),
            3 | 4 => self.number()?,
            5 if self.is_odd()? => {
                let token = self.chosen(&ODD_TOKENS)?;
                self.out.push_str(token);
            }
            6 | 7 if level < LEVELS_MAX => self.object(level)?,
            8 | 9 if level < LEVELS_MAX => {
                self.out.push('[');
                for place in 0..self.choices.int_in_range(0..=4)? {
                    self.comma(place)?;
                    self.value(level + 1)?;
                }
                self.out.push(']');
            }
            _ => self.any_text()?,
        }
        Ok(())
    }

    fn object(&mut self, level: usize) -> Result<()> {
        self.out.push('{');
        self.space()?;
        for place in 0..self.choices.int_in_range(0..=4)? {
            self.comma(place)?;
            let name = self.chosen(&NAMES)?;
            self.text(name)?;
            self.colon()?;
            self.value(level + 1)?;
        }
        self.out.push('}');
        Ok(())
    }

    fn id(&mut self) -> Result<()> {
        if self.choices.ratio(1, 4)? {
            self.number()
        } else {
            self.any_text()
        }
    }

    fn number(&mut self) -> Result<()> {
        if self.choices.ratio(1, 4)? {
            let number: i64 = self.choices.arbitrary()?;
            self.out.push_str(&number.to_string());
        } else {
            let number = self.chosen(&NUMBERS)?;
            self.out.push_str(number);
        }
        Ok(())
    }

    fn time(&mut self) -> Result<()> {
        let time = self.chosen(&TIMES)?;
        if time.parse::<f64>().is_ok() {
            self.out.push_str(time);
            return Ok(());
        }
        self.text(time)
    }

    fn any_text(&mut self) -> Result<()> {
        if self.choices.ratio(1, 4)? {
            let text = self.choices.arbitrary::<&str>()?.to_owned();
            self.text(&text)
        } else if self.is_odd()? {
            let times = self.choices.int_in_range(198..=202)?;
            self.text(&"x".repeat(times))
        } else {
            let text = self.chosen(&TEXTS)?;
            self.text(text)
        }
    }

    /// Writes a string, with or without escapes that are not needed.
    fn text(&mut self, text: &str) -> Result<()> {
        if self.choices.ratio(1, 8)? {
            self.out.push('"');
            for unit in text.encode_utf16() {
                let _ = write!(self.out, "\\u{unit:04x}");
            }
            self.out.push('"');
        } else {
            self.out
                .push_str(&serde_json::Value::from(text).to_string());
        }
        Ok(())
    }

    fn comma(&mut self, place: usize) -> Result<()> {
        if place > 0 {
            self.out.push(',');
        }
        self.space()
    }

    fn colon(&mut self) -> Result<()> {
        self.space()?;
        self.out.push(':');
        self.space()
    }

    fn space(&mut self) -> Result<()> {
        let space = self.chosen(&SPACES)?;
        self.out.push_str(space);
        Ok(())
    }

    fn chosen(&mut self, all: &[&'static str]) -> Result<&'static str> {
        self.choices.choose(all).copied()
    }

    fn is_odd(&mut self) -> Result<bool> {
        self.choices.ratio(1, 12)
    }
}
