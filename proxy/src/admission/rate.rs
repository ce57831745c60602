//! How often each network may do something.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use super::prefix::{Prefix, Width};

/// One kind of event, so many a minute from an address, and its allowance times as many from wider networks. All of a
/// minute may come at once. Bounded: see [`KEYS_MAX`].
#[derive(Debug)]
pub(super) struct Rate<C: Clock = DefaultClock> {
    per_minute: NonZeroU32,
    widths: [Limited<C>; 3],
    /// Checks since the start, to sweep now and then.
    checks: AtomicU32,
}

/// The networks of one width.
#[derive(Debug)]
struct Limited<C: Clock> {
    limiter: RateLimiter<Prefix, DashMapStateStore<Prefix>, C, NoOpMiddleware<C::Instant>>,
    /// Whether there are more networks than are kept.
    is_full: AtomicBool,
}

/// A network that was too fast.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooFast {
    pub(super) prefix: Prefix,
    pub(super) per_minute: u32,
}

// === impl Rate ===

impl Rate {
    pub(super) fn new(per_minute: NonZeroU32) -> Self {
        Self::with_clock(per_minute, &DefaultClock::default())
    }
}

impl<C: Clock + Clone> Rate<C> {
    fn with_clock(per_minute: NonZeroU32, clock: &C) -> Self {
        let limited = |width: Width| {
            let quota = Quota::per_minute(per_minute.saturating_mul(factor(width)));
            let limiter = RateLimiter::new(quota, DashMapStateStore::default(), clock.clone());
            Limited { limiter, is_full: AtomicBool::new(false) }
        };
        let widths = [Width::Address, Width::Network, Width::Site].map(limited);
        Self { per_minute, widths, checks: AtomicU32::new(0) }
    }

    /// Counts an event, and tells whether one of the address's networks has had too many.
    pub(super) fn count(&self, address: IpAddr) -> Option<TooFast> {
        if self.checks.fetch_add(1, Ordering::Relaxed).is_multiple_of(SWEEP_CHECKS) {
            self.sweep();
        }
        // Every width is counted, also behind a refusal: who goes on is not forgiven.
        Prefix::all(address).zip(&self.widths).fold(None, |found, (prefix, limited)| {
            let is_too_fast =
                !limited.is_full.load(Ordering::Relaxed) && limited.limiter.check_key(&prefix).is_err();
            let too_fast = || TooFast {
                prefix,
                per_minute: self.per_minute.get().saturating_mul(prefix.width().allowance()),
            };
            found.or_else(|| is_too_fast.then(too_fast))
        })
    }

    /// Forgets networks that have been quiet. Where as many as may be kept are not quiet, their width stops counting until
    /// there are fewer: the wider ones and the pools of connections still hold, and memory does not grow.
    pub(super) fn sweep(&self) {
        for Limited { limiter, is_full } in &self.widths {
            limiter.retain_recent();
            limiter.shrink_to_fit();
            is_full.store(limiter.len() > KEYS_MAX, Ordering::Relaxed);
        }
    }
}

fn factor(width: Width) -> NonZeroU32 {
    NonZeroU32::new(width.allowance()).unwrap_or(NonZeroU32::MIN)
}

/// Some 6 MiB for each kind of event, and more networks than have business with one server within a minute.
const KEYS_MAX: usize = 65_536;
/// Far fewer than `KEYS_MAX`, so that it is not passed by much; a sweep looks at every network once.
const SWEEP_CHECKS: u32 = 8192;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn rate(per_minute: u32) -> (Rate<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (Rate::with_clock(NonZeroU32::new(per_minute).unwrap(), &clock), clock)
    }

    #[test]
    fn an_address_may_spend_its_minute_at_once_and_then_waits() {
        let (rate, clock) = rate(3);
        let address = IpAddr::from([192, 0, 2, 1]);
        for _ in 0..3 {
            assert_eq!(rate.count(address), None);
        }
        let too_fast = rate.count(address).unwrap();
        assert_eq!((too_fast.prefix.to_string().as_str(), too_fast.per_minute), ("192.0.2.1/32", 3));
        clock.advance(Duration::from_secs(20));
        assert_eq!(rate.count(address), None, "a third of a minute, a third of the quota");
        assert!(rate.count(address).is_some());
    }

    #[test]
    fn a_network_is_bounded_however_many_addresses_it_uses() {
        let (rate, _) = rate(1);
        let outcomes: Vec<_> =
            (1..=5).map(|host| rate.count(IpAddr::from([192, 0, 2, host])).is_some()).collect();
        assert_eq!(outcomes, [false, false, false, false, true]);
        assert_eq!(rate.count(IpAddr::from([192, 0, 3, 1])), None, "the next network is another peer");
    }

    #[test]
    fn quiet_networks_are_forgotten_and_a_rush_of_networks_is_bounded() {
        let (rate, clock) = rate(1);
        for host in 0..u32::try_from(KEYS_MAX + 2 * SWEEP_CHECKS as usize).unwrap() {
            let _ = rate.count(IpAddr::from(host.to_be_bytes()));
        }
        assert!(rate.widths[0].limiter.len() <= KEYS_MAX + SWEEP_CHECKS as usize);
        assert!(rate.widths[0].is_full.load(Ordering::Relaxed));
        clock.advance(Duration::from_secs(121));
        rate.sweep();
        assert_eq!(rate.widths[0].limiter.len(), 0);
        assert!(!rate.widths[0].is_full.load(Ordering::Relaxed));
    }
}
