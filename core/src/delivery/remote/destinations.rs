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
mod tests;
