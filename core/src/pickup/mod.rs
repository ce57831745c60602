//! The pickup folder: a mail that is dropped there is sent.
//!
//! ```text
//! folder (look, take) -> message (lines, header, envelope) -> directory, header firewall -> queue -> removed
//!                                   \__________________________\______ what must not be sent -> badmail
//! ```
//! - A mail is written elsewhere and renamed into the folder, or written there under a name that ends in `.tmp`. One that is
//!   written there under its own name is left alone until it has stood still for two seconds.
//! - Its sender must live here, and its recipients must be ones that a user of ours could reach. It is scanned in the
//!   queue, as everything is that comes there without a scan.
//! - It is removed when it is durable in the queue. A crash in between is noticed by its name, which is its queue id then;
//!   where the mail was delivered as well before the crash, it is sent a second time.
//! - Trouble of ours (a full disk) leaves the file where it is.

mod folder;
pub mod message;
pub mod metrics;
mod worker;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::badmail::Badmail;
use crate::delivery::remote::Remote;
use crate::directory::Directory;
use crate::disk::IoPool;
use crate::events::Log;
use crate::memory::MemoryBudget;
use crate::queue::Queue;
use folder::Folder;
pub use metrics::Metrics;
pub(crate) use worker::LISTENER;
use worker::Worker;

/// The running room. Dropped without `stop`, it ends after the file in its hands.
#[derive(Debug)]
pub struct Pickup {
    settings: Arc<ArcSwap<Settings>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What a dropped mail may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Our name in `Received:` and `Message-ID:`; a checked domain name.
    pub hostname: String,
    /// Largest file.
    pub message_octets: u64,
    /// Recipients of one mail.
    pub recipients: usize,
    /// Whether recipients may live elsewhere: mail leaves this server.
    pub sends_on: bool,
}

/// The rooms that it stands between.
#[derive(Clone)]
pub struct Rooms {
    /// Where the mail goes.
    pub queue: Queue,
    /// Who lives here.
    pub directory: Directory,
    /// Knows who lives on a server behind this one, whatever the directory says of him.
    pub remote: Option<Remote>,
    /// Where files go that must not be sent.
    pub badmail: Badmail,
    /// Bodies draw on it.
    pub memory: MemoryBudget,
    /// Told of each mail.
    pub events: Log,
}

// === impl Pickup ===

impl Pickup {
    /// Watches a folder, which must be there. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The operating system's, where it refuses a thread.
    pub fn start(
        folder: &Path,
        rooms: Rooms,
        settings: Settings,
        metrics: Option<Metrics>,
    ) -> io::Result<Self> {
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let (stop, stopped) = watch::channel(false);
        let pool = IoPool::start("gatepost-pickup", 1)?;
        let folder = Folder::new(folder.to_owned(), REST);
        let worker = Worker::new(folder, rooms, Arc::clone(&settings), metrics, pool, stopped);
        Ok(Self { settings, stop, task: tokio::spawn(worker.run()) })
    }

    /// Takes new settings on; they hold for files from now on.
    pub fn reload(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// Lets it finish the file in its hands.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the watch over the pickup folder had died");
        }
    }
}

/// Programs that copy a file do not pause for so long. Who writes in pieces over a longer time has to use a draft's name: nothing
/// else tells that he has not finished.
const REST: Duration = Duration::from_secs(2);
