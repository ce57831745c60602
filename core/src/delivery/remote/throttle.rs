//! How many mails a minute one destination gets.

use std::num::NonZeroU32;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::super::route::Destination;

/// The rates of all destinations.
pub(super) struct Throttle(Option<DefaultKeyedRateLimiter<Destination>>);

// === impl Throttle ===

impl Throttle {
    /// `rate`: mails a minute, of which so many may come at once; `None`: as many as there are.
    pub(super) fn new(rate: Option<NonZeroU32>) -> Self {
        Self(rate.map(|rate| RateLimiter::keyed(Quota::per_minute(rate))))
    }

    /// Waits until it is a mail's turn.
    pub(super) async fn turn(&self, destination: &Destination) {
        let Some(limiter) = &self.0 else { return };
        while let Err(not_until) = limiter.check_key(destination) {
            tokio::time::sleep(not_until.wait_time_from(DefaultClock::default().now())).await;
        }
    }

    /// Forgets destinations that may have a whole minute's mails again.
    pub(super) fn sweep(&self) {
        if let Some(limiter) = &self.0 {
            limiter.retain_recent();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_destination_gets_no_more_than_its_rate_and_others_have_their_own() {
        let throttle = Throttle::new(NonZeroU32::new(3));
        let (one, other) = (Destination::Domain("a".into()), Destination::Domain("b".into()));
        for _ in 0..3 {
            throttle.turn(&one).await;
        }
        assert!(timeout(Duration::from_millis(50), throttle.turn(&one)).await.is_err());
        throttle.turn(&other).await;
        Throttle::new(None).turn(&one).await;
    }
}
