//! What may be wrong with an event or a body, in a closed set of codes.
#![forbid(unsafe_code)]

use crate::text::excerpt;

/// Levels that an event may nest, itself being the first.
pub const EVENT_LEVELS_MAX: usize = 64;

/// Bytes of a number's token. `PostgreSQL` stores far longer ones, and writes them out longer still.
pub const NUMBER_BYTES_MAX: usize = 64;

/// The exponents of a double; beyond them a few bytes of input are a hundred thousand of output.
pub const EXPONENT_MAX: u32 = 308;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    AmbiguousField,
    InvalidEvent,
    InvalidEventId,
    InvalidField,
    InvalidNumber,
    InvalidText,
    InvalidTimestamp,
    InvalidType,
    MalformedJson,
    MissingField,
    TooDeep,
}

impl Code {
    pub const ALL: [Self; 11] = [
        Self::AmbiguousField,
        Self::InvalidEvent,
        Self::InvalidEventId,
        Self::InvalidField,
        Self::InvalidNumber,
        Self::InvalidText,
        Self::InvalidTimestamp,
        Self::InvalidType,
        Self::MalformedJson,
        Self::MissingField,
        Self::TooDeep,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AmbiguousField => "ambiguous_field",
            Self::InvalidEvent => "invalid_event",
            Self::InvalidEventId => "invalid_event_id",
            Self::InvalidField => "invalid_field",
            Self::InvalidNumber => "invalid_number",
            Self::InvalidText => "invalid_text",
            Self::InvalidTimestamp => "invalid_timestamp",
            Self::InvalidType => "invalid_type",
            Self::MalformedJson => "malformed_json",
            Self::MissingField => "missing_field",
            Self::TooDeep => "too_deep",
        }
    }
}

/// Why one event is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub code: Code,
    pub field: Option<String>,
    pub message: String,
    pub event_id: Option<String>,
    pub payload: Vec<u8>,
}

/// Why the whole body is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    pub code: Code,
    pub field: Option<String>,
    pub message: String,
    pub offset: Option<usize>,
    pub limit: Option<usize>,
    pub actual: Option<Actual>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actual {
    Count(usize),
    Text(String),
}

/// What the rules found, before it is known whether an event or a whole body is refused for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    pub field: String,
    pub message: String,
}

/// JSON by the grammar, but nothing that `PostgreSQL` would take, or give back as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub kind: TroubleKind,
    pub start: usize,
    pub end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    Depth,
    NumberLength,
    NumberExponent,
    NumberName,
    Nul,
    Surrogate,
}

impl Trouble {
    #[must_use]
    pub const fn code(self) -> Code {
        match self.kind {
            TroubleKind::Depth => Code::TooDeep,
            TroubleKind::NumberLength | TroubleKind::NumberExponent | TroubleKind::NumberName => {
                Code::InvalidNumber
            }
            TroubleKind::Nul | TroubleKind::Surrogate => Code::InvalidText,
        }
    }

    #[must_use]
    pub const fn limit(self) -> Option<usize> {
        match self.kind {
            TroubleKind::Depth => Some(EVENT_LEVELS_MAX),
            TroubleKind::NumberLength => Some(NUMBER_BYTES_MAX),
            TroubleKind::NumberExponent => Some(EXPONENT_MAX as usize),
            TroubleKind::NumberName | TroubleKind::Nul | TroubleKind::Surrogate => None,
        }
    }

    /// One sentence about *subject*, the field of *text* that holds the trouble.
    #[must_use]
    pub fn message(self, subject: &str, text: &str) -> String {
        let token = excerpt(text.get(self.start..self.end).unwrap_or_default());
        match self.kind {
            TroubleKind::Depth => {
                format!("{subject} nests deeper than the {EVENT_LEVELS_MAX} levels of an event")
            }
            TroubleKind::NumberLength => format!(
                "{subject} holds a number of {} bytes, at most {NUMBER_BYTES_MAX} are taken",
                self.end - self.start
            ),
            TroubleKind::NumberExponent => format!(
                "{subject} holds {token}, whose exponent is not within -{EXPONENT_MAX} to {EXPONENT_MAX}"
            ),
            TroubleKind::NumberName => {
                format!("{subject} holds {token}, which is no JSON number")
            }
            TroubleKind::Nul => {
                format!("{subject} holds the escape {token}, and no text may contain U+0000")
            }
            TroubleKind::Surrogate => format!(
                "{subject} holds the escape {token}, half of a surrogate pair without the other half"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_codes_is_sorted_and_has_no_twins() {
        let names = Code::ALL.map(Code::name);

        assert!(names.is_sorted_by(|left, right| left < right));
    }
}
