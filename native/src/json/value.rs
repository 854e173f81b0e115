//! The kind and the position of a value in the body.
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

/// The position and the kind of a value. Small enough for two registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    pub(super) start: u32,
    pub(super) end: u32,
    pub kind: Kind,
    /// True for text with at least one escape.
    pub is_escaped: bool,
    pub is_unstorable: bool,
}

impl Value {
    #[must_use]
    pub fn raw<'a>(&self, body: &'a str) -> &'a str {
        body.get(self.span()).unwrap_or_default()
    }

    /// The same as bytes, without a check for character boundaries.
    #[must_use]
    pub fn raw_bytes<'a>(&self, body: &'a str) -> &'a [u8] {
        body.as_bytes().get(self.span()).unwrap_or_default()
    }

    /// The bytes between the quotes of a string without escapes; `None` for other values.
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

    /// The decoded text of a string; other values as they are in the body.
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

    /// The value without its brackets or quotes.
    fn inner<'a>(&self, body: &'a str) -> &'a str {
        let span = self.span();
        body.get(span.start + 1..span.end.saturating_sub(1))
            .unwrap_or_default()
    }

    /// The members of an object or the elements of an array: the text without brackets, and without
    /// white space at both ends.
    #[must_use]
    pub fn members<'a>(&self, body: &'a str) -> &'a str {
        self.inner(body).trim_ascii()
    }

    /// Whether it is the empty string.
    #[must_use]
    pub const fn is_empty_text(&self) -> bool {
        matches!(self.kind, Kind::Text) && self.end - self.start == 2
    }

    /// Whether it is an array without elements.
    #[must_use]
    fn is_empty_array(&self, body: &str) -> bool {
        self.kind == Kind::Array && self.members(body).is_empty()
    }

    /// Whether it is stored as a document: an object, or an array without elements.
    #[must_use]
    pub fn is_document(&self, body: &str) -> bool {
        self.kind == Kind::Object || self.is_empty_array(body)
    }

    /// The decoded text of a string; `None` for other values and for text that cannot be stored.
    #[must_use]
    pub fn storable_text(&self, body: &str) -> Option<String> {
        (self.kind == Kind::Text && !self.is_unstorable).then(|| self.text(body).into_owned())
    }
}
