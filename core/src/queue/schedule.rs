//! When a message is due.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::QueueId;
use super::index::Stage;

/// Exponential delays between attempts: `first`, then twice as long each time, up to `longest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first attempt.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
}

/// The messages that wait for an attempt. What is taken off by `remove` while it is due stays in line: whoever pops it
/// compares the stage.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Due now, first come, first served.
    due: VecDeque<QueueId>,
    /// Due later, in order of time (milliseconds since 1970).
    later: BTreeSet<(u64, QueueId)>,
    /// Whether the next one is taken from the later ones whose time has come.
    turn_of_later: bool,
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
    /// Puts a message where its stage belongs.
    pub(super) fn put(&mut self, not_before_ms: u64, id: QueueId, stage: Stage) {
        match stage {
            Stage::Due => self.due.push_back(id),
            Stage::Later => {
                self.later.insert((not_before_ms, id));
            }
            Stage::Claimed | Stage::Held => {}
        }
    }

    /// A message that was put so waits no more.
    pub(super) fn remove(&mut self, not_before_ms: u64, id: QueueId, stage: Stage) {
        if stage == Stage::Later {
            self.later.remove(&(not_before_ms, id));
        }
    }

    /// The next message that is due at `now_ms`, and the stage that it was put in. New mail and mail whose time has come
    /// take turns: neither holds up the other.
    pub(super) fn pop(&mut self, now_ms: u64) -> Option<(QueueId, Stage)> {
        self.turn_of_later = !self.turn_of_later;
        let has_come = self.later.first().is_some_and(|(at, _)| *at <= now_ms);
        if has_come && (self.turn_of_later || self.due.is_empty()) {
            return self.later.pop_first().map(|(_, id)| (id, Stage::Later));
        }
        self.due.pop_front().map(|id| (id, Stage::Due))
    }

    /// When the next one is due; 0: at once.
    pub(super) fn next_ms(&self) -> Option<u64> {
        if self.due.is_empty() { self.later.first().map(|(at, _)| *at) } else { Some(0) }
    }

    /// All that wait for a time, taken off.
    pub(super) fn take_later(&mut self) -> Vec<QueueId> {
        std::mem::take(&mut self.later).into_iter().map(|(_, id)| id).collect()
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
        schedule.put(200, QueueId(1), Stage::Later);
        schedule.put(100, QueueId(2), Stage::Later);
        schedule.put(0, QueueId(3), Stage::Due);
        schedule.put(150, QueueId(4), Stage::Later);
        schedule.remove(150, QueueId(4), Stage::Later);
        assert_eq!(schedule.pop(50), Some((QueueId(3), Stage::Due)));
        assert_eq!(schedule.pop(99), None);
        assert_eq!(schedule.next_ms(), Some(100));
        assert_eq!(schedule.pop(300), Some((QueueId(2), Stage::Later)));
        assert_eq!(schedule.pop(300), Some((QueueId(1), Stage::Later)));
        assert_eq!(schedule.pop(300), None);
    }

    #[test]
    fn new_mail_does_not_hold_up_what_waited_nor_the_other_way_round() {
        let mut schedule = Schedule::default();
        for id in 0..10 {
            schedule.put(0, QueueId(id), Stage::Due);
            schedule.put(100, QueueId(100 + id), Stage::Later);
        }
        let first: Vec<Stage> = (0..10).filter_map(|_| schedule.pop(100)).map(|(_, stage)| stage).collect();
        assert_eq!(first.iter().filter(|stage| **stage == Stage::Later).count(), 5);
    }
}
