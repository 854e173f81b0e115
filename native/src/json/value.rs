//! A value of the body: its kind and its position, without a copy.
#![forbid(unsafe_code)]

use super::text::unescape;
use std::borrow::Cow;
use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    Text,
    Number,
    Boolean,
    Null,
}

impl Kind {
    #[must_use]
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::Text => "text",
            Self::Number => "a number",
            Self::Boolean => "a boolean",
            Self::Null => "null",
        }
    }
}

/// The position and the kind of a value. It fits two registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    pub(super) start: u32,
    pub(super) end: u32,
    pub kind: Kind,
    /// Text with at least one escape.
    pub is_escaped: bool,
    pub is_unstorable: bool,
}

impl Value {
    #[must_use]
    pub fn raw<'a>(&self, body: &'a str) -> &'a str {
        body.get(self.span()).unwrap_or_default()
    }

    /// The same as bytes, without the check that it begins and ends at characters.
    #[must_use]
    pub fn raw_bytes<'a>(&self, body: &'a str) -> &'a [u8] {
        body.as_bytes().get(self.span()).unwrap_or_default()
    }

    /// The bytes between the quotes of a string without escapes; none for another value.
    #[must_use]
    pub fn plain_bytes<'a>(&self, body: &'a str) -> Option<&'a [u8]> {
        match self.raw_bytes(body) {
            [b'"', plain @ .., b'"'] if !self.is_escaped => Some(plain),
            _ => None,
        }
    }

    #[must_use]
    pub const fn span(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// A string decoded; another value as it is in the body.
    #[must_use]
    pub fn text<'a>(&self, body: &'a str) -> Cow<'a, str> {
        if self.kind != Kind::Text {
            return Cow::Borrowed(self.raw(body));
        }
        if self.is_escaped {
            unescape(self.inner(body))
        } else {
            Cow::Borrowed(self.inner(body))
        }
    }

    /// The text between the brackets or quotes.
    fn inner<'a>(&self, body: &'a str) -> &'a str {
        let span = self.span();
        body.get(span.start + 1..span.end.saturating_sub(1))
            .unwrap_or_default()
    }

    /// The text between the brackets of an object, without white space at its ends.
    #[must_use]
    pub fn members<'a>(&self, body: &'a str) -> &'a str {
        self.inner(body).trim_ascii()
    }

    /// Whether it is the empty string.
    #[must_use]
    pub const fn is_empty_text(&self) -> bool {
        matches!(self.kind, Kind::Text) && self.end - self.start == 2
    }

    /// A string decoded; none for another value, or one that cannot be stored.
    #[must_use]
    pub fn storable_text(&self, body: &str) -> Option<String> {
        (self.kind == Kind::Text && !self.is_unstorable).then(|| self.text(body).into_owned())
    }
}
