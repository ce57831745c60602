//! Places for connections: a general pool, and a reserve that strangers cannot take.
//!
//! A connection on the reserve is classed by its address at once: a stranger is turned away, and for anybody else the
//! stranger that has been stalled for the longest leaves. So the reserve is soon free again, and connections never wait
//! long in the backlog of the kernel, where nobody could tell them apart.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The places of one listener.
#[derive(Debug)]
pub(crate) struct Slots {
    general: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    general_max: usize,
    started_at: Instant,
    next: AtomicU64,
    sessions: Mutex<HashMap<u64, Arc<Activity>>>,
}

/// A place, held as long as its connection.
#[derive(Debug)]
pub(crate) struct Slot {
    pool: Pool,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pool {
    /// For anybody.
    General,
    /// Strangers may not stay.
    Reserve,
}

/// What the pool knows of a session.
#[derive(Debug)]
pub(super) struct Activity {
    /// Milliseconds after `started_at` at which the session last got anywhere.
    progressed_at_ms: AtomicU64,
    /// Whether it may be displaced.
    is_stranger: AtomicBool,
    is_displaced: AtomicBool,
    /// Whether the peer waits for us.
    is_owed: AtomicBool,
    wake: Notify,
}

/// A session in its pool, until it is dropped.
#[derive(Debug)]
pub(super) struct Occupant {
    slots: Arc<Slots>,
    number: u64,
    activity: Arc<Activity>,
}

// === impl Slots ===

impl Slots {
    /// A general pool of that size, and a reserve of a tenth of it, at least 64, on top.
    pub(crate) fn new(general_max: usize) -> Arc<Self> {
        let reserve_max = reserve_of(general_max);
        Arc::new(Self {
            general: Arc::new(Semaphore::new(general_max)),
            reserve: Arc::new(Semaphore::new(reserve_max)),
            general_max,
            started_at: Instant::now(),
            next: AtomicU64::new(0),
            sessions: Mutex::default(),
        })
    }

    /// A general place, else one of the reserve, else waits for either. `None` is not expected: nobody closes the pools.
    pub(crate) async fn take(&self) -> Option<Slot> {
        if let Ok(permit) = Arc::clone(&self.general).try_acquire_owned() {
            return Some(Slot::of(Pool::General, permit));
        }
        tokio::select! {
            biased;
            permit = Arc::clone(&self.reserve).acquire_owned() => permit.ok().map(|permit| Slot::of(Pool::Reserve, permit)),
            permit = Arc::clone(&self.general).acquire_owned() => permit.ok().map(|permit| Slot::of(Pool::General, permit)),
        }
    }

    /// For a friend on the reserve: has the stranger leave who has been stalled for the longest, and moves into the general
    /// pool. Where nobody leaves in time the friend stays on the reserve.
    pub(crate) async fn make_room(&self, slot: Slot, now: Instant) -> Slot {
        if !slot.is_reserve() {
            return slot;
        }
        self.displace(now, 1, Duration::ZERO);
        match timeout(ROOM_TIME_MAX, Arc::clone(&self.general).acquire_owned()).await {
            Ok(Ok(permit)) => Slot::of(Pool::General, permit),
            Ok(Err(_)) | Err(_) => slot,
        }
    }

    /// Has at most `count` strangers leave who have been stalled for at least that long, the longest first. Tells how many.
    pub(super) fn displace(&self, now: Instant, count: usize, stalled_min: Duration) -> usize {
        let now = self.ms(now);
        let least = u64::try_from(stalled_min.as_millis()).unwrap_or(u64::MAX);
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stalled: Vec<(u64, &Arc<Activity>)> = sessions
            .values()
            .filter(|session| session.may_be_displaced())
            .map(|session| (session.progressed_at_ms.load(Ordering::Relaxed), session))
            .filter(|(since, _)| now.saturating_sub(*since) >= least)
            .collect();
        if count < stalled.len() && count > 0 {
            stalled.select_nth_unstable_by_key(count.saturating_sub(1), |(since, _)| *since);
        }
        let displaced = stalled.len().min(count);
        for (_, session) in stalled.into_iter().take(count) {
            session.is_displaced.store(true, Ordering::Relaxed);
            session.wake.notify_one();
        }
        displaced
    }

    /// General places in use, and how many there are.
    pub(super) fn used(&self) -> (usize, usize) {
        (self.general_max.saturating_sub(self.general.available_permits()), self.general_max)
    }

    pub(crate) const fn general_max(&self) -> usize {
        self.general_max
    }

    /// Counts a session among those that may be displaced, or at least watched.
    pub(super) fn enter(self: &Arc<Self>, is_stranger: bool, now: Instant) -> Occupant {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let activity = Arc::new(Activity {
            progressed_at_ms: AtomicU64::new(self.ms(now)),
            is_stranger: AtomicBool::new(is_stranger),
            is_displaced: AtomicBool::new(false),
            is_owed: AtomicBool::new(false),
            wake: Notify::new(),
        });
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.insert(number, Arc::clone(&activity));
        Occupant { slots: Arc::clone(self), number, activity }
    }

