//! How many mails a minute a way gets, and when it is the turn of those beyond.
//!
//! A mail that has to wait gets a time behind those that wait already, so that it is looked at about as often as it can go.
//! These times are hints: whether it goes is asked again when it comes, and a mail that is held or deleted meanwhile
//! leaves its share of the rate to whoever asks next.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use super::super::route::{Destination, Way};

/// All rates.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<HashMap<NonZeroU32, Rate>>);

/// Everything that has the same rate.
#[derive(Debug)]
struct Rate {
    limiter: RateLimiter<Counted, DashMapStateStore<Counted>, Steady, NoOpMiddleware<std::time::Instant>>,
    /// Mails a minute.
    mails: NonZeroU32,
    /// Where the lines of those that wait end.
    ends: HashMap<Counted, Instant>,
}

/// What mails are counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Counted {
    destination: Destination,
    /// Where each domain behind the destination counts by itself.
    domain: Option<Arc<str>>,
}

/// It is not this mail's turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotYet {
    /// For how long, probably.
    pub(super) pause: Duration,
    /// With an enhanced status code in front.
    pub(super) reason: String,
}

/// The runtime's clock, which nobody sets, and which tests can wind on.
#[derive(Debug, Clone, Copy)]
struct Steady;

// === impl Throttle ===

impl Throttle {
    /// Whether one more mail may go this way now, at most `rate` a minute where the way has no rate of its own. So many may
    /// come at once after a quiet minute.
    pub(super) fn ask(&self, way: &Way, rate: Option<NonZeroU32>) -> Result<(), NotYet> {
        let of_domain = way.limits.domain_rate.filter(|_| way.domain.is_some());
        // A domain whose mails wait must not use up what others behind the same hop may have, so it is asked first.
        let counted = [(of_domain, way.domain.clone()), (way.limits.rate.or(rate), None)];
        let mut rates = self.rates();
        for (rate, domain) in counted {
            let Some(rate) = rate else { continue };
            let counted = Counted { destination: way.destination.clone(), domain };
            rates.entry(rate).or_insert_with(|| Rate::new(rate)).ask(counted)?;
        }
        Ok(())
    }

    /// Those that wait may not come any more: who asks from now on waits for his own turn alone.
    pub(super) fn forget_lines(&self) {
        self.rates().values_mut().for_each(|rate| rate.ends.clear());
    }

    /// Forgets what may have a whole minute's mails again.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.rates().retain(|_, rate| {
            rate.limiter.retain_recent();
            rate.ends.retain(|_, end| *end > now);
            !(rate.limiter.is_empty() && rate.ends.is_empty())
        });
    }

    fn rates(&self) -> MutexGuard<'_, HashMap<NonZeroU32, Rate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Rate ===

impl Rate {
    fn new(mails: NonZeroU32) -> Self {
        let state = DashMapStateStore::default();
        Self {
            limiter: RateLimiter::new(Quota::per_minute(mails), state, Steady),
            mails,
            ends: HashMap::new(),
        }
    }

    fn ask(&mut self, counted: Counted) -> Result<(), NotYet> {
        let Err(denied) = self.limiter.check_key(&counted) else { return Ok(()) };
        let now = Instant::now();
        let own = later(now, denied.wait_time_from(Steady.now()));
        let longest = later(now, LINE_TIME_MAX);
        let reason = format!("4.4.5 waits for its turn: {counted} gets {} mails a minute", self.mails);
        let end = self.ends.entry(counted).or_insert(now);
        // A line that is too long begins anew beside itself.
        let turn = if *end > longest { own } else { own.max(*end) };
        *end = later(turn, MINUTE.checked_div(self.mails.get()).unwrap_or(MINUTE));
        Err(NotYet { pause: turn.saturating_duration_since(now).saturating_add(MARGIN), reason })
    }
}

// === impl Counted ===

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.domain {
            Some(domain) => write!(f, "{domain} by {}", self.destination),
            None => self.destination.fmt(f),
        }
    }
}

// === impl Steady ===

