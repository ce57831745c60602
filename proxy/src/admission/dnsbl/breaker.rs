//! A list that does not answer must not cost each stranger its time-out.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whether a list is worth asking: after some failures in a row it is skipped, but for one query now and then.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Once there are too many failures: when to ask again.
    again_at: Option<Instant>,
}

/// What an outcome has changed.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    /// The list is skipped from now on.
    GivenUp,
    /// The list answers again.
    Back,
}

// === impl Breaker ===

impl Breaker {
    /// Whether this query may be made.
    pub(super) fn may_ask(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.again_at {
            None => true,
            Some(again_at) if now < again_at => false,
            // One finds out for all; should nobody hear of it, there is another after the next pause.
            Some(_) => {
                state.again_at = Some(later(now));
                true
            }
        }
    }

    /// Counts how a query went.
    pub(super) fn told(&self, has_answered: bool, now: Instant) -> Change {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if has_answered {
            state.failures = 0;
            return if state.again_at.take().is_some() { Change::Back } else { Change::Nothing };
        }
        state.failures = state.failures.saturating_add(1);
        if state.failures < FAILURES_MAX {
            return Change::Nothing;
        }
        if state.again_at.replace(later(now)).is_none() { Change::GivenUp } else { Change::Nothing }
    }
}

fn later(now: Instant) -> Instant {
    now.checked_add(PAUSE).unwrap_or(now)
}

/// A lost packet or two are no reason.
const FAILURES_MAX: u32 = 5;
/// One stranger a minute waits in vain.
pub(super) const PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_given_up_after_failures_in_a_row_and_tried_once_a_pause() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        for _ in 1..FAILURES_MAX {
            assert_eq!(breaker.told(false, start), Change::Nothing);
        }
        assert_eq!(breaker.told(true, start), Change::Nothing, "not in a row");
        for _ in 1..FAILURES_MAX {
            assert_eq!(breaker.told(false, start), Change::Nothing);
        }
        assert!(breaker.may_ask(start));
        assert_eq!(breaker.told(false, start), Change::GivenUp);
        assert_eq!(breaker.told(false, start), Change::Nothing, "one that was under way");
        assert!(!breaker.may_ask(start + PAUSE - Duration::from_secs(1)));
        let again = start + PAUSE;
        assert!(breaker.may_ask(again));
        assert!(!breaker.may_ask(again), "one query at a time");
        assert_eq!(breaker.told(false, again), Change::Nothing);
        assert!(!breaker.may_ask(again) && breaker.may_ask(again + PAUSE));
        assert_eq!(breaker.told(true, again + PAUSE), Change::Back);
        assert!(breaker.may_ask(again + PAUSE));
    }
}
