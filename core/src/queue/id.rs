//! The name of a queued mail: in the 250 reply, in `Received:`, in every log line.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

/// 64 bits: milliseconds since 1970 above a counter of 20 bits, so ids rise and never repeat, over restarts too. Shown
/// as 13 characters of Crockford's base 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u64);

/// The text is no queue id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a queue id (13 characters of Crockford's base 32)")]
pub struct InvalidQueueId;

/// Hands ids out. Every id is greater than all before it, even where the clock goes back.
#[derive(Debug)]
pub struct IdGenerator {
    last: AtomicU64,
}

// === impl QueueId ===

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;

        (0..CHARACTERS).rev().try_for_each(|place| {
            let digit = self.0.checked_shr(place.saturating_mul(BITS_PER_CHARACTER)).unwrap_or(0) & 0x1f;
            let symbol =
                usize::try_from(digit).ok().and_then(|digit| ALPHABET.get(digit)).copied().unwrap_or(b'0');
            f.write_char(char::from(symbol))
        })
    }
}

impl FromStr for QueueId {
    type Err = InvalidQueueId;

    /// Reads what `Display` writes. Lower case is taken too, and `I`, `L`, `O` as the digits they are mistaken for:
    /// an id is also typed from a paper.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != CHARACTERS as usize {
            return Err(InvalidQueueId);
        }
        let mut value = 0_u64;
        for octet in text.bytes() {
            let symbol = match octet.to_ascii_uppercase() {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                other => other,
            };
            let digit = ALPHABET.iter().position(|known| *known == symbol).ok_or(InvalidQueueId)?;
            let digit = u64::try_from(digit).map_err(|_| InvalidQueueId)?;
            if value.leading_zeros() < BITS_PER_CHARACTER {
                return Err(InvalidQueueId);
            }
            value = value.wrapping_shl(BITS_PER_CHARACTER) | digit;
        }
        Ok(Self(value))
    }
}

// === impl IdGenerator ===

impl IdGenerator {
    /// Starts above `floor`, the greatest id that may ever have been handed out.
    #[must_use]
    pub const fn above(floor: u64) -> Self {
        Self { last: AtomicU64::new(floor) }
    }

    /// The next id at `now_ms`, milliseconds since 1970.
    pub fn allocate(&self, now_ms: u64) -> QueueId {
        let by_clock = now_ms.wrapping_shl(COUNTER_BITS);
        let rise = |last: u64| last.saturating_add(1).max(by_clock);
        let previous = self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(rise(last)));
        QueueId(rise(previous.unwrap_or_else(|last| last)))
    }

    /// The greatest id handed out so far.
    #[must_use]
    pub fn greatest(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }
}

/// A million ids within one millisecond before an id runs ahead of the clock; 44 bits of milliseconds last until 2527.
const COUNTER_BITS: u32 = 20;
/// 13 x 5 = 65 bits hold 64.
const CHARACTERS: u32 = 13;
const BITS_PER_CHARACTER: u32 = 5;
/// Crockford's alphabet: no I, L, O, U. It sorts as the numbers do.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_reads_back_as_it_was_written(value: u64) {
            let text = QueueId(value).to_string();
            prop_assert_eq!(text.len(), 13);
            prop_assert_eq!(text.parse(), Ok(QueueId(value)));
            prop_assert_eq!(text.to_ascii_lowercase().parse(), Ok(QueueId(value)));
        }

        #[test]
        fn any_text_is_an_id_or_refused(text in "\\PC{0,16}") {
            if let Ok(id) = text.parse::<QueueId>() {
                prop_assert_eq!(id.to_string().parse(), Ok(id));
            }
        }
    }

    #[test]
    fn a_value_over_64_bits_is_refused() {
        assert_eq!("FZZZZZZZZZZZZ".parse(), Ok(QueueId(u64::MAX)));
        assert_eq!("G000000000000".parse::<QueueId>(), Err(InvalidQueueId));
    }

    #[test]
    fn ids_rise_when_the_clock_stands_still_or_goes_back() {
        let ids = IdGenerator::above(0);
        let first = ids.allocate(1_000);
        let second = ids.allocate(1_000);
        let third = ids.allocate(10);
        assert_eq!(first, QueueId(1_000 << 20));
        assert!(first < second && second < third);
    }

    #[test]
    fn ids_rise_over_a_restart() {
        let before = IdGenerator::above(0).allocate(2_000);
        assert!(IdGenerator::above(before.0).allocate(1_000) > before);
    }
}
