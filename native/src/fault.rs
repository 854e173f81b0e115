//! Where and why a body is not JSON.
#![forbid(unsafe_code)]

use crate::json::BODY_LEVELS_MAX;
use crate::violation::{Code, Malformed};

/// Where the body stops being JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub offset: u32,
    pub expected: Expected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Object,
    Value,
    Name,
    Colon,
    CommaOrBrace,
    CommaOrBracket,
    End,
    Digit,
    Quote,
    Escape,
    EscapedControl,
    HexDigits,
    FewerLevels,
}

impl Expected {
    const fn phrase(self) -> &'static str {
        match self {
            Self::Object => "'{'",
            Self::Value => "a JSON value",
            Self::Name => "a member's name in double quotes",
            Self::Colon => "':'",
            Self::CommaOrBrace => "',' or '}'",
            Self::CommaOrBracket => "',' or ']'",
            Self::End => "the end of the body",
            Self::Digit => "a digit",
            Self::Quote => "'\"' at the end of a text",
            Self::Escape => "one of \" \\ / b f n r t u after a backslash",
            Self::EscapedControl => "an escape for the control character in a text",
            Self::HexDigits => "four hexadecimal digits after \\u",
            Self::FewerLevels => "fewer levels",
        }
    }
}

impl Fault {
    #[must_use]
    pub fn malformed(self, body: &str) -> Malformed {
        let offset = self.offset as usize;
        let (message, limit) = if self.expected == Expected::FewerLevels {
            let message =
                format!("the body nests deeper than {BODY_LEVELS_MAX} levels at byte {offset}");
            (message, Some(BODY_LEVELS_MAX))
        } else {
            let (expected, found) = (self.expected.phrase(), found(body, offset));
            let message = format!(
                "the body is not JSON: expected {expected} at byte {offset}, found {found}"
            );
            (message, None)
        };
        Malformed {
            code: Code::MalformedJson,
            field: None,
            message,
            offset: Some(offset),
            limit,
            actual: None,
        }
    }
}

fn found(body: &str, offset: usize) -> String {
    match body.get(offset..).and_then(|rest| rest.chars().next()) {
        None => "the end of the body".to_owned(),
        Some(character @ ' '..='~') => format!("'{character}'"),
        // By its number: a message shall not hide what cannot be seen.
        Some(character) => format!("U+{:04X}", u32::from(character)),
    }
}
