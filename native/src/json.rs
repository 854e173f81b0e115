//! The walk over a body's JSON: one pass, no recursion, every byte looked at by the strict grammar.
//!
//! What only the grammar forbids is a `Fault` and ends the walk. What the grammar allows and
//! `PostgreSQL` does not is a `Trouble`, noted for the caller, who knows whose value it was.
#![forbid(unsafe_code)]

use crate::text::unescape;
use crate::violation::{Code, EVENT_LEVELS_MAX, Malformed, Trouble, TroubleKind};
use std::borrow::Cow;
use std::ops::Range;

/// Levels of the whole body: no honest event is near it, and the walk's own stack has this size.
pub const BODY_LEVELS_MAX: usize = 1_024;

const WORD_BITS: usize = u64::BITS as usize;

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

/// Where a value stands in the body, and what it is. Small: it travels in two registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    start: u32,
    end: u32,
    pub kind: Kind,
    /// Text with at least one escape.
    pub is_escaped: bool,
    pub has_trouble: bool,
}

impl Value {
    #[must_use]
    pub fn raw<'a>(&self, body: &'a str) -> &'a str {
        body.get(self.span()).unwrap_or_default()
    }

    #[must_use]
    pub const fn span(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The text of a text, decoded; of anything else its bytes as they stand.
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

    /// What stands between the brackets or quotes.
    fn inner<'a>(&self, body: &'a str) -> &'a str {
        let span = self.span();
        body.get(span.start + 1..span.end.saturating_sub(1))
            .unwrap_or_default()
    }

    /// A text of no characters. (An escape is never none.)
    #[must_use]
    pub const fn is_empty_text(&self) -> bool {
        matches!(self.kind, Kind::Text) && self.end - self.start == 2
    }

    /// The text of a text that can be stored.
    #[must_use]
    pub fn kept_text(&self, body: &str) -> Option<String> {
        (self.kind == Kind::Text && !self.has_trouble).then(|| self.text(body).into_owned())
    }
}

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

/// The position in a body, and the containers that are open there.
#[derive(Debug)]
pub struct Scanner<'a> {
    pub body: &'a str,
    pub(crate) bytes: &'a [u8],
    pub(crate) position: usize,
    pub(crate) trouble: Option<Trouble>,
    /// Deeper levels than this are trouble: an event's limit, counted from the body.
    deepest: usize,
    level: usize,
    /// The innermost container is an object; a bit for each one around it.
    is_object: bool,
    is_object_at: [u64; BODY_LEVELS_MAX / WORD_BITS],
    /// The innermost container was just opened, and holds nothing yet.
    is_fresh: bool,
}

impl<'a> Scanner<'a> {
    /// None for a body whose places do not fit 32 bits.
    #[must_use]
    pub fn new(body: &'a str) -> Option<Self> {
        u32::try_from(body.len()).ok()?;
        Some(Self {
            body,
            bytes: body.as_bytes(),
            position: 0,
            trouble: None,
            deepest: EVENT_LEVELS_MAX,
            level: 0,
            is_object: false,
            is_object_at: [0; BODY_LEVELS_MAX / WORD_BITS],
            is_fresh: false,
        })
    }

    /// The next event's levels count from the container that is open now.
    pub const fn count_levels_from_here(&mut self) {
        self.deepest = self.level + EVENT_LEVELS_MAX;
    }

