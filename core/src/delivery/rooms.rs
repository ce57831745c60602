//! The rooms that delivery stands between, and where a recipient lives.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use gatepost_smtp::wire::path::ForwardPath;

use super::Watchdog;
use super::remote::Remote;
use super::warning::Pace;
use crate::badmail::Badmail;
use crate::directory::{Directory, Resolution};
use crate::events::Log;
use crate::forwarding::{forward, forward_late};
use crate::intake::Submission;
use crate::proactive::Proactive;
use crate::quarantine::Quarantine;
use crate::queue::{Lane, Queue};
use crate::scan::{Rewriter, Scanner};
use crate::store::{MailStore, MailboxCopy};

/// Whether workers may take mail of a lane now.
pub(super) fn is_open(remote: Option<&Remote>, lane: Lane) -> bool {
    lane == Lane::Local || remote.is_none_or(Remote::has_room)
}

/// The rooms that delivery stands between.
#[derive(Clone)]
pub struct Rooms {
    /// Where the mail waits.
    pub queue: Queue,
    /// Vouches for mail that comes without a current stamp.
    pub scanner: Scanner,
    /// Who lives here.
    pub directory: Directory,
    /// Where it goes.
    pub store: Arc<dyn MailStore>,
    /// Takes mail to other servers; without it, mail for other domains is given up.
    pub remote: Option<Remote>,
    /// Told of every attempt.
    pub watchdog: Watchdog,
    /// Keeps what can be neither delivered nor returned; without it, such mail is gone, and the log says so.
    pub badmail: Option<Badmail>,
    /// Takes what is infected.
    pub quarantine: Quarantine,
    /// Takes what is infected out of a mail.
    pub rewriter: Rewriter,
    /// Scans what lies in the mailboxes of a database without a current stamp; without it, readers wait for that.
    pub proactive: HashMap<String, Proactive>,
    /// Told what becomes of each recipient.
    pub events: Log,
    /// Of warnings, all together.
    pub warned: Pace,
}

// === impl Rooms ===

impl Rooms {
    /// Whether workers may take mail of a lane now.
    pub(super) fn is_open(&self, lane: Lane) -> bool {
        is_open(self.remote.as_ref(), lane)
    }

    /// Has the queue keep mail for other servers apart, so that however much of it waits, it does not stand before mail for
    /// mailboxes here.
    pub(super) fn sort_queue(&self) {
        let (directory, remote) = (self.directory.clone(), self.remote.clone());
        self.queue.sort_by(move |domain| {
            let is_relayed = remote.as_ref().is_some_and(|remote| remote.relays_domain(domain));
            let is_here = !is_relayed && (domain.is_empty() || directory.has_domain(domain));
            if is_here { Lane::Local } else { Lane::Remote }
        });
    }

    pub(super) fn resolve(&self, path: &ForwardPath) -> Resolution {
        if self.relays(path) { Resolution::Foreign } else { self.directory.resolve(path) }
    }

    /// A mail of our own, as the queue is to have it.
    pub(super) fn forward(&self, submission: Submission) -> Submission {
        forward(&self.directory, submission, self.remote.is_some(), |path| self.relays(path))
    }

    /// A mail of its own for recipients whose addresses have come to lead elsewhere.
    pub(super) fn forward_late(&self, accepted: &Submission, recipients: &[usize]) -> Option<Submission> {
        forward_late(&self.directory, accepted, recipients, |path| self.relays(path))
    }

    /// Whether somebody has a mailbox here, himself or behind an alias.
    pub(super) fn lives_here(&self, path: &ForwardPath) -> bool {
        !self.mailboxes_of(path).is_empty()
    }

    /// The database in which somebody has his mailboxes; `None` where they lie in several, or he has none here.
    pub(super) fn database_of(&self, path: &ForwardPath) -> Option<&str> {
        let mailboxes = self.mailboxes_of(path);
        let mut names = mailboxes.iter().map(|mailbox| self.store.database_of(mailbox));
        let first = names.next()?;
        names.all(|name| name == first).then_some(first)
    }

    fn mailboxes_of(&self, path: &ForwardPath) -> Arc<[String]> {
        match self.resolve(path) {
            Resolution::Local(mailboxes) => mailboxes,
            Resolution::Forwarded(forwarding) => Arc::clone(&forwarding.mailboxes),
            Resolution::Foreign | Resolution::Rewritten { .. } | Resolution::UnknownLocal => Arc::default(),
        }
    }

    /// The databases that these copies go to, each once.
    pub(super) fn databases_of(&self, copies: &[MailboxCopy]) -> BTreeSet<&str> {
        copies.iter().map(|copy| self.store.database_of(&copy.mailbox)).collect()
    }

    /// Whether a recipient lives on a server behind this one.
    pub(super) fn relays(&self, path: &ForwardPath) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.relays(path))
    }
}