impl Clock for Steady {
    type Instant = std::time::Instant;

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

fn later(at: Instant, time: Duration) -> Instant {
    at.checked_add(time).unwrap_or(at)
}

const MINUTE: Duration = Duration::from_secs(60);
/// So long a mail waits at most before it asks again: a change of the configuration reaches it then, and a million mails
/// that wait cost some hundred looks a second.
const LINE_TIME_MAX: Duration = Duration::from_secs(30 * 60);
/// Times of the queue are milliseconds, and one that is early by less would wait for another turn.
const MARGIN: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::super::super::route::Limits;
    use super::*;

    fn way(name: &str, rate: u32, domain: Option<(&str, u32)>) -> Way {
        let limits = Limits {
            rate: NonZeroU32::new(rate),
            domain_rate: domain.and_then(|(_, rate)| NonZeroU32::new(rate)),
            connections: None,
        };
        let domain = domain.map(|(domain, _)| domain.into());
        Way { destination: Destination::Domain(name.into()), domain, limits }
    }

    /// How many go at once, and the pause of the next one.
    fn at_once(throttle: &Throttle, way: &Way) -> (usize, NotYet) {
        let mut count = 0;
        loop {
            match throttle.ask(way, None) {
                Ok(()) => count += 1,
                Err(not_yet) => return (count, not_yet),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_destination_gets_no_more_than_its_rate_and_others_have_their_own() {
        let throttle = Throttle::default();
        let (count, not_yet) = at_once(&throttle, &way("a", 3, None));
        assert_eq!((count, not_yet.pause), (3, Duration::from_secs(20) + MARGIN));
        assert_eq!(not_yet.reason, "4.4.5 waits for its turn: a gets 3 mails a minute");
        assert_eq!(at_once(&throttle, &way("b", 3, None)).0, 3);
        let free = way("a", 0, None);
        assert!((0..100).all(|_| throttle.ask(&free, None).is_ok()));
        assert!((0..100).any(|_| throttle.ask(&free, NonZeroU32::new(50)).is_err()));
    }

    #[tokio::test(start_paused = true)]
    async fn each_that_waits_has_a_turn_of_its_own_and_goes_then() {
        let (throttle, way) = (Throttle::default(), way("a", 6, None));
        let first = at_once(&throttle, &way).1.pause;
        let mut turns = vec![first];
        turns.extend((0..99).map(|_| throttle.ask(&way, None).unwrap_err().pause));
        assert!(turns.windows(2).all(|two| two[1] - two[0] == Duration::from_secs(10)), "{turns:?}");
        let began = Instant::now();
        for turn in turns {
            tokio::time::sleep_until(began + turn).await;
            assert_eq!(throttle.ask(&way, None), Ok(()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_longer_than_a_look_takes_and_not_for_those_who_have_gone() {
        let (throttle, way) = (Throttle::default(), way("a", 1, None));
        let (_, first) = at_once(&throttle, &way);
        let pauses: Vec<_> = (0..100).map(|_| throttle.ask(&way, None).unwrap_err().pause).collect();
        assert!(pauses.iter().all(|pause| *pause <= LINE_TIME_MAX + MARGIN));
        assert!(pauses.iter().filter(|pause| **pause == first.pause).count() > 2, "a line beside the first");
        throttle.forget_lines();
        assert_eq!(throttle.ask(&way, None).unwrap_err().pause, first.pause);
    }

    #[tokio::test(start_paused = true)]
    async fn a_domain_behind_a_hop_has_a_rate_of_its_own_and_leaves_the_hops_to_others() {
        let throttle = Throttle::default();
        let (slow, fast) = (way("hop", 10, Some(("slow", 2))), way("hop", 10, Some(("fast", 9))));
        let (count, not_yet) = at_once(&throttle, &slow);
        assert_eq!((count, not_yet.pause), (2, Duration::from_secs(30) + MARGIN));
        assert_eq!(not_yet.reason, "4.4.5 waits for its turn: slow by hop gets 2 mails a minute");
        let (count, not_yet) = at_once(&throttle, &fast);
        assert_eq!(count, 8, "the rest of the hop's ten");
        assert!(not_yet.reason.contains("turn: hop gets 10"), "{not_yet:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_at_rest_costs_no_memory() {
        let throttle = Throttle::default();
        at_once(&throttle, &way("a", 3, None));
        throttle.sweep();
        assert_eq!(throttle.rates().len(), 1);
        tokio::time::advance(Duration::from_secs(120)).await;
        throttle.sweep();
        assert!(throttle.rates().is_empty());
    }
}
