//! When a message is due.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::QueueId;

/// Exponential delays between attempts: `first`, then twice as long each time, up to `longest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first attempt.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
}

/// The messages that wait for an attempt.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Due now, first come, first served.
    due: VecDeque<QueueId>,
    /// Due later, in order of time (milliseconds since 1970).
    later: BTreeSet<(u64, QueueId)>,
}

// === impl Backoff ===

impl Backoff {
    /// How long to wait after `attempts` attempts in vain (at least 1).
    #[must_use]
    pub fn delay(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(DOUBLINGS_MAX);
        self.first.saturating_mul(1_u32.wrapping_shl(doublings)).min(self.longest)
    }
}

// === impl Schedule ===

impl Schedule {
    /// Makes a message due at a time; 0: at once.
    pub(super) fn put(&mut self, id: QueueId, not_before_ms: u64) {
        if not_before_ms == 0 {
            self.due.push_back(id);
        } else {
            self.later.insert((not_before_ms, id));
        }
    }

    /// The next message that is due at `now_ms`.
    pub(super) fn pop(&mut self, now_ms: u64) -> Option<QueueId> {
        while let Some((not_before_ms, id)) = self.later.first().copied().filter(|(at, _)| *at <= now_ms) {
            self.later.remove(&(not_before_ms, id));
            self.due.push_back(id);
        }
        self.due.pop_front()
    }

    /// When to look again, where nothing is due now.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.later.first().map(|(at, _)| *at)
    }
}

/// 2^31 times any delay is longer than any mail waits.
const DOUBLINGS_MAX: u32 = 31;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let backoff = Backoff { first: Duration::from_secs(60), longest: Duration::from_secs(600) };
        let delays: Vec<u64> =
            [0, 1, 2, 3, 4, 5, u32::MAX].map(|attempts| backoff.delay(attempts).as_secs()).into();
        assert_eq!(delays, [60, 60, 120, 240, 480, 600, 600]);
    }

    #[test]
    fn what_is_due_comes_in_order_of_time_and_not_before() {
        let mut schedule = Schedule::default();
        schedule.put(QueueId(1), 200);
        schedule.put(QueueId(2), 100);
        schedule.put(QueueId(3), 0);
        assert_eq!(schedule.pop(50), Some(QueueId(3)));
        assert_eq!(schedule.pop(99), None);
        assert_eq!(schedule.next_ms(), Some(100));
        assert_eq!(schedule.pop(300), Some(QueueId(2)));
        assert_eq!(schedule.pop(300), Some(QueueId(1)));
        assert_eq!(schedule.pop(300), None);
    }
}
