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

/// Which of two lines a message stands in. It decides about the order alone: what becomes of the message does not depend on
/// it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lane {
    /// For mailboxes here, as far as is known.
    #[default]
    Local,
    /// For other servers alone.
    Remote,
}

/// The messages that wait for an attempt: two lines, which take turns, so that a long one does not hold up the other.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    local: Line,
    remote: Line,
    /// Whether the next one is taken from the remote ones.
    turn_of_remote: bool,
}

/// What is taken off by `remove` while it is due stays in line: whoever pops it compares the stage.
#[derive(Debug, Default)]
struct Line {
    /// Due now, first come, first served.
    due: VecDeque<QueueId>,
    /// Due later, in order of time (milliseconds since 1970).
    later: BTreeSet<(u64, QueueId)>,
    /// Whether the next one is taken from the later ones whose time has come.
    turn_of_later: bool,
}

/// A time at which a message is to be due, unless it was written while the clock was wrong: then it is due soon.
pub(super) fn believed(not_before_ms: u64, now_ms: u64) -> u64 {
    if not_before_ms > now_ms.saturating_add(PUT_OFF_MS_MAX) {
        now_ms.saturating_add(MISTIMED_MS)
    } else {
        not_before_ms
    }
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
    pub(super) fn put(&mut self, lane: Lane, not_before_ms: u64, id: QueueId, stage: Stage) {
        let line = self.line(lane);
        match stage {
            Stage::Due => line.due.push_back(id),
            Stage::Later => {
                line.later.insert((not_before_ms, id));
            }
            Stage::Claimed | Stage::Held => {}
        }
    }

    /// A message that was put so waits no more.
    pub(super) fn remove(&mut self, lane: Lane, not_before_ms: u64, id: QueueId, stage: Stage) {
        if stage == Stage::Later {
            self.line(lane).later.remove(&(not_before_ms, id));
        }
    }

    /// The next message that is due at `now_ms` in a lane that is open, and the stage that it was put in. The lanes take
    /// turns, and so do new mail and mail whose time has come: none holds up another.
    pub(super) fn pop(&mut self, now_ms: u64, is_open: impl Fn(Lane) -> bool) -> Option<(QueueId, Stage)> {
        self.turn_of_remote = !self.turn_of_remote;
        let lanes =
            if self.turn_of_remote { [Lane::Remote, Lane::Local] } else { [Lane::Local, Lane::Remote] };
        lanes.into_iter().filter(|lane| is_open(*lane)).find_map(|lane| self.line(lane).pop(now_ms))
    }

    /// When the next one of a lane that is open is due; 0: at once.
    pub(super) fn next_ms(&self, is_open: impl Fn(Lane) -> bool) -> Option<u64> {
        let lines = [(Lane::Local, &self.local), (Lane::Remote, &self.remote)];
        lines.into_iter().filter(|(lane, _)| is_open(*lane)).filter_map(|(_, line)| line.next_ms()).min()
    }

    /// All that wait for a time, taken off.
    pub(super) fn take_later(&mut self) -> Vec<QueueId> {
        let later = [&mut self.local, &mut self.remote].map(|line| std::mem::take(&mut line.later));
        later.into_iter().flatten().map(|(_, id)| id).collect()
    }

    const fn line(&mut self, lane: Lane) -> &mut Line {
        match lane {
            Lane::Local => &mut self.local,
            Lane::Remote => &mut self.remote,
        }
    }
}

// === impl Line ===

impl Line {
    fn pop(&mut self, now_ms: u64) -> Option<(QueueId, Stage)> {
        self.turn_of_later = !self.turn_of_later;
        let has_come = self.later.first().is_some_and(|(at, _)| *at <= now_ms);
        if has_come && (self.turn_of_later || self.due.is_empty()) {
            return self.later.pop_first().map(|(_, id)| (id, Stage::Later));
        }
        self.due.pop_front().map(|id| (id, Stage::Due))
    }

    fn next_ms(&self) -> Option<u64> {
        if self.due.is_empty() { self.later.first().map(|(at, _)| *at) } else { Some(0) }
    }
}

/// No schedule puts a mail off for longer.
const PUT_OFF_MS_MAX: u64 = 24 * 60 * 60 * 1_000;
/// A start has other things to do at once.
const MISTIMED_MS: u64 = 5 * 60 * 1_000;
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

    fn put(schedule: &mut Schedule, not_before_ms: u64, id: u64, stage: Stage) {
        schedule.put(Lane::Local, not_before_ms, QueueId(id), stage);
    }

    #[test]
    fn what_is_due_comes_in_order_of_time_and_not_before() {
        let mut schedule = Schedule::default();
        put(&mut schedule, 200, 1, Stage::Later);
        put(&mut schedule, 100, 2, Stage::Later);
        put(&mut schedule, 0, 3, Stage::Due);
        put(&mut schedule, 150, 4, Stage::Later);
        schedule.remove(Lane::Local, 150, QueueId(4), Stage::Later);
        let all = |_| true;
        assert_eq!(schedule.next_ms(all), Some(0));
        assert_eq!(schedule.pop(50, all), Some((QueueId(3), Stage::Due)));
        assert_eq!(schedule.pop(99, all), None);
        assert_eq!(schedule.next_ms(all), Some(100));
        assert_eq!(schedule.pop(300, all), Some((QueueId(2), Stage::Later)));
        assert_eq!(schedule.pop(300, all), Some((QueueId(1), Stage::Later)));
        assert_eq!(schedule.pop(300, all), None);
    }

    #[test]
    fn new_mail_does_not_hold_up_what_waited_nor_the_other_way_round() {
        let mut schedule = Schedule::default();
        for id in 0..10 {
            put(&mut schedule, 0, id, Stage::Due);
            put(&mut schedule, 100, 100 + id, Stage::Later);
        }
        let first: Vec<Stage> =
            (0..10).filter_map(|_| schedule.pop(100, |_| true)).map(|(_, stage)| stage).collect();
        assert_eq!(first.iter().filter(|stage| **stage == Stage::Later).count(), 5);
    }

    #[test]
    fn a_long_line_does_not_hold_up_a_short_one_and_a_closed_one_is_left_alone() {
        for (long, short) in [(Lane::Local, Lane::Remote), (Lane::Remote, Lane::Local)] {
            let mut schedule = Schedule::default();
            for id in 0..1_000 {
                schedule.put(long, 0, QueueId(id), Stage::Due);
                schedule.put(long, 100, QueueId(1_000 + id), Stage::Later);
            }
            schedule.put(short, 0, QueueId(5_000), Stage::Due);
            schedule.put(short, 100, QueueId(5_001), Stage::Later);
            let first: Vec<u64> =
                (0..4).filter_map(|_| schedule.pop(100, |_| true)).map(|(id, _)| id.0).collect();
            assert!(first.contains(&5_000) && first.contains(&5_001), "{first:?}");
            assert_eq!(schedule.next_ms(|lane| lane == short), None);
            assert_eq!(schedule.pop(100, |lane| lane == short), None);
            assert_eq!(schedule.next_ms(|lane| lane == long), Some(0));
            assert!(schedule.pop(100, |lane| lane == long).is_some());
        }
    }
}
