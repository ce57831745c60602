//! Mail that can neither be delivered nor returned: kept for the operator, and never more of it than was agreed.
//!
//! ```text
//! badmail/1790000000000-1M829761E0000.eml    the mail, trace headers first
//! badmail/1790000000000-1M829761E0000.json   why it is here; written last, so a mail without it is not whole
//! ```
//! The first number is when it came here, milliseconds since 1970, so the names are in the order in which they go again.
//! A crash between keeping a mail and forgetting where it came from keeps it twice, never not at all.

mod folder;
pub mod metrics;

use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use crate::clock::{Ages, now_ms};
use crate::disk::{Disk, Worked};
use crate::queue::QueueId;
use folder::Folder;
pub use metrics::Metrics;

/// The folder of bad mail. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Badmail {
    /// A job that panicked has left files at most, which the next opening looks at anew.
    folder: Worked<Folder>,
}

/// How much of it stays; the oldest goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Mails.
    pub messages: usize,
    /// Octets of all of them together. A mail that is larger alone is cut.
    pub octets: u64,
    /// How long a mail stays.
    pub age: Duration,
}

/// A mail to keep.
pub struct BadMessage {
    /// Its name in the queue, or one that was allocated for it.
    pub id: QueueId,
    /// How it came to this.
    pub cause: Cause,
    /// What exactly was wrong with it. Text of ours; what it quotes of others is escaped.
    pub reason: String,
    /// From whom, with angle brackets; empty where that is not known.
    pub sender: String,
    /// To whom, with angle brackets.
    pub recipients: Vec<String>,
    /// The mail, trace headers first. Read on a thread of this room.
    pub content: Box<dyn Read + Send>,
}

/// How a mail can become bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It cannot be delivered, and there is nobody to return it to.
    Undeliverable,
    /// A file of the pickup folder that is no mail, or not one that may be sent.
    Pickup,
}

// === impl Badmail ===

impl Badmail {
    /// Opens the folder (made if missing), removes what a crash left half-written and what does not fit any more. Blocking.
    ///
    /// # Errors
    /// The disk's, or the operating system's where it refuses a thread.
    pub fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        settings: Settings,
        metrics: Option<Metrics>,
    ) -> io::Result<Self> {
        let folder = Folder::open(disk, root, settings, metrics)?;
        Ok(Self { folder: Worked::start("gatepost-badmail", folder)? })
    }

    /// Keeps a mail: durable when this returns its name.
    ///
    /// # Errors
    /// The disk's; then nothing of it was kept. A content that turns out to be damaged is none: what can be read of it is
    /// kept, and the reason file says so.
    pub async fn keep(&self, message: BadMessage) -> io::Result<String> {
        self.folder.run(move |folder| folder.keep(message, now_ms())).await?
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
            if let Err(error) = self.sweep(settings, ages.now_ms()).await {
                tracing::warn!(%error, "old bad mail could not be removed");
            }
        }
    }

    async fn sweep(&self, settings: Settings, now_ms: u64) -> io::Result<()> {
        self.folder.run(move |folder| folder.sweep(settings, now_ms)).await?
    }
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self { messages: MESSAGES_DEFAULT, octets: OCTETS_DEFAULT, age: AGE_DEFAULT }
    }
}

// === impl BadMessage ===

impl fmt::Debug for BadMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, cause, reason, sender, recipients, content: _ } = self;
        f.debug_struct("BadMessage")
            .field("id", id)
            .field("cause", cause)
            .field("reason", reason)
            .field("sender", sender)
            .field("recipients", recipients)
            .finish_non_exhaustive()
    }
}

// === impl Cause ===

impl Cause {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Undeliverable, Self::Pickup];

    /// For reason files and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Undeliverable => "undeliverable",
            Self::Pickup => "pickup",
        }
    }
}

/// Ages are counted in days.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);
/// More than a person looks through.
const MESSAGES_DEFAULT: usize = 1000;
/// A few of the largest mails, and nothing that a disk notices.
const OCTETS_DEFAULT: u64 = 256 * 1024 * 1024;
/// A holiday, and the week after it.
const AGE_DEFAULT: Duration = Duration::from_secs(30 * 24 * 3600);
