//! The default backend: Gatepost itself. Directory, intake, scan and queue of `gatepost_core`, in this order. On listeners
//! with `backend = "relay"` it takes mail for the server behind as well.

mod incoming;
mod session_scan;
mod take_over;
mod transaction;

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use gatepost_core::BoxFuture;
use gatepost_core::delivery::Suspects;
use gatepost_core::directory::{Directory, Resolution};
use gatepost_core::dkim::Signers;
use gatepost_core::events::{About, Log, What};
use gatepost_core::filter::{self, HeaderFirewall, Stripped, Trust};
use gatepost_core::intake::Origin;
use gatepost_core::memory::MemoryBudget;
use gatepost_core::queue::Queue;
use gatepost_core::scan::Scanner;
use gatepost_smtp::server::{Refusal, Right, Rights};
use gatepost_smtp::wire::params::MailParams;
use gatepost_smtp::wire::path::{ForwardPath, ReversePath};

use super::behind::Behind;
use super::pass_through::Inspectors;
use super::{Backend, Transaction};
pub use session_scan::{SessionScan, SessionScans, SuspectAction};
use transaction::EmbeddedTransaction;

/// Accepts for local mailboxes, and from their users.
#[derive(Debug)]
pub struct Embedded {
    rooms: Arc<Rooms>,
}

/// How the embedded backend goes about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Our name in `Received:`; a checked domain name.
    pub hostname: String,
    /// How mail for other domains is taken from those with the right; `None`: not at all.
    pub relay: Option<Relay>,
    /// How sessions have mail scanned.
    pub scans: SessionScans,
}

/// Mail for other domains is sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relay {
    /// Whether an address literal may be one of loopback or of a private network.
    pub internal: bool,
}

/// Who does the work.
struct Rooms {
    directory: Directory,
    queue: Queue,
    scanner: Scanner,
    events: Log,
    filter_metrics: Option<filter::Metrics>,
    memory: MemoryBudget,
    signers: ArcSwap<Signers>,
    behind: ArcSwapOption<Behind>,
    suspects: ArcSwapOption<Suspects>,
    settings: ArcSwap<Settings>,
}

// === impl Embedded ===

impl Embedded {
    /// Of the rooms that do the work; bodies draw on `memory` while they come in. Nothing is signed before `sign_with`.
    #[must_use]
    pub fn new(
        directory: Directory,
        queue: Queue,
        scanner: Scanner,
        events: Log,
        filter_metrics: Option<filter::Metrics>,
        memory: MemoryBudget,
        settings: Settings,
    ) -> Self {
        let (signers, settings) = (ArcSwap::default(), ArcSwap::from_pointee(settings));
        Self {
            rooms: Arc::new(Rooms {
                directory,
                queue,
                scanner,
                events,
                filter_metrics,
                memory,
                signers,
                behind: ArcSwapOption::empty(),
                suspects: ArcSwapOption::empty(),
                settings,
            }),
        }
    }

    /// Those that look at mail, for mail that is not taken over here.
    #[must_use]
    pub fn inspectors(&self) -> Inspectors {
        Inspectors {
            scanner: self.rooms.scanner.clone(),
            spool: self.rooms.queue.spool(),
            memory: self.rooms.memory.clone(),
            filter_metrics: self.rooms.filter_metrics.clone(),
        }
    }

    /// Takes new settings on; they hold for commits from now on.
    pub fn reload(&self, settings: Settings) {
        self.rooms.settings.store(Arc::new(settings));
    }

    /// What mail is signed with now.
    #[must_use]
    pub fn signers(&self) -> Arc<Signers> {
        self.rooms.signers.load_full()
    }

    /// Signs what users send with these, for commits from now on.
    pub fn sign_with(&self, signers: Signers) {
        self.rooms.signers.store(Arc::new(signers));
    }

    /// Where sessions put infected mail that they do not refuse; before, there is no place for it.
    pub fn keep_suspects_in(&self, suspects: Suspects) {
        self.rooms.suspects.store(Some(Arc::new(suspects)));
    }

    /// Takes mail for a server behind as well, in sessions of its listeners and for transactions from now on.
    pub fn stand_before(&self, behind: Option<Behind>) {
        self.rooms.behind.store(behind.map(Arc::new));
    }
}

impl Backend for Embedded {
    fn begin<'a>(
        &'a self,
        origin: Origin,
        rights: Rights,
        reverse_path: &'a ReversePath,
        _params: &'a MailParams,
    ) -> BoxFuture<'a, Result<Box<dyn Transaction>, Refusal>> {
        Box::pin(async move {
            let rooms = Arc::clone(&self.rooms);
            let behind = rooms.behind.load_full().filter(|it| it.listeners.contains(&origin.listener));
            if !rooms.may_send(&origin, rights, reverse_path) {
                return Err(Refusal::SenderNotOwned);
            }
            // Before the body comes, which would be for nothing.
            if rooms.queue.was_full() {
                return Err(Refusal::StorageFull);
            }
            let transaction = EmbeddedTransaction::new(rooms, origin, rights, behind, reverse_path.clone());
            Ok(Box::new(transaction) as Box<dyn Transaction>)
        })
    }
}

// === impl Rooms ===

impl Rooms {
    /// A user sends as himself; others as whom their class may send as.
    fn may_send(&self, origin: &Origin, rights: Rights, reverse_path: &ReversePath) -> bool {
        let is_own = |user: &String| self.directory.may_send_as(user, reverse_path);
        if origin.user.as_ref().is_some_and(is_own) {
            return true;
        }
        let is_local = match reverse_path {
            ReversePath::Null => false,
            ReversePath::Mailbox(mailbox) => {
                let path = ForwardPath::Mailbox(mailbox.clone());
                self.lives_behind(&path) || self.directory.resolve(&path) != Resolution::Foreign
            }
        };
        rights.contains(Right::AcceptAnySender)
            && (!is_local || rights.contains(Right::AcceptAuthoritativeDomainSender))
    }

    /// Whether a recipient lives on the server behind, by whichever listener his mail comes.
    fn lives_behind(&self, path: &ForwardPath) -> bool {
        self.behind.load().as_ref().is_some_and(|behind| behind.has(path))
    }

    /// Where a recipient lives. What lives behind is not looked up, even where the directory has its domain too.
    fn resolve(&self, path: &ForwardPath) -> Resolution {
        if self.lives_behind(path) { Resolution::Foreign } else { self.directory.resolve(path) }
    }

    fn firewall(&self, trust: Trust) -> HeaderFirewall {
        HeaderFirewall::new(self.settings.load().hostname.as_str().into(), trust)
    }

    fn tell_stripped(&self, about: About, stripped: &Stripped) {
        if stripped.is_empty() {
            return;
        }
        if let Some(metrics) = &self.filter_metrics {
            metrics.count(stripped);
        }
        let (session, queue_id) = (about.session.as_deref(), about.queue_id.as_deref());
        let fields = stripped.to_string();
        tracing::info!(session, queue_id, fields, "trust headers were removed");
        self.events.record(about, What::Stripped { fields });
    }
}

impl std::fmt::Debug for Rooms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rooms").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
