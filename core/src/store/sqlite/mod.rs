//! Mailboxes in one SQLite file.

use std::path::Path;

use super::{
    Delivery, Listing, MailStore, MailboxTotals, Metrics, OpenError, ScanMark, StoreError, StoredMessage,
};
use crate::BoxFuture;
use crate::delivery::Disposition;
use crate::queue::QueueId;

/// How to open a database.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Connections for reading, a thread each.
    pub readers: usize,
    /// The file does not grow beyond this many octets (rounded to pages); a mail that needs more gets `Full`.
    pub octets_max: Option<u64>,
}

/// An open database.
#[derive(Debug)]
pub struct SqliteStore {}

// === impl SqliteStore ===

impl SqliteStore {
    /// Opens the database at `path`, making it (0600) and its folder (0700) where they are missing. Blocking.
    ///
    /// # Errors
    /// When the file cannot be opened, is no database, or was written by a newer Gatepost.
    pub fn open(path: &Path, settings: &Settings, metrics: Option<Metrics>) -> Result<Self, OpenError> {
        todo!()
    }
}

impl MailStore for SqliteStore {
    fn deliver(&self, delivery: Delivery) -> BoxFuture<'_, Result<Vec<(u32, Disposition)>, StoreError>> {
        todo!()
    }
    fn record(
        &self,
        queue_id: QueueId,
        dispositions: Vec<(u32, Disposition)>,
    ) -> BoxFuture<'_, Result<Vec<(u32, Disposition)>, StoreError>> {
        todo!()
    }
    fn forget(&self, queue_id: QueueId, recipients: Vec<u32>) -> BoxFuture<'_, Result<(), StoreError>> {
        todo!()
    }
    fn forget_before(&self, oldest: QueueId) -> BoxFuture<'_, Result<(), StoreError>> {
        todo!()
    }
    fn mailboxes(&self) -> BoxFuture<'_, Result<Vec<MailboxTotals>, StoreError>> {
        todo!()
    }
    fn list(&self, mailbox: &str) -> BoxFuture<'_, Result<Listing, StoreError>> {
        todo!()
    }
    fn fetch(&self, mailbox: &str, uid: u32) -> BoxFuture<'_, Result<Option<StoredMessage>, StoreError>> {
        todo!()
    }
    fn delete(&self, mailbox: &str, uids: Vec<u32>) -> BoxFuture<'_, Result<usize, StoreError>> {
        todo!()
    }
    fn mark(&self, mailbox: &str, uid: u32, mark: ScanMark) -> BoxFuture<'_, Result<(), StoreError>> {
        todo!()
    }
    fn remove_mailbox(&self, mailbox: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        todo!()
    }
    fn close(&self) -> BoxFuture<'_, ()> {
        todo!()
    }
}
