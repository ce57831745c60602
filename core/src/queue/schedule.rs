//! When a message is due.

use std::time::Duration;

/// Exponential delays between attempts: `first`, then twice as long each time, up to `longest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first attempt.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
}

// === impl Backoff ===

impl Backoff {
    /// How long to wait after `attempts` attempts in vain (at least 1).
    #[must_use]
    pub fn delay(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        self.first.saturating_mul(1_u32.wrapping_shl(doublings)).min(self.longest)
    }
}