    /// The levels count from the body again.
    pub const fn count_levels_from_body(&mut self) {
        self.deepest = EVENT_LEVELS_MAX;
    }

    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }

    /// The first trouble in the name or value that was read last.
    #[must_use]
    pub const fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// The byte at the position; 0, which no token begins with, at the end.
    #[inline]
    #[must_use]
    pub fn peek(&self) -> u8 {
        self.bytes.get(self.position).copied().unwrap_or(0)
    }

    #[inline]
    pub fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.position += 1;
        }
    }

    /// # Errors
    /// When anything but white space follows.
    pub fn end(&mut self) -> Result<(), Fault> {
        self.skip_space();
        if self.position < self.bytes.len() {
            return Err(self.fault(Expected::End));
        }
        Ok(())
    }

    /// Steps into the object or array that begins here.
    ///
    /// # Errors
    /// When there are too many levels to keep.
    pub fn open(&mut self) -> Result<(), Fault> {
        if self.level == BODY_LEVELS_MAX {
            return Err(self.fault(Expected::FewerLevels));
        }
        self.is_object = self.peek() == b'{';
        let bit = 1 << (self.level % WORD_BITS);
        if let Some(word) = self.is_object_at.get_mut(self.level / WORD_BITS) {
            *word = if self.is_object {
                *word | bit
            } else {
                *word & !bit
            };
        }
        self.level += 1;
        self.position += 1;
        self.is_fresh = true;
        if self.level > self.deepest {
            self.note(TroubleKind::Depth, self.position - 1);
        }
        Ok(())
    }

    fn close(&mut self) {
        self.position += 1;
        self.is_fresh = false;
        self.level -= 1;
        let outer = self.level.wrapping_sub(1);
        self.is_object = self
            .is_object_at
            .get(outer / WORD_BITS)
            .is_some_and(|word| word & (1 << (outer % WORD_BITS)) != 0);
    }

    /// The name of the open object's next member, or none after the last: then the object is closed.
    ///
    /// # Errors
    /// When neither is there.
    pub fn next_name(&mut self) -> Result<Option<Value>, Fault> {
        self.trouble = None;
        if !self.has_next()? {
            return Ok(None);
        }
        self.name().map(Some)
    }

    /// Whether the open container holds one more; if not, it is closed.
    ///
    /// # Errors
    /// When neither a comma nor the closing bracket is there.
    pub fn has_next(&mut self) -> Result<bool, Fault> {
        self.skip_space();
        let is_first = std::mem::replace(&mut self.is_fresh, false);
        match self.peek() {
            b'}' if self.is_object => self.close(),
            b']' if !self.is_object => self.close(),
            _ if is_first => return Ok(true),
            b',' => {
                self.position += 1;
                return Ok(true);
            }
            _ => return Err(self.unclosed()),
        }
        Ok(false)
    }

    /// A member's name and its colon.
    fn name(&mut self) -> Result<Value, Fault> {
        self.skip_space();
        let start = self.offset();
        if self.peek() != b'"' {
            return Err(self.fault(Expected::Name));
        }
        let is_escaped = self.string()?;
        let end = self.offset();
        self.skip_space();
        if self.peek() != b':' {
            return Err(self.fault(Expected::Colon));
        }
        self.position += 1;
        Ok(Value {
            start,
            end,
            kind: Kind::Text,
            is_escaped,
            has_trouble: self.trouble.is_some(),
        })
    }

    /// One whole value, whatever it holds.
    ///
    /// # Errors
    /// Where it breaks the grammar.
    pub fn value(&mut self) -> Result<Value, Fault> {
        self.skip_space();
        self.trouble = None;
        let start = self.offset();
        let mut is_escaped = false;
        let kind = match self.peek() {
            b'"' => {
                is_escaped = self.string()?;
                Kind::Text
            }
            b'{' => self.container().map(|()| Kind::Object)?,
            b'[' => self.container().map(|()| Kind::Array)?,
            _ => self.scalar()?,
        };
        Ok(Value {
            start,
            end: self.offset(),
            kind,
            is_escaped,
            has_trouble: self.trouble.is_some(),
        })
    }

    /// Everything up to the bracket that closes the container that begins here.
    fn container(&mut self) -> Result<(), Fault> {
        let outside = self.level;
        self.open()?;
        while self.level > outside {
            if !self.has_next()? {
                continue;
            }
            if self.is_object {
                self.name()?;
            }
            self.skip_space();
            match self.peek() {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => self.open()?,
                _ => {
                    self.scalar()?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn note(&mut self, kind: TroubleKind, start: usize) {
        let end = self.position;
        self.trouble.get_or_insert(Trouble { kind, start, end });
    }

    #[cold]
    pub(crate) const fn fault(&self, expected: Expected) -> Fault {
        Fault {
            offset: self.offset(),
            expected,
        }
    }

    const fn unclosed(&self) -> Fault {
        self.fault(if self.is_object {
            Expected::CommaOrBrace
        } else {
            Expected::CommaOrBracket
        })
    }

    /// The position, for which `new` has seen to it that it fits.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "no longer body comes this far"
    )]
    const fn offset(&self) -> u32 {
        self.position as u32
    }
}
