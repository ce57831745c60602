//! Who has waited for the greeting before need not show it each time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::prefix::Prefix;

/// Networks from which somebody was silent until the greeting; at most [`NETWORKS_MAX`]. Further ones are not remembered, and
/// wait again: nobody can push out who is remembered.
#[derive(Debug, Default)]
pub(in super::super) struct Passed {
    until: Mutex<HashMap<Prefix, Instant>>,
}

// === impl Passed ===

impl Passed {
    /// Somebody at this address has waited.
    pub(in super::super) fn add(&self, address: IpAddr, now: Instant) {
        let prefix = Prefix::narrowest(address);
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.len() < NETWORKS_MAX || until.contains_key(&prefix) {
            until.insert(prefix, now.checked_add(PASSED_TIME).unwrap_or(now));
        }
    }

    /// Whether somebody at this address has waited lately.
    pub(in super::super) fn has(&self, address: IpAddr, now: Instant) -> bool {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.get(&Prefix::narrowest(address)).is_some_and(|until| *until > now)
    }

    /// Forgets what is over.
    pub(in super::super) fn sweep(&self, now: Instant) {
        self.until.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, until| *until > now);
    }
}

/// A server that delivers daily waits once a day.
const PASSED_TIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Some 4 MiB.
const NETWORKS_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_waited_is_remembered_for_a_day_with_his_link() {
        let (passed, now) = (Passed::default(), Instant::now());
        passed.add("2001:db8::1".parse().unwrap(), now);
        assert!(passed.has("2001:db8::2".parse().unwrap(), now));
        assert!(!passed.has("2001:db8:0:1::1".parse().unwrap(), now));
        let later = now + PASSED_TIME;
        assert!(!passed.has("2001:db8::1".parse().unwrap(), later));
        passed.sweep(later);
        assert!(passed.until.lock().unwrap().is_empty());
    }

    #[test]
    fn a_rush_of_networks_is_bounded_and_pushes_nobody_out() {
        let (passed, now) = (Passed::default(), Instant::now());
        let address = |number: usize| IpAddr::from(u32::try_from(number).unwrap().to_be_bytes());
        for number in 0..=NETWORKS_MAX {
            passed.add(address(number), now);
        }
        assert!(passed.has(address(0), now) && !passed.has(address(NETWORKS_MAX), now));
    }
}
