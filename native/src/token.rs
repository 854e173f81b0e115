//! Texts, numbers and words: the tokens of JSON that hold no other values.
#![forbid(unsafe_code)]

use crate::json::{Expected, Fault, Kind, Scanner};
use crate::violation::{EXPONENT_MAX, NUMBER_BYTES_MAX, TroubleKind};

const WORD_BYTES: usize = size_of::<u64>();

/// One in every byte of a word.
const ONES: u64 = u64::from_ne_bytes([1; WORD_BYTES]);

/// The high bit of every byte.
const HIGHS: u64 = ONES << 7;

/// Sets the high bit of the first byte of *word* that ends a run of plain text: a quote, a
/// backslash or a control character. (A borrow may mark later bytes too; only the first counts.)
const fn interruptions(word: u64) -> u64 {
    let quotes = word ^ (ONES * b'"' as u64);
    let backslashes = word ^ (ONES * b'\\' as u64);
    ((quotes.wrapping_sub(ONES) & !quotes)
        | (backslashes.wrapping_sub(ONES) & !backslashes)
        | (word.wrapping_sub(ONES * 0x20) & !word))
        & HIGHS
}

impl Scanner<'_> {
    /// The text whose opening quote is here; whether it holds an escape.
    pub(crate) fn string(&mut self) -> Result<bool, Fault> {
        self.position += 1;
        let mut is_escaped = false;
        loop {
            self.skip_plain_text();
            match self.bytes.get(self.position) {
                Some(b'"') => {
                    self.position += 1;
                    return Ok(is_escaped);
                }
                Some(b'\\') => {
                    is_escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.fault(Expected::EscapedControl)),
                None => return Err(self.fault(Expected::Quote)),
            }
        }
    }

    #[inline]
    fn skip_plain_text(&mut self) {
        let mut position = self.position;
        let rest = self.bytes.get(position..).unwrap_or_default();
        let (words, _) = rest.as_chunks::<WORD_BYTES>();
        for word in words {
            let found = interruptions(u64::from_le_bytes(*word));
            if found != 0 {
                self.position = position + (found.trailing_zeros() / u8::BITS) as usize;
                return;
            }
            position += WORD_BYTES;
        }
        while !matches!(
            self.bytes.get(position),
            None | Some(0..0x20 | b'"' | b'\\')
        ) {
            position += 1;
        }
        self.position = position;
    }

    #[inline(never)] // texts without escapes are the rule, and shall not pay for its registers
    fn escape(&mut self) -> Result<(), Fault> {
        let start = self.position;
        self.position += 1;
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.position += 1,
            b'u' => {
                self.position += 1;
                let unit = self.code_unit()?;
                match unit {
                    0 => self.note(TroubleKind::Nul, start),
                    0xd800..0xdc00 if self.low_surrogate() => {}
                    0xd800..0xe000 => self.note(TroubleKind::Surrogate, start),
                    _ => {}
                }
            }
            _ => return Err(self.fault(Expected::Escape)),
        }
        Ok(())
    }

    fn code_unit(&mut self) -> Result<u32, Fault> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = char::from(self.peek())
                .to_digit(16)
                .ok_or_else(|| self.fault(Expected::HexDigits))?;
            unit = unit << 4 | digit;
            self.position += 1;
        }
        Ok(unit)
    }

    /// Steps over the second half of a surrogate pair, if that is what comes.
    fn low_surrogate(&mut self) -> bool {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let is_low = matches!(
            rest,
            [b'\\', b'u', b'd' | b'D', b'c'..=b'f' | b'C'..=b'F', third, fourth, ..]
                if third.is_ascii_hexdigit() && fourth.is_ascii_hexdigit()
        );
        if is_low {
            self.position += 6;
        }
        is_low
    }

    /// A number or a word.
    pub(crate) fn scalar(&mut self) -> Result<Kind, Fault> {
        let start = self.position;
        match self.peek() {
            b'-' | b'0'..=b'9' => self.number(),
            b't' if self.skip_word(b"true") => Ok(Kind::Boolean),
            b'f' if self.skip_word(b"false") => Ok(Kind::Boolean),
            b'n' if self.skip_word(b"null") => Ok(Kind::Null),
            // Python's json writes these; the event that holds them is refused, not the body.
            b'N' if self.skip_word(b"NaN") => Ok(self.no_number(start)),
            b'I' if self.skip_word(b"Infinity") => Ok(self.no_number(start)),
            _ => Err(self.fault(Expected::Value)),
        }
    }

    fn skip_word(&mut self, word: &[u8]) -> bool {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let is_here = rest.starts_with(word);
        if is_here {
            self.position += word.len();
        }
        is_here
    }

    fn no_number(&mut self, start: usize) -> Kind {
        self.note(TroubleKind::NumberName, start);
        Kind::Number
    }

    fn number(&mut self) -> Result<Kind, Fault> {
        let start = self.position;
        if self.peek() == b'-' {
            self.position += 1;
            if self.skip_word(b"Infinity") {
                return Ok(self.no_number(start));
            }
        }
        if self.peek() == b'0' {
            self.position += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.position += 1;
            self.digits()?;
        }
        let mut exponent = 0;
        if matches!(self.peek(), b'e' | b'E') {
            self.position += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.position += 1;
            }
            exponent = self.digits()?;
        }
        if self.position - start > NUMBER_BYTES_MAX {
            self.note(TroubleKind::NumberLength, start);
        } else if exponent > EXPONENT_MAX {
            self.note(TroubleKind::NumberExponent, start);
        }
        Ok(Kind::Number)
    }

    /// One digit or more; their value, as far as it fits.
    fn digits(&mut self) -> Result<u32, Fault> {
        if !self.peek().is_ascii_digit() {
            return Err(self.fault(Expected::Digit));
        }
        let mut value = 0_u32;
        while let digit @ b'0'..=b'9' = self.peek() {
            value = value
                .saturating_mul(10)
                .saturating_add(u32::from(digit - b'0'));
            self.position += 1;
        }
        Ok(value)
    }
}
