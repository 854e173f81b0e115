//! Scans the tokens of JSON that contain no other values: strings, numbers, `true`, `false`,
//! `null`.
//!
//! Each function takes the start of the token and returns the position after it. The position is
//! not a field of the struct, because it would then be written to memory and read again for every
//! token.
#![forbid(unsafe_code)]

use super::error::{
    EXPANDED_DIGITS_MAX, EXPONENT_MAX, Expected, JsonError, NUMBER_BYTES_MAX, UnstorableJson,
    UnstorableKind,
};
use super::value::Kind;
use wide::u8x16;

/// The vector width that all supported processors have.
const BLOCK_BYTES: usize = size_of::<u8x16>();

/// The bits of the bytes in *block* that are a quote, a backslash or a control character.
#[inline]
fn interruptions(block: u8x16) -> u32 {
    let controls = block.cmp_eq(block.min(u8x16::splat(0x1f)));
    let quotes = block.cmp_eq(u8x16::splat(b'"'));
    let backslashes = block.cmp_eq(u8x16::splat(b'\\'));
    (controls | quotes | backslashes)
        .move_mask()
        .cast_unsigned()
}

/// The position of the first quote, backslash or control character from *at* on.
#[inline]
fn plain_text(bytes: &[u8], mut at: usize) -> usize {
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let found = interruptions(u8x16::new(*block));
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += BLOCK_BYTES;
    }
    last_plain_text(bytes, at)
}

/// The same for the end of the body, where less than a block is left.
#[cold]
fn last_plain_text(bytes: &[u8], mut at: usize) -> usize {
    while !matches!(bytes.get(at), None | Some(0..0x20 | b'"' | b'\\')) {
        at += 1;
    }
    at
}

/// The bytes of a body, read token by token.
#[derive(Debug)]
pub struct Tokens<'a> {
    pub(super) bytes: &'a [u8],
    /// The first unstorable part of the current name or value. The caller resets it.
    pub(super) unstorable: Option<UnstorableJson>,
    /// Digits that numbers with an exponent have when `PostgreSQL` writes them without it, in the
    /// current event or in the batch's context. The caller resets it.
    pub(super) expanded_digits: u32,
}

