//! 64 bits as 13 characters of 0-9a-z, in the order of the numbers.
#![forbid(unsafe_code)]

/// 36^13 is the first power of 36 above 2^64.
pub const DIGITS: usize = 13;

const RADIX: u64 = 36;

#[must_use]
pub fn encode(value: u64) -> String {
    let mut digits = [b'0'; DIGITS];
    let mut rest = value;
    for place in digits.iter_mut().rev() {
        *place = digit((rest % RADIX) as u8);
        rest /= RADIX;
    }
    digits.map(char::from).iter().collect()
}

/// The character of *value*, which is below 36.
#[must_use]
pub const fn digit(value: u8) -> u8 {
    match value {
        low @ 0..10 => b'0' + low,
        high => b'a' + (high - 10),
    }
}

/// The number that `encode` would write as *text*.
///
/// # Errors
/// A sentence that says what is wrong with *text*.
pub fn decode(text: &str) -> Result<u64, String> {
    let length = text.chars().count();
    if length != DIGITS {
        return Err(format!(
            "base36 text has {DIGITS} characters, this has {length}"
        ));
    }
    let mut value = 0_u64;
    for (position, digit) in text.chars().enumerate() {
        let number = match digit {
            '0'..='9' => u64::from(digit) - u64::from('0'),
            'a'..='z' => u64::from(digit) - u64::from('a') + 10,
            other => {
                return Err(format!(
                    "base36 text has only 0-9 and a-z, this has {other:?} at position {position}"
                ));
            }
        };
        value = value
            .checked_mul(RADIX)
            .and_then(|product| product.checked_add(number))
            .ok_or_else(|| {
                format!("base36 text ends at 3w5e11264sgsf, {text} is beyond 64 bits")
            })?;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ends_of_the_range_are_known() {
        assert_eq!("0000000000000", encode(0));
        assert_eq!("3w5e11264sgsf", encode(u64::MAX));
        assert_eq!(Ok(u64::MAX), decode("3w5e11264sgsf"));
    }

    #[test]
    fn text_that_is_no_number_is_refused_with_its_fault() {
        for (text, fault) in [
            ("", "has 0"),
            ("00000000000000", "has 14"),
            ("000000000000Z", "'Z' at position 12"),
            ("é000000000000", "'é' at position 0"),
            ("3w5e11264sgsg", "beyond 64 bits"),
            ("zzzzzzzzzzzzz", "beyond 64 bits"),
        ] {
            let message = decode(text).unwrap_err();

            assert!(message.contains(fault), "{message}");
        }
    }

    proptest! {
        #[test]
        fn every_number_comes_back(value: u64) {
            prop_assert_eq!(Ok(value), decode(&encode(value)));
        }

        #[test]
        fn text_sorts_as_the_numbers_do(left: u64, right: u64) {
            prop_assert_eq!(left.cmp(&right), encode(left).cmp(&encode(right)));
        }
    }
}
