//! Reasons why an event or a body is refused, with a closed set of codes.
#![forbid(unsafe_code)]

use crate::json::error::{JsonError, UnstorableJson, UnstorableKind};

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

/// The reason why one event is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub code: Code,
    pub field: Option<String>,
    pub message: String,
    pub event_id: Option<String>,
    pub payload: Vec<u8>,
}

/// The reason why a whole body is refused.
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

/// An error in one member of an event or of the envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    pub code: Code,
    pub field: String,
    pub message: String,
}

impl Code {
    /// The code for JSON that cannot be stored.
    #[must_use]
    pub const fn of(unstorable: UnstorableJson) -> Self {
        match unstorable.kind {
            UnstorableKind::Depth => Self::TooDeep,
            UnstorableKind::NumberLength
            | UnstorableKind::NumberExponent
            | UnstorableKind::NumberExpansion
            | UnstorableKind::NumberName => Self::InvalidNumber,
            UnstorableKind::Nul | UnstorableKind::Surrogate => Self::InvalidText,
        }
    }
}

impl Malformed {
    #[must_use]
    pub fn new(error: JsonError, body: &str) -> Self {
        Self {
            code: Code::MalformedJson,
            field: None,
            message: error.message(body),
            offset: Some(error.offset as usize),
            limit: error.limit(),
            actual: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_sorted_and_unique() {
        let names = Code::ALL.map(Code::name);

        assert!(names.is_sorted_by(|left, right| left < right));
    }
}