    fn ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.started_at).as_millis()).unwrap_or(u64::MAX)
    }
}

// === impl Slot ===

impl Slot {
    const fn of(pool: Pool, permit: OwnedSemaphorePermit) -> Self {
        Self { pool, _permit: permit }
    }

    /// Whether only friends may keep it.
    pub(crate) fn is_reserve(&self) -> bool {
        self.pool == Pool::Reserve
    }
}

// === impl Activity ===

impl Activity {
    fn may_be_displaced(&self) -> bool {
        self.is_stranger.load(Ordering::Relaxed)
            && !self.is_displaced.load(Ordering::Relaxed)
            && !self.is_owed.load(Ordering::Relaxed)
    }
}

// === impl Occupant ===

impl Occupant {
    /// The session has got somewhere.
    pub(super) fn progress(&self, now: Instant) {
        self.activity.progressed_at_ms.store(self.slots.ms(now), Ordering::Relaxed);
    }

    /// Who has shown a password is no stranger any more.
    pub(super) fn befriend(&self) {
        self.activity.is_stranger.store(false, Ordering::Relaxed);
    }

    /// Whether the peer waits for us.
    pub(super) fn set_owed(&self, is_owed: bool) {
        self.activity.is_owed.store(is_owed, Ordering::Relaxed);
    }

    /// Waits until the session has to leave. Only one may wait.
    pub(super) async fn displaced(&self) {
        self.activity.wake.notified().await;
    }

    /// Whether the session has to leave.
    pub(super) fn is_displaced(&self) -> bool {
        self.activity.is_displaced.load(Ordering::Relaxed)
    }
}

impl Drop for Occupant {
    fn drop(&mut self) {
        let mut sessions = self.slots.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.remove(&self.number);
    }
}

/// The size of the reserve that comes on top of a general pool of this size.
pub(crate) fn reserve_of(general_max: usize) -> usize {
    (general_max / RESERVE_PART).max(RESERVE_MIN)
}

/// A tenth.
const RESERVE_PART: usize = 10;
/// For small pools: as many as can be classed while one of them waits for its room.
const RESERVE_MIN: usize = 64;
/// A displaced session has only to be woken up.
const ROOM_TIME_MAX: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_reserve_comes_after_the_general_pool() {
        let slots = Slots::new(1);
        let first = slots.take().await.unwrap();
        assert!(!first.is_reserve());
        let held: Vec<_> = [slots.take().await.unwrap(), slots.take().await.unwrap()].into();
        assert!(held.iter().all(Slot::is_reserve));
        drop(first);
        assert!(!slots.take().await.unwrap().is_reserve());
    }

    #[tokio::test]
    async fn the_reserve_is_a_tenth_and_at_least_sixty_four() {
        assert_eq!(Slots::new(10).reserve.available_permits(), 64);
        assert_eq!(Slots::new(5000).reserve.available_permits(), 500);
    }

    #[tokio::test(start_paused = true)]
    async fn the_stranger_that_stalled_longest_makes_room_for_a_friend() {
        let slots = Slots::new(2);
        let now = Instant::now();
        let later = now + Duration::from_secs(5);
        let (stalled, busy) = (slots.enter(true, now), slots.enter(true, now));
        let friend = slots.enter(false, now);
        let place = slots.take().await.unwrap();
        let _other = slots.take().await.unwrap();
        busy.progress(later);
        let leaving = tokio::spawn(async move {
            stalled.displaced().await;
            drop(stalled);
            drop(place);
        });
        let reserve = slots.take().await.unwrap();
        assert!(reserve.is_reserve());
        let moved = slots.make_room(reserve, later).await;
        assert!(!moved.is_reserve());
        leaving.await.unwrap();
        drop(friend);
        assert_eq!(slots.sessions.lock().unwrap().len(), 1, "the busy one stays");
    }

    #[tokio::test(start_paused = true)]
    async fn a_friend_stays_on_the_reserve_where_nobody_can_leave() {
        let slots = Slots::new(1);
        let now = Instant::now();
        let user = slots.enter(true, now);
        user.befriend();
        let _place = slots.take().await.unwrap();
        let reserve = slots.take().await.unwrap();
        assert!(slots.make_room(reserve, now).await.is_reserve());
        assert!(!user.activity.is_displaced.load(Ordering::Relaxed), "who has logged in is not displaced");
    }

    #[test]
    fn only_strangers_that_stalled_long_enough_leave() {
        let slots = Slots::new(9);
        let now = Instant::now();
        let held: Vec<_> = (0..4).map(|_| slots.enter(true, now)).collect();
        let later = now + Duration::from_secs(10);
        held[0].progress(later);
        assert_eq!(slots.displace(later, 2, Duration::from_secs(10)), 2);
        assert_eq!(slots.displace(later, 9, Duration::from_secs(10)), 1, "nobody leaves twice");
        assert_eq!(slots.displace(later, 9, Duration::from_secs(10)), 0);
    }
}
