//! What is known of each destination's health, and how much of us it gets at a time.
//!
//! ```text
//! enter -> ticket (bounded: the rest goes back to the queue) -> place (a window that adapts) -> succeeded | failed
//! ```
//! The window begins small, grows by one for each windowful of successes, and halves at a failure. A destination that cannot
//! be reached, or fails with a window of one, is put off as a whole: nobody gets a place until its time has come, and then
//! one finds out for all.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::retry::Setback;
use super::super::route::Destination;
use crate::queue::Backoff;

/// All destinations that mail is or was lately taken to, with connections of type `C` that are kept open.
#[derive(Debug)]
pub(super) struct Destinations<C> {
    known: Mutex<HashMap<Destination, Health<C>>>,
    is_closed: AtomicBool,
}

#[derive(Debug)]
struct Health<C> {
    /// Mails that wait for a place or have one.
    entered: u32,
    /// Mails that have a place.
    running: u32,
    /// How many may have one.
    window: u32,
    /// How many ever may.
    window_max: u32,
    /// Successes since the window has changed.
    credit: u32,
    /// In a row.
    failures: u32,
    put_off: Option<PutOff>,
    kept: Vec<(C, Instant)>,
    /// Told when a place may have become free.
    changed: Arc<Notify>,
    used_at: Instant,
}

/// A destination is left alone for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PutOff {
    pub(super) until: Instant,
    /// Of the failure that did it, with an enhanced status code in front.
    pub(super) reason: String,
    /// How many there were in a row.
    failures: u32,
}

/// Why a mail may not enter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Denied {
    /// The destination is left alone.
    PutOff(PutOff),
    /// Enough of its mails are held in memory.
    Crowded,
}

/// Why a mail with a ticket gets no place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// The destination was put off meanwhile.
    PutOff(PutOff),
    /// Nothing begins any more.
    Closed,
}

/// What a failure says of the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// No host could be reached, or none of them wants us.
    Unreachable,
    /// A connection ended before its time, or the server is busy.
    Busy,
}

/// The right to wait for a place. Given back when dropped.
#[derive(Debug)]
pub(super) struct Ticket<C> {
    destinations: Arc<Destinations<C>>,
    destination: Destination,
}

/// The right to talk to the destination. Given back when dropped; without `succeeded` or `failed` it says nothing.
#[derive(Debug)]
pub(super) struct Place<'a, C> {
    ticket: &'a Ticket<C>,
}

// === impl Destinations ===

impl<C> Destinations<C> {
    pub(super) fn new() -> Self {
        Self { known: Mutex::new(HashMap::new()), is_closed: AtomicBool::new(false) }
    }

