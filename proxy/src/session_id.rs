//! The name of a session: in every log line, in `Origin`, in the answer to "why was this mail refused?".

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Sixty bits: thirty drawn at random when the process starts, thirty counted. So ids of one run sort by time and those
/// of two runs hardly ever meet. Shown as 12 characters of Crockford's base 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

/// The text is no session id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a session id is twelve digits and capital letters")]
pub struct NotASessionId;

// === impl SessionId ===

impl SessionId {
    /// The next id of this process.
    #[must_use]
    pub fn next() -> Self {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        Self::compose(process_part(), COUNTER.fetch_add(1, Ordering::Relaxed))
    }

    /// As a number: unique in this process.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    const fn compose(process: u64, counter: u64) -> Self {
        Self(((process & COUNTER_MASK) << COUNTER_BITS) | (counter & COUNTER_MASK))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for digit in (0..DIGITS).rev() {
            let shift = digit.saturating_mul(DIGIT_BITS);
            // Five bits, so the lookup cannot miss.
            let index = usize::try_from((self.0 >> shift) & 0x1f).unwrap_or_default();
            let octet = ALPHABET.get(index).copied().unwrap_or(b'0');
            fmt::Write::write_char(f, char::from(octet))?;
        }
        Ok(())
    }
}

/// As `Display` writes it.
impl FromStr for SessionId {
    type Err = NotASessionId;

    fn from_str(text: &str) -> Result<Self, NotASessionId> {
        if text.len() != usize::try_from(DIGITS).unwrap_or_default() {
            return Err(NotASessionId);
        }
        let value = text.bytes().try_fold(0_u64, |value, octet| {
            let index = ALPHABET.iter().position(|known| *known == octet).ok_or(NotASessionId)?;
            let index = u64::try_from(index).map_err(|_| NotASessionId)?;
            Ok((value << DIGIT_BITS) | index)
        });
        value.map(Self)
    }
}

/// Without randomness the ids of two runs may meet; that costs a unique log line, never security.
fn process_part() -> u64 {
    static PROCESS: OnceLock<u64> = OnceLock::new();
    *PROCESS.get_or_init(|| getrandom::u64().unwrap_or_default())
}

const COUNTER_BITS: u32 = 30;
const COUNTER_MASK: u64 = (1 << COUNTER_BITS) - 1;
const DIGITS: u32 = 12;
const DIGIT_BITS: u32 = 5;
/// Crockford's base 32: no I, L, O, U, so an id survives being read out on the telephone.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_twelve_characters_of_base_32() {
        assert_eq!(SessionId::compose(0, 0).to_string(), "000000000000");
        assert_eq!(SessionId::compose(1, 31).to_string(), "00000100000Z");
        assert_eq!(SessionId::compose(u64::MAX, u64::MAX).to_string(), "ZZZZZZZZZZZZ");
    }

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        for id in [SessionId::compose(1, 31), SessionId::compose(u64::MAX, 7), SessionId::next()] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for wrong in ["", "00000100000z", "00000100000U", "0000010000000"] {
            assert_eq!(wrong.parse::<SessionId>(), Err(NotASessionId));
        }
    }

    #[test]
    fn ids_of_one_process_rise() {
        let (first, second) = (SessionId::next(), SessionId::next());
        assert!(second > first);
        assert!(second.to_string() > first.to_string());
    }
}
