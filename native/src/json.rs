//! The walk over a body's JSON: one pass, no recursion, every byte looked at by the strict grammar.
//!
//! What only the grammar forbids is a `Fault` and ends the walk. What the grammar allows and
//! `PostgreSQL` does not is a `Trouble`, noted for the caller, who knows whose value it was.
//!
//! Inside, the place in the body is handed from step to step and not kept in the scanner: in
//! memory it would be written and read again for every token, and each would wait for the last.
#![forbid(unsafe_code)]

use crate::digest::{self, Digest};
use crate::fault::{Expected, Fault};
use crate::value::{Kind, Value};
use crate::violation::{EVENT_LEVELS_MAX, Trouble, TroubleKind};

/// Levels of the whole body: no honest event is near it, and the walk's own stack has this size.
pub const BODY_LEVELS_MAX: usize = 1_024;

const WORD_BITS: usize = u64::BITS as usize;

/// The position in a body, and the containers that are open there.
#[derive(Debug)]
pub struct Scanner<'a> {
    pub body: &'a str,
    pub(crate) bytes: &'a [u8],
    position: usize,
    trouble: Option<Trouble>,
    /// Deeper levels than this are trouble: an event's limit, counted from the body.
    deepest: usize,
    level: usize,
    /// The innermost container is an object; a bit for each one around it.
    is_object: bool,
    is_object_at: [u64; BODY_LEVELS_MAX / WORD_BITS],
    /// The innermost container was just opened, and holds nothing yet.
    is_fresh: bool,
    open: Digest,
    /// The digest of the object or array that was read last.
    container: u64,
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
            open: Digest::default(),
            container: 0,
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

    /// The digest of *value*, which was read last.
    #[must_use]
    pub fn digest(&self, value: Value) -> u64 {
        match value.kind {
            Kind::Object | Kind::Array => self.container,
            Kind::Text => {
                self.text_digest(value.start as usize, value.end as usize, value.is_escaped)
            }
            _ => digest::scalar(value.raw_bytes(self.body)),
        }
    }

    #[inline]
    fn text_digest(&self, start: usize, end: usize, is_escaped: bool) -> u64 {
        digest::text(
            self.bytes.get(start + 1..end - 1).unwrap_or_default(),
            is_escaped,
        )
    }

    /// Steps over white space; the byte that follows, or 0, with which no token begins.
    pub fn skip_space(&mut self) -> u8 {
        self.position = self.space(self.position);
        self.byte(self.position)
    }

    /// # Errors
    /// When anything but white space follows.
    pub fn end(&mut self) -> Result<(), Fault> {
        self.skip_space();
        if self.position < self.bytes.len() {
            return Err(fault(self.position, Expected::End));
        }
        Ok(())
    }

    /// Steps into the object or array that begins here.
    ///
    /// # Errors
    /// When there are too many levels to keep.
    pub fn open(&mut self) -> Result<(), Fault> {
        self.position = self.opened(self.position)?;
        Ok(())
    }

    /// Whether the open container holds one more; if not, it is closed.
    ///
    /// # Errors
    /// When neither a comma nor the closing bracket is there.
    pub fn has_next(&mut self) -> Result<bool, Fault> {
        let (after, has_next) = self.next(self.position)?;
        self.position = after;
        Ok(has_next)
    }

    /// The name of the open object's next member, or none after the last: then the object is closed.
    ///
    /// # Errors
    /// When neither is there.
    #[expect(
        clippy::inline_always,
        reason = "its result in registers: a fifth of the walk"
    )]
    #[inline(always)]
    pub fn next_name(&mut self) -> Result<Option<Value>, Fault> {
        self.trouble = None;
        let (start, has_next) = self.next(self.position)?;
        if !has_next {
            self.position = start;
            return Ok(None);
        }
        let start = self.space(start);
        let (end, is_escaped) = self.name(start)?;
        self.position = self.colon(end)?;
        Ok(Some(self.value_of(start, end, Kind::Text, is_escaped)))
    }

    /// One whole value, whatever it holds.
    ///
    /// # Errors
    /// Where it breaks the grammar.
    #[expect(
        clippy::inline_always,
        reason = "its result in registers: a fifth of the walk"
    )]
    #[inline(always)]
    pub fn value(&mut self) -> Result<Value, Fault> {
        self.trouble = None;
        let start = self.space(self.position);
        let mut is_escaped = false;
        let (end, kind) = match self.byte(start) {
            b'"' => {
                let end;
                (end, is_escaped) = self.string(start)?;
                (end, Kind::Text)
            }
            b'{' => (self.container(start)?, Kind::Object),
            b'[' => (self.container(start)?, Kind::Array),
            _ => self.scalar(start)?,
        };
        self.position = end;
        Ok(self.value_of(start, end, kind, is_escaped))
    }

    const fn value_of(&self, start: usize, end: usize, kind: Kind, is_escaped: bool) -> Value {
        Value {
            start: offset(start),
            end: offset(end),
            kind,
            is_escaped,
            has_trouble: self.trouble.is_some(),
        }
    }

    /// Everything up to the bracket that closes the container that begins at *at*.
    fn container(&mut self, at: usize) -> Result<usize, Fault> {
        let outside = self.level;
        let mut at = self.opened(at)?;
        self.open.open(self.is_object);
        loop {
            let was_object = self.is_object;
            let has_next;
            (at, has_next) = self.next(at)?;
            if !has_next {
                self.container = self.open.close(was_object);
                if self.level == outside {
                    return Ok(at);
                }
                self.open.value(self.container, self.is_object);
                continue;
            }
            at = self.space(at);
            if was_object {
                let (end, is_escaped) = self.name(at)?;
                self.open.name(self.text_digest(at, end, is_escaped));
                at = self.colon(end)?;
                at = self.space(at);
            }
            let start = at;
            let digest = match self.byte(at) {
                b'"' => {
                    let is_escaped;
                    (at, is_escaped) = self.string(start)?;
                    self.text_digest(start, at, is_escaped)
                }
                b'{' | b'[' => {
                    at = self.opened(start)?;
                    self.open.open(self.is_object);
                    continue;
                }
                _ => {
                    (at, _) = self.scalar(start)?;
                    digest::scalar(self.bytes.get(start..at).unwrap_or_default())
                }
            };
            self.open.value(digest, was_object);
        }
    }

    fn opened(&mut self, at: usize) -> Result<usize, Fault> {
        if self.level == BODY_LEVELS_MAX {
            return Err(fault(at, Expected::FewerLevels));
        }
        self.is_object = self.byte(at) == b'{';
        let bit = 1 << (self.level % WORD_BITS);
        if let Some(word) = self.is_object_at.get_mut(self.level / WORD_BITS) {
            *word = if self.is_object {
                *word | bit
            } else {
                *word & !bit
            };
        }
        self.level += 1;
        self.is_fresh = true;
        if self.level > self.deepest {
            self.note(TroubleKind::Depth, at, at + 1);
        }
        Ok(at + 1)
    }

    fn closed(&mut self) {
        self.is_fresh = false;
        self.level -= 1;
        let outer = self.level.wrapping_sub(1);
        self.is_object = self
            .is_object_at
            .get(outer / WORD_BITS)
            .is_some_and(|word| word & (1 << (outer % WORD_BITS)) != 0);
    }

    #[inline]
    fn next(&mut self, at: usize) -> Result<(usize, bool), Fault> {
        let at = self.space(at);
        let is_first = std::mem::replace(&mut self.is_fresh, false);
        match self.byte(at) {
            b'}' if self.is_object => self.closed(),
            b']' if !self.is_object => self.closed(),
            _ if is_first => return Ok((at, true)),
            b',' => return Ok((at + 1, true)),
            _ if self.is_object => return Err(fault(at, Expected::CommaOrBrace)),
            _ => return Err(fault(at, Expected::CommaOrBracket)),
        }
        Ok((at + 1, false))
    }

    #[inline]
    fn name(&mut self, at: usize) -> Result<(usize, bool), Fault> {
        if self.byte(at) != b'"' {
            return Err(fault(at, Expected::Name));
        }
        self.string(at)
    }

    #[inline]
    fn colon(&self, at: usize) -> Result<usize, Fault> {
        let at = self.space(at);
        if self.byte(at) != b':' {
            return Err(fault(at, Expected::Colon));
        }
        Ok(at + 1)
    }

    #[inline]
    pub(crate) fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    #[inline]
    fn space(&self, mut at: usize) -> usize {
        while matches!(self.byte(at), b' ' | b'\n' | b'\r' | b'\t') {
            at += 1;
        }
        at
    }

    #[cold]
    pub(crate) fn note(&mut self, kind: TroubleKind, start: usize, end: usize) {
        self.trouble.get_or_insert(Trouble { kind, start, end });
    }
}

#[cold]
pub(crate) const fn fault(at: usize, expected: Expected) -> Fault {
    Fault {
        offset: offset(at),
        expected,
    }
}

/// A place of the body, for which `new` has seen to it that it fits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "no longer body comes this far"
)]
const fn offset(at: usize) -> u32 {
    at as u32
}
