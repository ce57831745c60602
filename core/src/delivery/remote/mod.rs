//! To other servers.
//!
//! ```text
//! worker -> group by way -> destinations: ticket -> throttle: turn -> place -> attempt: targets (DNS) -> hop -> Attempt a recipient
//! ```
//! Each mail has a task of its own from the moment a worker hands it over, so that a slow server keeps no worker from the
//! mailboxes here. What may not wait in memory goes back to the queue untouched.

mod admission;
mod attempt;
mod destinations;
mod hops;
pub mod metrics;
mod pauses;
pub mod probe;
mod prover;
mod targets;
mod throttle;
mod tls_results;
mod tls_wish;

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use gatepost_smtp::wire::path::ForwardPath;
use rustls::RootCertStore;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

pub(super) use self::admission::Admission;
use self::admission::Admitted;
pub use self::destinations::CONNECTIONS_DEFAULT;
use self::destinations::Destinations;
use self::hops::HopHealth;
pub use self::metrics::Metrics;
pub use self::pauses::Pauses;
pub use self::probe::Probe;
pub use self::prover::Dane;
use self::prover::Prover;
use self::throttle::Throttle;
use super::Attempt;
use super::dns::Resolver;
use super::hop::{Connection, Courier};
use super::reach::Ourselves;
use super::route::{DomainPattern, Routes};
use super::tls_policy::{Applied, Fetcher, Policies};
use super::watchdog::Watchdog;
use crate::clock::now_ms;
use crate::queue::{NewMessage, QueueId};
use crate::scan::Stamp;
use crate::tlsrpt::Ledger;

/// Delivery to other servers. Clones are the same one.
#[derive(Clone)]
pub struct Remote {
    inner: Arc<Inner>,
}

/// Where mail goes, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Ways that were laid by hand.
    pub routes: Routes,
    /// Domains that live behind this server: their mail goes on, whatever the directory says of them. Each has a route.
    pub relayed: Vec<DomainPattern>,
    /// Not to be sent to.
    pub ourselves: Ourselves,
    /// Where mail exchangers listen: 25.
    pub port: u16,
    /// Whether foreign domains may name hosts on loopback or in private networks.
    pub internal: bool,
    /// Whether hosts are asked for TLSA records (RFC 7672).
    pub dane: Dane,
    /// Whether domains are asked for their MTA-STS policies (RFC 8461).
    pub mta_sts: bool,
    /// Mails a minute to one destination, at the most, unless its route says otherwise.
    pub rate: Option<NonZeroU32>,
    /// Connections to one destination at the same time, likewise.
    pub connections: NonZeroU32,
    /// Whether mail waits in the queue until an operator lets it go.
    pub paused: bool,
}

/// Answers at once.
pub type CurrentStamp = Box<dyn Fn() -> Stamp + Send + Sync>;

/// What it works with.
pub struct Tools {
    /// Makes connections.
    pub courier: Courier,
    /// Knows hosts and addresses.
    pub resolver: Arc<dyn Resolver>,
    /// The same, but believes only what DNSSEC proves, or proves to be without signatures.
    pub validating: Arc<dyn Resolver>,
    /// Who vouches for certificates, where a route asks for that.
    pub roots: Arc<RootCertStore>,
    /// Fetches what domains demand of TLS.
    pub fetcher: Arc<dyn Fetcher>,
    /// Told of what came of TLS, where domains shall hear of it.
    pub ledger: Option<Ledger>,
    /// Told of every attempt.
    pub watchdog: Watchdog,
    /// What a mail scanned now would be stamped with.
    pub current_stamp: CurrentStamp,
    /// When mail was paused, before this start too.
    pub pauses: Pauses,
    /// Counters.
    pub metrics: Metrics,
}

struct Inner {
    settings: ArcSwap<Settings>,
    tools: Tools,
    destinations: Arc<Destinations<Kept>>,
    hops: HopHealth,
    throttle: Throttle,
    policies: Policies,
    prover: Prover,
    /// One for each mail in delivery.
    slots: Arc<Semaphore>,
    tasks: Mutex<JoinSet<()>>,
    /// What next hops have said of recipients whose outcome the queue could not keep: the mail is claimed again, and must
    /// not be sent again.
    unsettled: Mutex<HashMap<QueueId, Vec<Attempt>>>,
}

/// A connection that is kept for another mail.
struct Kept {
    connection: Connection,
    opened_at: Instant,
    policy: Option<Arc<Applied>>,
}

// === impl Remote ===

