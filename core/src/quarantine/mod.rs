//! Infected mail under lock and key: whole, with its envelope and what the scan said, until an operator decides or it expires.
//!
//! ```text
//! quarantine/1M829761E0000.eml       the mail as it came in, trace headers first
//! quarantine/1M829761E0000.json      its envelope, where it came from, what was found; written last
//! quarantine/overruled.json          which contents the operator has let go in spite of a finding
//! ```
//! A mail is named by its queue id. The store remembers that a recipient's copy belongs here before the copy is kept, and the
//! queue records it after: so a replay keeps it here once more, which changes nothing, and never delivers it. What an
//! operator takes out while the queue may still replay it leaves the JSON file behind, without recipients, until the queue
//! has its record.

mod folder;
mod later;
pub mod metrics;
mod record;
mod release;
mod selection;

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use self::folder::rulings::rulings;
use self::folder::{Folder, Removed};
use crate::clock::{Ages, now_ms};
use crate::disk::{Disk, Worked};
use crate::events::{About, Log, What};
use crate::queue::{NewMessage, QueueId};
use crate::scan::{ItemName, Overruled, Stamp};
pub use metrics::Metrics;
pub use record::{FoundLater, KeptOrigin, KeptRecipient, Record};
pub use release::{ReleaseError, Released, Releaser};
pub use selection::Selection;

/// The quarantine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Quarantine {
    /// A job that panicked has left files at most, which the next opening looks at anew.
    folder: Worked<Folder>,
    overruled: Overruled,
    events: Log,
}

/// How much stays; the oldest goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Mails.
    pub messages: usize,
    /// Octets of all of them together. The newest stays whatever its size.
    pub octets: u64,
    /// How long a mail stays.
    pub age: Duration,
}

/// A mail to keep.
#[derive(Debug, Clone)]
pub struct Suspect {
    /// The mail.
    pub message: Arc<NewMessage>,
    /// Whose copies: indices into its envelope's recipients.
    pub recipients: Vec<u32>,
    /// What was found.
    pub evidence: Evidence,
    /// In how many of its items, as far as is known: a scan ends at the first one, a rewriting knows them all.
    pub files: usize,
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The threat's name, `[A-Za-z0-9._-]`, at most 128.
    pub threat: String,
    /// In which item; `None` where only a record of the finding is left.
    pub item: Option<ItemName>,
    /// With which engine, signatures and policy.
    pub stamp: Option<Stamp>,
}

/// A mail and the beginning of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// All that is known of it.
    pub record: Record,
    /// Its header section, trace headers first; cut where it is long. Octets that are no UTF-8 are replaced.
    pub header: String,
}

/// What the operator has overruled, for programs that only read mail. Blocking.
///
/// # Errors
/// The disk's, or the file cannot be read as ours.
pub fn overruled(disk: &dyn Disk, root: &Path) -> io::Result<Overruled> {
    let overruled = Overruled::default();
    rulings(disk, root)?.into_iter().for_each(|ruling| overruled.insert(ruling));
    Ok(overruled)
}

// === impl Quarantine ===