    /// Nobody gets a place any more.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.known().values().for_each(|health| health.changed.notify_waiters());
    }

    /// Asks for a ticket of a destination that may have so many connections at a time.
    pub(super) fn enter(
        self: &Arc<Self>,
        destination: &Destination,
        connections: NonZeroU32,
    ) -> Result<Ticket<C>, Denied> {
        let mut known = self.known();
        if known.len() >= KNOWN_MAX && !known.contains_key(destination) {
            known.retain(|_, health| health.entered > 0);
        }
        let health = known.entry(destination.clone()).or_insert_with(Health::new);
        health.window_max = connections.get();
        health.window = health.window.min(health.window_max);
        if let Some(put_off) = health.current_put_off() {
            return Err(Denied::PutOff(put_off));
        }
        if health.entered >= health.window_max.saturating_mul(ENTERED_A_PLACE).min(ENTERED_MAX) {
            return Err(Denied::Crowded);
        }
        health.entered = health.entered.saturating_add(1);
        drop(known);
        Ok(Ticket { destinations: Arc::clone(self), destination: destination.clone() })
    }

    /// Leaves nobody alone any more: somebody wants to know now.
    pub(super) fn try_again(&self) {
        for health in self.known().values_mut().filter(|health| health.put_off.is_some()) {
            health.put_off = None;
            health.window = 1;
        }
    }

    /// How many are known, and how many of them are put off.
    pub(super) fn count(&self) -> (usize, usize) {
        let known = self.known();
        let put_off = known.values().filter(|health| health.is_put_off()).count();
        (known.len(), put_off)
    }

    /// Forgets what has not been used for long, and gives out the connections that have been kept for long enough.
    pub(super) fn sweep(&self) -> Vec<C> {
        let now = Instant::now();
        let mut known = self.known();
        let mut stale = Vec::new();
        for health in known.values_mut() {
            let fresh = |kept_at: Instant| now.saturating_duration_since(kept_at) < KEPT_TIME;
            stale.extend(health.kept.extract_if(.., |(_, kept_at)| !fresh(*kept_at)).map(|(kept, _)| kept));
        }
        known.retain(|_, health| {
            let is_used = health.entered > 0 || !health.kept.is_empty() || health.is_put_off();
            is_used || now.saturating_duration_since(health.used_at) < REMEMBERED_TIME
        });
        stale
    }

    /// Gives out all connections that are kept.
    pub(super) fn clear(&self) -> Vec<C> {
        let mut known = self.known();
        known.values_mut().flat_map(|health| health.kept.drain(..)).map(|(kept, _)| kept).collect()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Destination, Health<C>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Health ===

impl<C> Health<C> {
    fn new() -> Self {
        Self {
            entered: 0,
            running: 0,
            window: WINDOW_FIRST,
            window_max: CONNECTIONS_DEFAULT.get(),
            credit: 0,
            failures: 0,
            put_off: None,
            kept: Vec::new(),
            changed: Arc::new(Notify::new()),
            used_at: Instant::now(),
        }
    }

    fn is_put_off(&self) -> bool {
        self.put_off.as_ref().is_some_and(|put_off| put_off.until > Instant::now())
    }

    /// Where its time has come, one mail finds out for all.
    fn current_put_off(&mut self) -> Option<PutOff> {
        if self.is_put_off() {
            return self.put_off.clone();
        }
        if self.put_off.take().is_some() {
            self.window = 1;
        }
        None
    }

    fn succeed(&mut self) {
        self.failures = 0;
        self.put_off = None;
        self.credit = self.credit.saturating_add(1);
        if self.credit >= self.window {
            self.window = self.window.saturating_add(1).min(self.window_max);
            self.credit = 0;
        }
    }

    fn fail(&mut self, blame: Blame, reason: &str) {
        let is_the_end = self.window <= 1;
        self.window = (self.window >> 1).max(1);
        self.credit = 0;
        if blame == Blame::Unreachable || is_the_end {
            self.failures = self.failures.saturating_add(1);
            let until = Instant::now().checked_add(PUT_OFF.delay(self.failures));
            let failures = self.failures;
            self.put_off = until.map(|until| PutOff { until, reason: reason.to_owned(), failures });
        }
    }
}

// === impl PutOff ===

impl PutOff {
    /// For a recipient at this destination.
    pub(super) fn setback(&self, destination: &Destination) -> Setback {
        Setback::LeftAlone {
            reason: format!("{} (put off with all mail to {destination})", self.reason),
            pause: self.until.saturating_duration_since(Instant::now()),
            failures: self.failures,
        }
    }
}

// === impl Ticket ===

impl<C> Ticket<C> {
    /// Waits for a place.
    ///
    /// # Errors
    /// There will be none.
    pub(super) async fn place(&self) -> Result<Place<'_, C>, NoPlace> {
        let changed = self.with(|health| Arc::clone(&health.changed));
        loop {
            let notified = changed.notified();
            if self.destinations.is_closed.load(Ordering::Acquire) {
                return Err(NoPlace::Closed);
            }
            let has_place = self.with(|health| {
                if let Some(put_off) = health.current_put_off() {
                    return Err(NoPlace::PutOff(put_off));
                }
                let is_free = health.running < health.window;
                if is_free {
                    health.running = health.running.saturating_add(1);
                }
                Ok(is_free)
            })?;
            if has_place {
                return Ok(Place { ticket: self });
            }
            notified.await;
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Health<C>) -> T) -> T {
        let mut known = self.destinations.known();
        change(known.entry(self.destination.clone()).or_insert_with(Health::new))
    }
}

impl<C> Drop for Ticket<C> {
    fn drop(&mut self) {
        self.with(|health| health.entered = health.entered.saturating_sub(1));
    }
}

// === impl Place ===

impl<C> Place<'_, C> {
    /// A connection that another mail has left open, the one used last first.
    pub(super) fn kept(&self) -> Option<C> {
        self.ticket.with(|health| health.kept.pop().map(|(kept, _)| kept))
    }

    /// Keeps a connection for the next mail; gives it back where enough of them are kept.
    pub(super) fn keep(&self, connection: C) -> Option<C> {
        self.ticket.with(|health| {
            if health.kept.len() >= KEPT_MAX {
                return Some(connection);
            }
            health.kept.push((connection, Instant::now()));
            None
        })
    }

    pub(super) fn succeeded(self) {
        self.ticket.with(Health::succeed);
    }

    pub(super) fn failed(self, blame: Blame, reason: &str) {
        self.ticket.with(|health| health.fail(blame, reason));
    }
}

