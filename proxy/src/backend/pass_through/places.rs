//! The connections that a server may have: who has them, and who makes room.
//!
//! Strangers never have all of them. And while the client of one of theirs is waited for, it lies here, where whoever finds no
//! place left can take it: so silence holds nothing for longer than `SILENCE_MIN`, once others need it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::time::Instant;

use super::upstream::Link;

/// Of one server; with the ones of sessions that began before a reload.
#[derive(Debug, Default)]
pub(super) struct Places {
    taken: Arc<AtomicUsize>,
    by_strangers: Arc<AtomicUsize>,
    aside: Mutex<Asides<Link>>,
}

/// One of the connections that a server may have; counted as long as it is there.
#[derive(Debug)]
pub(super) struct Place {
    connections: IntGauge,
    _counted: Counted,
}

/// One of those that strangers may have at a time; counted as long as a stranger has it.
#[derive(Debug)]
pub(super) struct Share {
    _counted: Counted,
}

/// The connection of a stranger who is waited for. Dropped, it is closed.
#[derive(Debug)]
pub(super) struct Aside {
    places: Arc<Places>,
    key: Option<Key>,
}

/// What lies here, the one that has lain longest first.
#[derive(Debug)]
struct Asides<T> {
    by_age: BTreeMap<Key, T>,
    last: u64,
}

/// Since when, and a number that nobody else has.
type Key = (Instant, u64);

#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

// === impl Places ===

impl Places {
    /// `None` where all of so many are taken.
    pub(super) fn take(&self, connections_max: usize, connections: &IntGauge) -> Option<Place> {
        let counted = Counted::one_more(&self.taken, connections_max)?;
        connections.inc();
        Some(Place { connections: connections.clone(), _counted: counted })
    }

    /// What a stranger needs besides. `None` where the rest is for others.
    pub(super) fn take_share(&self, connections_max: usize) -> Option<Share> {
        let counted = Counted::one_more(&self.by_strangers, strangers_max(connections_max))?;
        Some(Share { _counted: counted })
    }

    /// Until its client is heard of again.
    pub(super) fn lay_aside(self: &Arc<Self>, link: Link) -> Aside {
        let key = self.aside.lock().unwrap_or_else(PoisonError::into_inner).lay(Instant::now(), link);
        Aside { places: Arc::clone(self), key: Some(key) }
    }

    /// The connection whose client has said nothing for longest, where he had time enough.
    pub(super) fn displace(&self) -> Option<Link> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner).displace(Instant::now())
    }
}

// === impl Aside ===

impl Aside {
    /// `None` where somebody else has taken it.
    pub(super) fn take_up(mut self) -> Option<Link> {
        self.take()
    }

    fn take(&mut self) -> Option<Link> {
        let key = self.key.take()?;
        self.places.aside.lock().unwrap_or_else(PoisonError::into_inner).by_age.remove(&key)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        drop(self.take());
    }
}

// === impl Asides ===

impl<T> Asides<T> {
    fn lay(&mut self, now: Instant, it: T) -> Key {
        self.last = self.last.wrapping_add(1);
        let key = (now, self.last);
        self.by_age.insert(key, it);
        key
    }

    fn displace(&mut self, now: Instant) -> Option<T> {
        let oldest = self.by_age.first_entry()?;
        let (since, _) = *oldest.key();
        (now.saturating_duration_since(since) >= SILENCE_MIN).then(|| oldest.remove())
    }
}

impl<T> Default for Asides<T> {
    fn default() -> Self {
        Self { by_age: BTreeMap::new(), last: 0 }
    }
}

// === impl Counted ===

impl Counted {
    fn one_more(count: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let one_more = |count: usize| (count < max).then(|| count.saturating_add(1));
        count.try_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(Self(Arc::clone(count)))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.dec();
    }
}

/// The others are for users, partners and servers: one at least where there are four.
const fn strangers_max(connections_max: usize) -> usize {
    connections_max.saturating_sub(connections_max / RESERVE_DIVISOR)
}

/// A quarter of the connections is kept for those who are known: enough for mail to go on, and little where nobody attacks.
const RESERVE_DIVISOR: usize = 4;

/// For a client's next command, where others need its connection. One that works needs a round trip, and a second or two more
/// where a packet is lost.
const SILENCE_MIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_kept_from_strangers() {
        let left = [1, 2, 3, 4, 7, 8, 100].map(strangers_max);
        assert_eq!(left, [1, 2, 3, 3, 6, 6, 75]);
    }

    #[test]
    fn shares_and_places_come_back_and_are_counted_apart() {
        let (places, gauge) = (Places::default(), IntGauge::new("x", "x").unwrap());
        let shares: Vec<_> = std::iter::from_fn(|| places.take_share(4)).collect();
        assert_eq!(shares.len(), 3);
        let taken: Vec<_> = std::iter::from_fn(|| places.take(4, &gauge)).collect();
        assert_eq!((taken.len(), gauge.get()), (4, 4));
        drop((shares, taken));
        assert!(places.take_share(1).is_some() && places.take(1, &gauge).is_some());
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn who_has_been_silent_longest_makes_room_and_nobody_who_has_just_begun() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut asides = Asides::default();
        let worker = asides.lay(after(0), "works");
        asides.lay(after(100), "first");
        asides.lay(after(100), "second");
        asides.lay(after(4_000), "third");
        assert_eq!(asides.displace(after(4_999)), None);
        assert_eq!(asides.by_age.remove(&worker), Some("works"));
        asides.lay(after(5_000), "works");
        assert_eq!(asides.displace(after(5_099)), None, "its client has had no time yet");
        assert_eq!(asides.displace(after(5_100)), Some("first"));
        assert_eq!(asides.displace(after(5_100)), Some("second"));
        assert_eq!(asides.displace(after(8_999)), None);
        assert_eq!(asides.displace(after(20_000)), Some("third"));
        assert_eq!(asides.displace(after(20_000)), Some("works"));
        assert_eq!(asides.displace(after(20_000)), None);
    }
}