impl Tokens<'_> {
    /// The byte at *at*, or 0 after the end of the body. No token begins with the byte 0.
    #[inline]
    pub(super) fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    /// The first position from *at* on that is not white space.
    #[inline]
    pub(super) fn space(&self, mut at: usize) -> usize {
        while matches!(self.byte(at), b' ' | b'\n' | b'\r' | b'\t') {
            at += 1;
        }
        at
    }

    #[cold]
    pub(super) fn note(&mut self, kind: UnstorableKind, start: usize, end: usize) {
        self.unstorable
            .get_or_insert(UnstorableJson { kind, start, end });
    }

    /// Reads the string whose opening quote is at *at*. Returns the position after it, and whether
    /// it has an escape.
    #[inline]
    pub(super) fn string(&mut self, at: usize) -> Result<(usize, bool), JsonError> {
        let end = plain_text(self.bytes, at + 1);
        if self.byte(end) == b'"' {
            return Ok((end + 1, false));
        }
        self.rest_of_string(end)
    }

    #[inline(never)] // most strings have no escape, and are scanned faster if this is not inlined
    fn rest_of_string(&mut self, mut at: usize) -> Result<(usize, bool), JsonError> {
        let mut is_escaped = false;
        loop {
            match self.bytes.get(at) {
                Some(b'"') => return Ok((at + 1, is_escaped)),
                Some(b'\\') => {
                    is_escaped = true;
                    at = self.escape(at)?;
                }
                Some(_) => return Err(JsonError::new(at, Expected::EscapedControl)),
                None => return Err(JsonError::new(at, Expected::Quote)),
            }
            at = plain_text(self.bytes, at);
        }
    }

    fn escape(&mut self, start: usize) -> Result<usize, JsonError> {
        let at = start + 1;
        match self.byte(at) {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => return Ok(at + 1),
            b'u' => {}
            _ => return Err(JsonError::new(at, Expected::Escape)),
        }
        let unit = self.code_unit(at + 1)?;
        let end = at + 5;
        match unit {
            0 => self.note(UnstorableKind::Nul, start, end),
            0xd800..0xdc00 if self.has_low_surrogate(end) => return Ok(end + 6),
            0xd800..0xe000 => self.note(UnstorableKind::Surrogate, start, end),
            _ => {}
        }
        Ok(end)
    }

    fn code_unit(&self, at: usize) -> Result<u32, JsonError> {
        let mut unit = 0;
        for at in at..at + 4 {
            let digit = char::from(self.byte(at))
                .to_digit(16)
                .ok_or_else(|| JsonError::new(at, Expected::HexDigits))?;
            unit = unit << 4 | digit;
        }
        Ok(unit)
    }

    fn has_low_surrogate(&self, at: usize) -> bool {
        matches!(
            self.bytes.get(at..).unwrap_or_default(),
            [b'\\', b'u', b'd' | b'D', b'c'..=b'f' | b'C'..=b'F', third, fourth, ..]
                if third.is_ascii_hexdigit() && fourth.is_ascii_hexdigit()
        )
    }

    /// Reads a number, `true`, `false` or `null`.
    pub(super) fn scalar(&mut self, at: usize) -> Result<(usize, Kind), JsonError> {
        let (word, kind): (&[u8], _) = match self.byte(at) {
            b'-' if self.has_word(at + 1, b"Infinity") => (b"-Infinity", Kind::Number),
            b'-' | b'0'..=b'9' => return Ok((self.number(at)?, Kind::Number)),
            b't' => (b"true", Kind::Boolean),
            b'f' => (b"false", Kind::Boolean),
            b'n' => (b"null", Kind::Null),
            b'N' => (b"NaN", Kind::Number),
            b'I' => (b"Infinity", Kind::Number),
            _ => return Err(JsonError::new(at, Expected::Value)),
        };
        if !self.has_word(at, word) {
            return Err(JsonError::new(at, Expected::Value));
        }
        let end = at + word.len();
        if kind == Kind::Number {
            // Python's json module writes these words. Only the event is rejected, not the body.
            self.note(UnstorableKind::NumberName, at, end);
        }
        Ok((end, kind))
    }

    fn has_word(&self, at: usize, word: &[u8]) -> bool {
        self.bytes
            .get(at..)
            .is_some_and(|rest| rest.starts_with(word))
    }

    fn number(&mut self, start: usize) -> Result<usize, JsonError> {
        let mut at = start + usize::from(self.byte(start) == b'-');
        let mut exponent = 0;
        if self.byte(at) == b'0' {
            at += 1;
        } else {
            (at, _) = self.digits(at)?;
        }
        if self.byte(at) == b'.' {
            (at, _) = self.digits(at + 1)?;
        }
        if matches!(self.byte(at), b'e' | b'E') {
            at += 1;
            at += usize::from(matches!(self.byte(at), b'+' | b'-'));
            (at, exponent) = self.digits(at)?;
        }
        if at - start > NUMBER_BYTES_MAX {
            self.note(UnstorableKind::NumberLength, start, at);
        } else if exponent > 0 {
            self.expand(exponent, start, at);
        }
        Ok(at)
    }

    #[cold]
    fn expand(&mut self, exponent: u32, start: usize, end: usize) {
        self.expanded_digits = self.expanded_digits.saturating_add(exponent);
        if exponent > EXPONENT_MAX {
            self.note(UnstorableKind::NumberExponent, start, end);
        } else if self.expanded_digits > EXPANDED_DIGITS_MAX {
            self.note(UnstorableKind::NumberExpansion, start, end);
        }
    }

    /// Reads one or more digits. Returns the position after them, and their value, at most
    /// `u32::MAX`.
    fn digits(&self, start: usize) -> Result<(usize, u32), JsonError> {
        let mut at = start;
        let mut value = 0_u32;
        while let digit @ b'0'..=b'9' = self.byte(at) {
            value = value
                .saturating_mul(10)
                .saturating_add(u32::from(digit - b'0'));
            at += 1;
        }
        if at == start {
            return Err(JsonError::new(at, Expected::Digit));
        }
        Ok((at, value))
    }
}
