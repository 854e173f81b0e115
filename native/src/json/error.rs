//! Errors in JSON, and valid JSON that `PostgreSQL` cannot store.
#![forbid(unsafe_code)]

use super::text::excerpt;

/// Maximum nesting of the body: the size of the scanner's stack. Real events have far fewer levels.
pub const BODY_LEVELS_MAX: usize = 1_024;

/// Maximum nesting of one event. The event itself is level 1.
pub const EVENT_LEVELS_MAX: usize = 64;

/// Maximum length of a number in bytes. `PostgreSQL` stores longer numbers, but may return even
/// more digits.
pub const NUMBER_BYTES_MAX: usize = 64;

/// The largest exponent: that of a double. With a larger one, `PostgreSQL` could expand a few bytes
/// to 100,000 digits.
pub const EXPONENT_MAX: u32 = 308;

/// Digits that the exponents of one event may add: `PostgreSQL` returns `1e308` as 309 digits.
pub const EXPANDED_DIGITS_MAX: u32 = 16 * 1_024;

/// The position of an error in the JSON of the body, and the token that was expected there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonError {
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
            Self::Name => "a member name in double quotes",
            Self::Colon => "':'",
            Self::CommaOrBrace => "',' or '}'",
            Self::CommaOrBracket => "',' or ']'",
            Self::End => "the end of the body",
            Self::Digit => "a digit",
            Self::Quote => "'\"' at the end of a string",
            Self::Escape => "one of \" \\ / b f n r t u after a backslash",
            Self::EscapedControl => "an escape for the control character in a string",
            Self::HexDigits => "four hexadecimal digits after \\u",
            Self::FewerLevels => "fewer levels",
        }
    }
}

impl JsonError {
    /// The error at byte *at*. It fits 32 bits, because `Scanner::new` refuses longer bodies.
    #[cold]
    #[must_use]
    pub const fn new(at: usize, expected: Expected) -> Self {
        let offset = offset(at);
        Self { offset, expected }
    }

    #[must_use]
    pub fn message(self, body: &str) -> String {
        let at = self.offset as usize;
        if self.expected == Expected::FewerLevels {
            return format!("the body nests deeper than {BODY_LEVELS_MAX} levels at byte {at}");
        }
        let (expected, found) = (self.expected.phrase(), found(body, at));
        format!("the body is not JSON: expected {expected} at byte {at}, found {found}")
    }

    /// The limit that the body exceeds, if the error is a limit.
    #[must_use]
    pub fn limit(self) -> Option<usize> {
        (self.expected == Expected::FewerLevels).then_some(BODY_LEVELS_MAX)
    }
}

fn found(body: &str, offset: usize) -> String {
    match body.get(offset..).and_then(|rest| rest.chars().next()) {
        None => "the end of the body".to_owned(),
        Some(character @ ' '..='~') => format!("'{character}'"),
        // As a code point, because the character may be invisible.
        Some(character) => format!("U+{:04X}", u32::from(character)),
    }
}

/// Converts an offset in the body to 32 bits. It fits, because `Scanner::new` refuses longer
/// bodies.
#[expect(
    clippy::cast_possible_truncation,
    reason = "Scanner::new refuses longer bodies"
)]
pub(super) const fn offset(at: usize) -> u32 {
    at as u32
}

/// A part of the body that is valid JSON, but that `PostgreSQL` would refuse or change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnstorableJson {
    pub kind: UnstorableKind,
    pub start: usize,
    pub end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnstorableKind {
    Depth,
    NumberLength,
    NumberExponent,
    NumberExpansion,
    NumberName,
    Nul,
    Surrogate,
}

impl UnstorableJson {
    #[must_use]
    pub const fn limit(self) -> Option<usize> {
        match self.kind {
            UnstorableKind::Depth => Some(EVENT_LEVELS_MAX),
            UnstorableKind::NumberLength => Some(NUMBER_BYTES_MAX),
            UnstorableKind::NumberExponent => Some(EXPONENT_MAX as usize),
            UnstorableKind::NumberExpansion => Some(EXPANDED_DIGITS_MAX as usize),
            UnstorableKind::NumberName | UnstorableKind::Nul | UnstorableKind::Surrogate => None,
        }
    }

    /// The message for *field*, the member of *body* that contains this part.
    #[must_use]
    pub fn message(self, field: &str, body: &str) -> String {
        let token = excerpt(body.get(self.start..self.end).unwrap_or_default());
        match self.kind {
            UnstorableKind::Depth => {
                format!("{field} nests deeper than the {EVENT_LEVELS_MAX} levels of an event")
            }
            UnstorableKind::NumberLength => format!(
                "{field} holds a number of {} bytes; the limit is {NUMBER_BYTES_MAX}",
                self.end - self.start
            ),
            UnstorableKind::NumberExponent => format!(
                "{field} holds {token}, whose exponent is not within -{EXPONENT_MAX} to {EXPONENT_MAX}"
            ),
            UnstorableKind::NumberExpansion => format!(
                "{field} holds {token}; up to here, the exponents of the event stand for more than {EXPANDED_DIGITS_MAX} digits"
            ),
            UnstorableKind::NumberName => {
                format!("{field} holds {token}, which is not a JSON number")
            }
            UnstorableKind::Nul => {
                format!("{field} holds the escape {token}: text must not contain U+0000")
            }
            UnstorableKind::Surrogate => format!(
                "{field} holds the escape {token}, half of a surrogate pair without the other half"
            ),
        }
    }
}
