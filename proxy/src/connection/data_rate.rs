//! Whether a body comes fast enough. Counts only the time in which we were ready to read: what our own disk or scanner
//! takes is not the peer's fault.

use std::time::Duration;

/// The pace of one body. Takes no clock: it is told how long we waited and what came.
#[derive(Debug)]
pub(super) struct DataRate {
    /// Waited since the start, up to `GRACE`.
    grace_used: Duration,
    /// Waited in this window.
    waited: Duration,
    /// Came in this window.
    octets: u64,
}

/// What follows.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    Fine,
    TooSlow,
}

// === impl DataRate ===

impl DataRate {
    /// At the start of a body.
    pub(super) const fn new() -> Self {
        Self { grace_used: Duration::ZERO, waited: Duration::ZERO, octets: 0 }
    }

    /// After a wait: so much came in that time. `per_second` is the least that is asked for.
    pub(super) fn record(&mut self, waited: Duration, octets: u64, per_second: u64) -> Pace {
        let grace_left = GRACE.saturating_sub(self.grace_used);
        self.grace_used = self.grace_used.saturating_add(waited.min(grace_left));
        let waited = waited.saturating_sub(grace_left);
        if waited.is_zero() && !self.is_out_of_grace() {
            return Pace::Fine;
        }
        self.waited = self.waited.saturating_add(waited);
        self.octets = self.octets.saturating_add(octets);
        if self.waited < WINDOW {
            return Pace::Fine;
        }
        let seconds = self.waited.as_secs();
        let is_enough = self.octets >= per_second.saturating_mul(seconds);
        (self.waited, self.octets) = (Duration::ZERO, 0);
        if is_enough { Pace::Fine } else { Pace::TooSlow }
    }

    /// When to look at the latest, counted from now, if nothing comes.
    pub(super) fn patience(&self) -> Duration {
        GRACE.saturating_sub(self.grace_used).saturating_add(WINDOW.saturating_sub(self.waited))
    }

    fn is_out_of_grace(&self) -> bool {
        self.grace_used >= GRACE
    }
}

/// A slow start: a modem that dials, a program that makes its body while it sends it.
const GRACE: Duration = Duration::from_secs(30);
/// A pause within it is no matter where the rest comes fast.
const WINDOW: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// After how many seconds a peer is found too slow that sends so many octets each second.
    fn found_after(octets: u64) -> Option<u32> {
        let mut rate = DataRate::new();
        (1..=600).find(|_| rate.record(SECOND, octets, 500) == Pace::TooSlow)
    }

    #[test]
    fn a_dribble_is_found_after_grace_and_window() {
        assert_eq!(found_after(0), Some(60));
        assert_eq!(found_after(1), Some(60));
        assert_eq!(found_after(450), Some(60));
        assert_eq!(found_after(500), None);
    }

    #[test]
    fn a_pause_is_forgiven_where_the_rest_comes_fast() {
        let mut rate = DataRate::new();
        assert_eq!(rate.record(GRACE, 0, 500), Pace::Fine);
        for _ in 0..100 {
            assert_eq!(rate.record(25 * SECOND, 0, 500), Pace::Fine);
            assert_eq!(rate.record(5 * SECOND, 20_000, 500), Pace::Fine);
        }
    }

    #[test]
    fn a_peer_that_stops_is_found_without_another_octet() {
        let mut rate = DataRate::new();
        assert_eq!(rate.record(10 * SECOND, 1_000_000, 500), Pace::Fine);
        let patience = rate.patience();
        assert_eq!(patience, 50 * SECOND);
        assert_eq!(rate.record(patience, 0, 500), Pace::TooSlow);
    }

    #[test]
    fn time_in_which_we_do_not_read_is_not_counted() {
        let mut rate = DataRate::new();
        assert!((0..1_000).all(|_| rate.record(Duration::ZERO, 1, 500) == Pace::Fine));
    }
}