impl Remote {
    /// Starts without mail. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(settings: Settings, tools: Tools) -> Self {
        let inner = Arc::new(Inner {
            throttle: Throttle::default(),
            settings: ArcSwap::from_pointee(settings),
            policies: Policies::new(Arc::clone(&tools.fetcher)),
            prover: Prover::new(Arc::clone(&tools.validating)),
            tools,
            destinations: Arc::new(Destinations::new()),
            hops: HopHealth::default(),
            slots: Arc::new(Semaphore::new(MAILS_MAX)),
            tasks: Mutex::new(JoinSet::new()),
            unsettled: Mutex::new(HashMap::new()),
        });
        let is_paused = inner.settings.load().paused;
        inner.tools.pauses.note(is_paused, now_ms());
        inner.tools.metrics.paused.set(i64::from(is_paused));
        if is_paused {
            tell_of_pause(is_paused);
        }
        // It ends with the last of its owners.
        tokio::spawn(sweep(Arc::downgrade(&inner)));
        Self { inner }
    }

    /// Goes by other settings from the next attempt on.
    pub fn reload(&self, settings: Settings) {
        let is_paused = settings.paused;
        if self.inner.settings.swap(Arc::new(settings)).paused != is_paused {
            tell_of_pause(is_paused);
        }
        self.inner.tools.pauses.note(is_paused, now_ms());
        self.inner.tools.metrics.paused.set(i64::from(is_paused));
    }

    /// For how many milliseconds between two times (since 1970) mail was paused.
    #[must_use]
    pub fn paused_ms(&self, from_ms: u64, to_ms: u64) -> u64 {
        self.inner.tools.pauses.between(from_ms, to_ms)
    }

    /// Destinations that are left alone are not any more, for the next mail at each of them: an operator wants to know.
    pub fn try_again(&self) {
        self.inner.destinations.try_again();
        self.inner.throttle.forget_lines();
    }

    /// An operator has taken mail out that may have waited for its turn.
    pub fn close_ranks(&self) {
        self.inner.throttle.forget_lines();
    }

    /// Whether a recipient lives on a server behind this one.
    #[must_use]
    pub fn relays(&self, path: &ForwardPath) -> bool {
        self.inner.settings.load().relayed.iter().any(|domain| domain.is_of(path))
    }

    /// As `relays`, of all recipients of a domain (A-labels, lower case).
    #[must_use]
    pub fn relays_domain(&self, domain: &str) -> bool {
        self.inner.settings.load().relayed.iter().any(|pattern| pattern.is_of_domain(domain))
    }

    /// Whether one more mail may be in delivery.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.inner.slots.available_permits() > 0 && !self.inner.settings.load().paused
    }

    /// Runs a mail's attempt, and then what closes it, on a task of their own. `close` answers whether the outcome is kept;
    /// `freed` is called once there is room for another mail.
    pub(super) fn spawn<C, F>(
        &self,
        message: Arc<NewMessage>,
        admitted: Admitted,
        close: C,
        freed: impl FnOnce() + Send + 'static,
    ) where
        C: FnOnce(Vec<Attempt>) -> F + Send + 'static,
        F: Future<Output = bool> + Send,
    {
        let inner = Arc::clone(&self.inner);
        let mut tasks = lock(&self.inner.tasks);
        // Those that have ended take room until they are asked for.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let Admitted { groups, attempted, slot } = admitted;
            let attempted = inner.attempt_all(&message, groups, attempted).await;
            // All its recipients were still waiting for a place when the server stopped: the mail goes back as it was.
            if attempted.is_empty() {
                return;
            }
            let done: Vec<Attempt> = attempted.iter().filter(|attempt| attempt.is_done()).cloned().collect();
            if close(attempted).await {
                lock(&inner.unsettled).remove(&message.id);
            } else {
                lock(&inner.unsettled).insert(message.id, done);
            }
            drop(slot);
            freed();
        });
    }

    /// Lets the mails that are with a server come to an end for a while, then breaks off what is left: they stay queued.
    pub async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *lock(&self.inner.tasks));
        self.inner.slots.close();
        self.inner.destinations.close();
        let ended = timeout(STOP_TIME, async { while tasks.join_next().await.is_some() {} });
        if ended.await.is_err() {
            warn!(mails = tasks.len(), "deliveries to other servers are broken off; the mails stay queued");
        }
        tasks.shutdown().await;
        for kept in self.inner.destinations.clear() {
            kept.connection.quit().await;
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

fn tell_of_pause(is_paused: bool) {
    if is_paused {
        warn!("mail to other servers waits: `paused` is set in [delivery.remote]");
    } else {
        info!("mail to other servers goes out again");
    }
}

/// Forgets what is old, and takes leave of servers that were kept waiting for another mail.
async fn sweep(inner: std::sync::Weak<Inner>) {
    loop {
        tokio::time::sleep(SWEEP_PAUSE).await;
        let Some(inner) = inner.upgrade() else { return };
        let stale = inner.destinations.sweep();
        inner.hops.sweep();
        inner.throttle.sweep();
        let (known, put_off) = inner.destinations.count();
        inner.tools.metrics.tell_destinations(known, put_off);
        debug!(known, put_off, stale = stale.len(), "destinations were swept");
        for kept in stale {
            kept.connection.quit().await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Mails in delivery to other servers at the same time, waiting for a place included. Each holds at most 256 KiB of body.
const MAILS_MAX: usize = 500;
/// Below the time that the process has to close its rooms.
const STOP_TIME: Duration = Duration::from_secs(25);
/// Half the time that a connection is kept.
const SWEEP_PAUSE: Duration = Duration::from_secs(5);

#[cfg(test)]
pub(in crate::delivery) mod tests;
