//! What the world's clock shows, and what it does beside one that nobody sets. Rooms that measure a stretch of time use
//! `Instant`; this is for what is kept and shown.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970. A clock that stands before that shows 0.
#[must_use]
pub fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    millis(since_epoch)
}

/// A stretch of time as times are kept; one that is too long for that is the longest.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// So long behind a time.
pub(crate) fn after(at_ms: u64, time: Duration) -> u64 {
    at_ms.saturating_add(millis(time))
}

/// The wall clock and one that nobody sets, read together.
#[derive(Debug)]
pub struct ClockWatch {
    wall_ms: u64,
    steady: Instant,
}

/// What the wall clock did beside the steady one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// An ordinary correction, or nothing.
    Little,
    /// By so many milliseconds.
    Back(u64),
    /// By so many milliseconds; also where the machine slept.
    Ahead(u64),
}

/// The time by which something is removed for its age: that of the wall clock, but never ahead of what has passed since
/// this began. So a clock that is set ahead makes nothing old, and one that was wrong at the start can still be mended.
#[derive(Debug, Clone, Copy)]
pub struct Ages {
    since_ms: u64,
    since: Instant,
}

// === impl ClockWatch ===

impl ClockWatch {
    /// Begins to look.
    #[must_use]
    pub fn start() -> Self {
        Self { wall_ms: now_ms(), steady: Instant::now() }
    }

    /// The time, milliseconds since 1970, and what the clock did since the last look.
    pub fn look(&mut self) -> (u64, Moved) {
        let now = now_ms();
        (now, self.moved(now))
    }

    fn moved(&mut self, now_ms: u64) -> Moved {
        let expected = after(self.wall_ms, self.steady.elapsed());
        *self = Self { wall_ms: now_ms, steady: Instant::now() };
        let (back, ahead) = (expected.saturating_sub(now_ms), now_ms.saturating_sub(expected));
        if back > MOVED_MS_MIN {
            Moved::Back(back)
        } else if ahead > MOVED_MS_MIN {
            Moved::Ahead(ahead)
        } else {
            Moved::Little
        }
    }
}

// === impl Ages ===

impl Ages {
    /// From now on.
    #[must_use]
    pub fn start() -> Self {
        Self { since_ms: now_ms(), since: Instant::now() }
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        after(self.since_ms, self.since.elapsed()).min(now_ms())
    }
}

/// Ordinary corrections of the clock are smaller.
pub const MOVED_MS_MIN: u64 = 30_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_told_from_one_that_was_corrected() {
        let now = 1_800_000_000_000;
        let moved = |to| ClockWatch { wall_ms: now, steady: Instant::now() }.moved(to);
        for little in [now, now - 5_000, now + 5_000] {
            assert_eq!(moved(little), Moved::Little);
        }
        assert!(matches!(moved(now - 3_600_000), Moved::Back(3_600_000..3_700_000)));
        assert!(matches!(moved(now + 3_600_000), Moved::Ahead(3_500_000..=3_600_000)));
    }

    #[test]
    fn a_clock_that_was_set_ahead_makes_nothing_old_and_one_that_was_wrong_at_the_start_can_be_mended() {
        let now = now_ms();
        let set_ahead = Ages { since_ms: now - 1_000_000_000, since: Instant::now() };
        assert!(set_ahead.now_ms() < now - 900_000_000);
        let was_wrong = Ages { since_ms: now + 1_000_000_000, since: Instant::now() };
        assert!(was_wrong.now_ms() < now + 1_000_000);
    }
}
