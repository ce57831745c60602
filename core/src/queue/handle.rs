//! The queue's door.

use std::path::Path;
use std::sync::Arc;

use super::{
    AppendError, Claim, Details, Metrics, NewMessage, OpenError, Outcome, QueueId, Recovered, Settings,
    Summary,
};
use crate::disk::Disk;
use crate::intake::Spool;

/// The queue. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Queue {}

/// What lay in the queue when it was looked at.
#[derive(Debug)]
pub struct Snapshot {}

/// Makes a claimed message due again when dropped unsettled.
#[derive(Debug)]
pub(super) struct Lease {}

// === impl Queue ===

impl Queue {
    /// Recovers what lies in `root` (made if missing) and starts the writer. Blocking: call it before the runtime
    /// serves, or on a blocking thread. One process a folder: the caller holds the lock.
    pub fn open(
        _disk: Arc<dyn Disk>,
        _root: &Path,
        _settings: Settings,
        _metrics: Option<Metrics>,
    ) -> Result<(Self, Recovered), OpenError> {
        todo!()
    }

    /// Reads the queue without changing it, also beside a running server. Blocking.
    pub fn inspect(_disk: Arc<dyn Disk>, _root: &Path) -> Result<Snapshot, OpenError> {
        todo!()
    }

    /// Where bodies of this queue are collected: `BodyBuffer::new(queue.spool())`.
    #[must_use]
    pub fn spool(&self) -> Spool {
        todo!()
    }

    /// A fresh id, greater than every one before it.
    #[must_use]
    pub fn allocate_id(&self) -> QueueId {
        todo!()
    }

    /// Makes a message durable; returns after the flush.
    pub async fn append(&self, _message: NewMessage) -> Result<QueueId, AppendError> {
        todo!()
    }

    /// Waits for the next due message. `None` once the queue is closed.
    pub async fn claim(&self) -> Option<Claim> {
        todo!()
    }

    /// Records what became of recipients; terminal records are flushed before it returns. Recipients without an
    /// outcome stay due at once. On an error nothing is recorded and the message is due again at once.
    pub async fn settle(&self, _claim: Claim, _outcomes: Vec<(usize, Outcome)>) -> Result<(), AppendError> {
        todo!()
    }

    /// All messages with a pending recipient, oldest first.
    pub async fn list(&self) -> Vec<Summary> {
        todo!()
    }

    /// One message.
    pub async fn show(&self, _id: QueueId) -> Option<Details> {
        todo!()
    }

    /// Stops the writer after what it has been given; every later append gets `Closed`.
    pub async fn close(&self) {
        todo!()
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// All messages with a pending recipient, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Summary> {
        todo!()
    }

    /// One message.
    #[must_use]
    pub fn show(&self, _id: QueueId) -> Option<Details> {
        todo!()
    }
}
