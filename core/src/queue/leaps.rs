//! By how much the wall clock was set while messages waited, so that their ages are not counted by it.

use super::QueueId;

/// What was seen of it since the start.
#[derive(Debug, Default)]
pub(super) struct Leaps(Vec<Leap>);

/// One setting of the clock.
#[derive(Debug, Clone, Copy)]
struct Leap {
    /// The last message before it: ids rise, whatever the clock does.
    last: QueueId,
    /// Where the clock stands since then, beside where it would.
    by_ms: i64,
}

// === impl Leaps ===

impl Leaps {
    /// The clock was set by so much; `last` is the greatest id that was handed out until then.
    pub(super) fn note(&mut self, last: QueueId, by_ms: i64) {
        if self.0.len() >= LEAPS_MAX {
            self.0.remove(0);
        }
        self.0.push(Leap { last, by_ms });
    }

    /// When a message was received, had the clock always been set as it is now.
    pub(super) fn since_ms(&self, id: QueueId, received_at_ms: u64) -> u64 {
        let waited_for = self.0.iter().filter(|leap| id <= leap.last);
        waited_for.fold(received_at_ms, |at_ms, leap| at_ms.saturating_add_signed(leap.by_ms))
    }
}

/// A clock that is set more often than this is a case for its owner; of the oldest, messages then feel the whole.
const LEAPS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_follows_the_clock_as_it_was_set_behind_it_and_no_other() {
        let mut leaps = Leaps::default();
        leaps.note(QueueId(10), 5_000_000);
        leaps.note(QueueId(20), -5_000_000);
        for (id, received_at_ms, since_ms) in [
            // Accepted before, between and behind.
            (10, 1_000_000, 1_000_000),
            (11, 6_000_000, 1_000_000),
            (21, 1_000_000, 1_000_000),
        ] {
            assert_eq!(leaps.since_ms(QueueId(id), received_at_ms), since_ms, "{id}");
        }
    }

    #[test]
    fn a_clock_that_is_set_without_end_takes_no_memory_without_end() {
        let mut leaps = Leaps::default();
        for id in 0..10_000 {
            leaps.note(QueueId(id), 60_000);
        }
        assert_eq!(leaps.0.len(), LEAPS_MAX);
        assert_eq!(leaps.since_ms(QueueId(9_999), 0), 60_000);
    }
}