impl<C> Drop for Place<'_, C> {
    fn drop(&mut self) {
        self.ticket.with(|health| {
            health.running = health.running.saturating_sub(1);
            health.used_at = Instant::now();
            health.changed.notify_waiters();
        });
    }
}

/// A server that was never met gets no more than a small burst.
const WINDOW_FIRST: u32 = 2;
/// What large sites still take from one address without calling it an attack.
pub const CONNECTIONS_DEFAULT: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);
/// Mails to one destination that are held in memory, for each of its connections: enough to keep every place busy, and few
/// enough that a slow destination leaves room for others.
const ENTERED_A_PLACE: u32 = 3;
/// However many connections it has.
const ENTERED_MAX: u32 = 300;
/// From a restart of a server to the outage of a site.
const PUT_OFF: Backoff = Backoff { first: Duration::from_secs(30), longest: Duration::from_secs(30 * 60) };
/// Connections to one destination that wait for another mail.
const KEPT_MAX: usize = 4;
/// Longer than the gap between the mails of a burst, shorter than any server's patience.
const KEPT_TIME: Duration = Duration::from_secs(10);
/// A destination that mail goes to now and then keeps its window.
const REMEMBERED_TIME: Duration = Duration::from_secs(15 * 60);
/// Some 10 MiB.
const KNOWN_MAX: usize = 50_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(name: &str) -> Destination {
        Destination::Domain(name.into())
    }

    fn destinations() -> Arc<Destinations<u32>> {
        Arc::new(Destinations::new())
    }

    fn enter(destinations: &Arc<Destinations<u32>>, name: &str) -> Result<Ticket<u32>, Denied> {
        destinations.enter(&destination(name), CONNECTIONS_DEFAULT)
    }

    fn why_not(place: Result<Place<'_, u32>, NoPlace>) -> PutOff {
        let Err(NoPlace::PutOff(put_off)) = place else { panic!("not put off: {place:?}") };
        put_off
    }

    fn window(destinations: &Destinations<u32>) -> u32 {
        destinations.known().values().next().unwrap().window
    }

    async fn succeed(destinations: &Arc<Destinations<u32>>, times: u32) {
        for _ in 0..times {
            let ticket = enter(destinations, "a").unwrap();
            ticket.place().await.unwrap().succeeded();
        }
    }

    async fn fail(destinations: &Arc<Destinations<u32>>, blame: Blame) {
        let ticket = enter(destinations, "a").unwrap();
        ticket.place().await.unwrap().failed(blame, "4.4.1 gone");
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_grows_by_success_and_halves_by_failure() {
        let destinations = destinations();
        succeed(&destinations, 2).await;
        assert_eq!(window(&destinations), 3);
        succeed(&destinations, 3 + 4 + 5 + 6 + 7).await;
        assert_eq!(window(&destinations), 8);
        fail(&destinations, Blame::Busy).await;
        assert_eq!(window(&destinations), 4);
        succeed(&destinations, 1_000).await;
        assert_eq!(window(&destinations), CONNECTIONS_DEFAULT.get());
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_stays_within_the_connections_that_a_destination_may_have() {
        let (destinations, limit) = (destinations(), |count| NonZeroU32::new(count).unwrap());
        succeed(&destinations, 1_000).await;
        let enter = |connections| destinations.enter(&destination("a"), limit(connections));
        let ticket = enter(3).unwrap();
        assert_eq!(window(&destinations), 3, "from now on");
        for _ in 0..100 {
            ticket.place().await.unwrap().succeeded();
        }
        assert_eq!(window(&destinations), 3);
        let crowd: Vec<_> = (0..8).map(|_| enter(3).unwrap()).collect();
        assert_eq!(enter(3).unwrap_err(), Denied::Crowded);
        drop(crowd);
        let _one = enter(1).unwrap();
        assert_eq!(window(&destinations), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_window_have_a_place() {
        let destinations = destinations();
        let tickets: Vec<_> = (0..3).map(|_| enter(&destinations, "a").unwrap()).collect();
        let one = tickets[0].place().await.unwrap();
        let _two = tickets[1].place().await.unwrap();
        let third = tickets[2].place();
        tokio::pin!(third);
        assert!(tokio::time::timeout(Duration::from_secs(3600), &mut third).await.is_err());
        drop(one);
        assert!(tokio::time::timeout(Duration::from_secs(1), third).await.unwrap().is_ok());
        // Another destination has places of its own.
        assert!(enter(&destinations, "b").unwrap().place().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_destination_is_put_off_for_all_its_mails_and_one_finds_out_when_it_is_back() {
        let destinations = destinations();
        let tickets: Vec<_> = (0..3).map(|_| enter(&destinations, "a").unwrap()).collect();
        tickets[0].place().await.unwrap().failed(Blame::Unreachable, "4.4.1 gone");
        assert_eq!(why_not(tickets[1].place().await).reason, "4.4.1 gone");
        assert!(matches!(enter(&destinations, "a"), Err(Denied::PutOff(_))));
        assert_eq!(destinations.count(), (1, 1));
        tokio::time::advance(Duration::from_secs(31)).await;
        let probe = tickets[1].place().await.unwrap();
        let other = tickets[2].place();
        tokio::pin!(other);
        assert!(
            tokio::time::timeout(Duration::from_secs(1), &mut other).await.is_err(),
            "it waits for the first"
        );
        probe.failed(Blame::Unreachable, "4.4.1 still gone");
        let put_off = why_not(other.await);
        assert_eq!(put_off.until, Instant::now() + Duration::from_secs(60), "twice as long");
        tokio::time::advance(Duration::from_secs(61)).await;
        succeed(&destinations, 2).await;
        assert_eq!((destinations.count(), window(&destinations)), ((1, 0), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_mail_that_is_put_off_is_told_for_how_long_and_an_operator_need_not_wait() {
        let destinations = destinations();
        fail(&destinations, Blame::Unreachable).await;
        tokio::time::advance(Duration::from_secs(10)).await;
        let Err(Denied::PutOff(put_off)) = enter(&destinations, "a") else { panic!("let in") };
        let reason = "4.4.1 gone (put off with all mail to a)".to_owned();
        let pause = Duration::from_secs(20);
        assert_eq!(put_off.setback(&destination("a")), Setback::LeftAlone { reason, pause, failures: 1 });
        destinations.try_again();
        fail(&destinations, Blame::Unreachable).await;
        let Err(Denied::PutOff(put_off)) = enter(&destinations, "a") else { panic!("let in") };
        assert!(matches!(put_off.setback(&destination("a")), Setback::LeftAlone { failures: 2, .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_destination_is_put_off_once_it_can_do_with_no_less() {
        let destinations = destinations();
        fail(&destinations, Blame::Busy).await;
        assert_eq!((destinations.count(), window(&destinations)), ((1, 0), 1));
        fail(&destinations, Blame::Busy).await;
        assert_eq!(destinations.count(), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_for_one_destination_leaves_room_for_others() {
        let destinations = destinations();
        let tickets: Vec<_> = (0..ENTERED_A_PLACE * CONNECTIONS_DEFAULT.get())
            .map(|_| enter(&destinations, "a").unwrap())
            .collect();
        assert_eq!(enter(&destinations, "a").unwrap_err(), Denied::Crowded);
        assert!(enter(&destinations, "b").is_ok());
        drop(tickets);
        assert!(enter(&destinations, "a").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn at_a_stop_nobody_waits_for_a_place_any_more() {
        let destinations = destinations();
        let tickets: Vec<_> = (0..3).map(|_| enter(&destinations, "a").unwrap()).collect();
        let _busy = (tickets[0].place().await.unwrap(), tickets[1].place().await.unwrap());
        let third = tickets[2].place();
        tokio::pin!(third);
        assert!(tokio::time::timeout(Duration::from_secs(3600), &mut third).await.is_err());
        destinations.close();
        assert!(matches!(third.await, Err(NoPlace::Closed)));
        assert!(matches!(enter(&destinations, "b").unwrap().place().await, Err(NoPlace::Closed)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_kept_for_the_next_mail_and_not_for_long() {
        let destinations = destinations();
        let ticket = enter(&destinations, "a").unwrap();
        let place = ticket.place().await.unwrap();
        for number in 0..4 {
            assert_eq!(place.keep(number), None);
        }
        assert_eq!(place.keep(4), Some(4));
        assert_eq!(place.kept(), Some(3), "the warmest first");
        assert!(destinations.sweep().is_empty());
        tokio::time::advance(KEPT_TIME).await;
        assert_eq!(destinations.sweep(), [0, 1, 2]);
        drop(place);
        drop(ticket);
        tokio::time::advance(REMEMBERED_TIME).await;
        destinations.sweep();
        assert_eq!(destinations.count(), (0, 0));
    }
}
