//! The short name of a refusal: in its reply, and in the event that explains it.

use std::fmt;
use std::str::FromStr;

/// Thirty bits, shown as six characters of Crockford's base 32: short enough to be read out on the telephone. Two
/// refusals may share one; among all that an event log holds at a time that hardly ever happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(u32);

/// The tokens of one session. They follow from the seed alone, so a session stays a function of what it is fed; the
/// seed comes from outside, where randomness is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    state: u64,
}

/// The text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token is six letters and digits, such as 7K3F9Q")]
pub struct NotAToken;

// === impl Tokens ===

impl Tokens {
    /// From a random number.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next one.
    pub fn draw(&mut self) -> Token {
        self.state = self.state.wrapping_add(WEYL_STEP);
        let mut mixed = self.state;
        for factor in MIX_FACTORS {
            mixed = (mixed ^ (mixed >> MIX_SHIFT)).wrapping_mul(factor);
        }
        // The upper bits are the best mixed; thirty of them always fit.
        Token(u32::try_from(mixed >> MIX_KEPT_SHIFT).unwrap_or_default())
    }
}

// === impl Token ===

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for digit in (0..DIGITS).rev() {
            let shift = digit.saturating_mul(DIGIT_BITS);
            // Five bits, so the lookup cannot miss.
            let index = usize::try_from((self.0 >> shift) & DIGIT_MASK).unwrap_or_default();
            let octet = ALPHABET.get(index).copied().unwrap_or(b'0');
            fmt::Write::write_char(f, char::from(octet))?;
        }
        Ok(())
    }
}

/// As people write it down: in either case, with `O` for 0 and `I` or `L` for 1, with or without the brackets of the
/// reply.
impl FromStr for Token {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let text = text.trim_start_matches('[').trim_end_matches(']');
        if text.len() != usize::try_from(DIGITS).unwrap_or_default() {
            return Err(NotAToken);
        }
        text.bytes()
            .try_fold(0, |value: u32, octet| {
                let digit = match octet.to_ascii_uppercase() {
                    b'O' => b'0',
                    b'I' | b'L' => b'1',
                    other => other,
                };
                let index = ALPHABET.iter().position(|known| *known == digit).ok_or(NotAToken)?;
                let index = u32::try_from(index).map_err(|_| NotAToken)?;
                Ok((value << DIGIT_BITS) | index)
            })
            .map(Self)
    }
}

const DIGITS: u32 = 6;
const DIGIT_BITS: u32 = 5;
const DIGIT_MASK: u32 = 0x1f;
/// Crockford's base 32: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// SplitMix64: a counter with a good mix. Tokens are names and no secrets, so no more is asked of it.
const WEYL_STEP: u64 = 0x9e37_79b9_7f4a_7c15;
const MIX_FACTORS: [u64; 2] = [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb];
const MIX_SHIFT: u32 = 29;
const MIX_KEPT_SHIFT: u32 = 34;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_reads_back_as_it_was_written(bits in 0_u32..1 << 30) {
            let token = Token(bits);
            let text = token.to_string();
            prop_assert_eq!(text.len(), 6);
            prop_assert_eq!(text.parse::<Token>(), Ok(token));
            prop_assert_eq!(format!("[{}]", text.to_lowercase()).parse::<Token>(), Ok(token));
        }

        #[test]
        fn what_is_no_token_is_refused(text in "\\PC*") {
            if let Ok(token) = text.parse::<Token>() {
                prop_assert!(token.0 < 1 << 30);
            }
        }
    }

    #[test]
    fn letters_that_are_misread_count_as_the_digits_they_look_like() {
        assert_eq!("OIL000".parse::<Token>(), "011000".parse());
        for wrong in ["", "12345", "1234567", "UUUUUU", "12 456", "[]"] {
            assert_eq!(wrong.parse::<Token>(), Err(NotAToken), "{wrong}");
        }
    }

    #[test]
    fn tokens_of_a_session_follow_from_its_seed_and_hardly_repeat() {
        let draw = |seed| {
            let mut tokens = Tokens::seeded(seed);
            (0..10_000).map(|_| tokens.draw()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        let distinct: HashSet<_> = draw(1).into_iter().chain(draw(2)).collect();
        assert!(distinct.len() > 19_980, "{}", distinct.len());
    }
}