impl Quarantine {
    /// Opens the folder (made if missing) and removes what a crash left half-written and what does not fit any more. What the
    /// operator has overruled goes to `overruled`. Blocking.
    ///
    /// # Errors
    /// The disk's, or the operating system's where it refuses a thread.
    pub fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        settings: Settings,
        overruled: Overruled,
        events: Log,
        metrics: Option<Metrics>,
    ) -> io::Result<Self> {
        rulings(&*disk, root)?.into_iter().for_each(|ruling| overruled.insert(ruling));
        let (folder, removed) = Folder::open(disk, root, settings, metrics)?;
        let folder = Worked::start("gatepost-quarant", folder)?;
        let quarantine = Self { folder, overruled, events };
        quarantine.tell_expired(removed);
        Ok(quarantine)
    }

    /// Compares with the queue, which still holds these mails: what it does not hold will not be replayed, and what was on
    /// its way back into it and is there has been released. To be called before mail is delivered.
    ///
    /// # Errors
    /// The disk's.
    pub async fn reconcile(&self, queued: HashSet<QueueId>) -> io::Result<()> {
        self.folder.run(move |folder| folder.reconcile(&queued)).await?
    }

    /// Keeps a mail, or further copies of one: durable when this returns. Copies that are here, or were, stay as they are.
    ///
    /// # Errors
    /// The disk's; then nothing has changed. A body that turns out to be damaged is none: what can be read of it is kept.
    pub async fn keep(&self, suspect: Suspect) -> io::Result<()> {
        let removed = self.folder.run(move |folder| folder.keep(&suspect, now_ms())).await??;
        self.tell_expired(removed);
        Ok(())
    }

    /// The queue will not replay what it has told of this mail so far.
    ///
    /// # Errors
    /// The disk's.
    pub async fn settled(&self, id: QueueId) -> io::Result<()> {
        self.folder.run(move |folder| folder.settled(id)).await?
    }

    /// The mails that a selection lets through, oldest first. `by` is who asks, for the event log.
    ///
    /// # Errors
    /// A bug: the thread has panicked.
    pub async fn list(&self, selection: Selection, by: &str) -> io::Result<Vec<Record>> {
        let found = self.folder.run(move |folder| folder.select(&selection)).await?;
        let what = What::QuarantineListed { by: by.to_owned(), messages: found.len() };
        self.events.record(About::default(), what);
        Ok(found)
    }

    /// One mail; `None` where it is not here.
    ///
    /// # Errors
    /// The disk's.
    pub async fn show(&self, id: QueueId, by: &str) -> io::Result<Option<Details>> {
        let details = self.folder.run(move |folder| folder.show(id)).await??;
        if let Some(details) = &details {
            let what = What::QuarantineShown { by: by.to_owned(), details: details.record.details() };
            self.events.record(details.record.about(), what);
        }
        Ok(details)
    }

    /// Deletes mails for good and answers how many. One that is being released stays.
    ///
    /// # Errors
    /// The disk's; some may have gone all the same.
    pub async fn delete(&self, selection: Selection, by: &str) -> io::Result<usize> {
        let (removed, result) = self
            .folder
            .run(move |folder| {
                let mut removed = Vec::new();
                let result = folder.delete(&selection, &mut removed);
                (removed, result)
            })
            .await?;
        for record in &removed {
            tracing::info!(queue_id = record.id, by, "a mail was deleted from the quarantine");
            let what = What::QuarantineDeleted { by: by.to_owned(), details: record.details() };
            self.events.record(record.about(), what);
        }
        result.map(|()| removed.len())
    }

    /// Removes what is too old or too much, now and then and whenever the bounds change. Ends when nobody can change them any
    /// more.
    pub async fn watch(self, mut bounds: watch::Receiver<Settings>) {
        let ages = Ages::start();
        loop {
            match tokio::time::timeout(SWEEP_INTERVAL, bounds.changed()).await {
                Ok(Ok(())) | Err(_) => (),
                Ok(Err(_)) => return,
            }
            let settings = *bounds.borrow_and_update();
            let now_ms = ages.now_ms();
            let swept = self.folder.run(move |folder| folder.resize(settings, now_ms)).await;
            match swept.and_then(|swept| swept) {
                Ok(removed) => self.tell_expired(removed),
                Err(error) => tracing::warn!(%error, "old mail in the quarantine could not be removed"),
            }
        }
    }

    fn tell_expired(&self, removed: Vec<Removed>) {
        for Removed { record, why } in removed {
            tracing::info!(queue_id = record.id, why, "a mail in the quarantine was removed");
            let what = What::QuarantineExpired { why: why.into(), details: record.details() };
            self.events.record(record.about(), what);
        }
    }
}

// === impl Settings ===

impl Settings {
    /// For who only looks and must not make room.
    pub const UNBOUNDED: Self = Self { messages: usize::MAX, octets: u64::MAX, age: Duration::MAX };
}

impl Default for Settings {
    fn default() -> Self {
        Self { messages: MESSAGES_DEFAULT, octets: OCTETS_DEFAULT, age: AGE_DEFAULT }
    }
}

/// Ages are counted in days.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);
/// More than a person looks through; their records are in memory.
const MESSAGES_DEFAULT: usize = 1000;
/// Twenty of the largest mails, or a thousand of usual ones.
const OCTETS_DEFAULT: u64 = 1024 * 1024 * 1024;
/// A holiday, and the week after it.
const AGE_DEFAULT: Duration = Duration::from_secs(30 * 24 * 3600);

#[cfg(test)]
mod tests;
