//! Mailboxes in one SQLite file.
//!
//! ```text
//! deliver, record, delete ... -> writer (one thread, many changes a transaction) -> changes, bodies
//! list, fetch, mailboxes      -> readers (a few threads, a snapshot each)        -> queries
//! ```
//! Write-ahead log with `synchronous = FULL`: a change is answered after the flush of its transaction. A body is one
//! row however many mailboxes share it, in chunks, so that no body is ever in memory as a whole while it is written.

mod bodies;
mod changes;
mod copies;
mod queries;
mod readers;
mod replace;
mod schema;
mod survey;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rusqlite::Connection;

use self::readers::Readers;
use self::writer::Writer;
use super::{
    Delivery, Listing, MailStore, MailboxTotals, Metrics, OpenError, ScanMark, StoreError, StoredMessage,
    Summary,
};
use crate::BoxFuture;
use crate::delivery::Disposition;
use crate::queue::QueueId;

/// How to open a database.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Connections for reading, a thread each; at least one is opened.
    pub readers: usize,
    /// The file does not grow beyond this many octets (rounded to pages); a mail that needs more gets `Full`.
    pub octets_max: Option<u64>,
}

/// An open database. Other processes may have the same file open.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
    metrics: Option<Metrics>,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self { readers: READERS_DEFAULT, octets_max: None }
    }
}

// === impl SqliteStore ===

impl SqliteStore {
    /// Opens the database at `path`, making it (0600) and its folder (0700) where they are missing. Blocking.
    ///
    /// # Errors
    /// When the file cannot be opened, is no database, or was written by a newer Gatepost.
    pub fn open(path: &Path, settings: &Settings, metrics: Option<Metrics>) -> Result<Self, OpenError> {
        make_private_file(path)?;
        let mut connection = schema::connect(path, settings.octets_max)?;
        schema::migrate(&mut connection)?;
        let readers = Readers::start(path, settings.readers.max(1))?;
        let writer = Writer::start(connection, metrics.clone())?;
        Ok(Self { writer, readers, metrics })
    }

    fn counted<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let (Err(error), Some(metrics)) = (&result, &self.metrics) {
            metrics.count_error(*error);
        }
        result
    }
}

impl MailStore for SqliteStore {
    fn deliver(&self, delivery: Delivery) -> BoxFuture<'_, Result<Vec<(u32, Disposition)>, StoreError>> {
        let octets = delivery.body.octets();
        let apply = move |db: &Connection| changes::deliver(db, &delivery);
        Box::pin(async move {
            let delivered = self.counted(self.writer.change(octets, apply).await)?;
            if let Some(metrics) = &self.metrics {
                metrics.copies.inc_by(delivered.copies);
                metrics.body_octets.inc_by(delivered.body_octets);
            }
            Ok(delivered.dispositions)
        })
    }

    fn record(
        &self,
        queue_id: QueueId,
        dispositions: Vec<(u32, Disposition)>,
    ) -> BoxFuture<'_, Result<Vec<(u32, Disposition)>, StoreError>> {
        let apply = move |db: &Connection| changes::record(db, queue_id, &dispositions);
        Box::pin(async move { self.counted(self.writer.change(0, apply).await) })
    }

    fn remembered(
        &self,
        queue_id: QueueId,
        recipients: Vec<u32>,
    ) -> BoxFuture<'_, Result<Vec<(u32, Disposition)>, StoreError>> {
        let read = move |db: &Connection| queries::remembered(db, queue_id, &recipients);
        Box::pin(async move { self.counted(self.readers.query(read).await) })
    }

    fn forget(&self, queue_id: QueueId, recipients: Vec<u32>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.counted(self.writer.forget(queue_id, recipients).await) })
    }

    fn forget_all_but(&self, held: HashSet<QueueId>) -> BoxFuture<'_, Result<(), StoreError>> {
        let apply = move |db: &Connection| changes::forget_all_but(db, &held);
        Box::pin(async move { self.counted(self.writer.change(0, apply).await) })
    }

    fn mailboxes(&self) -> BoxFuture<'_, Result<Vec<MailboxTotals>, StoreError>> {
        Box::pin(async move { self.counted(self.readers.query(queries::mailboxes).await) })
    }

    fn list(&self, mailbox: &str) -> BoxFuture<'_, Result<Listing, StoreError>> {
        let mailbox = mailbox.to_owned();
        Box::pin(async move { self.counted(self.readers.query(move |db| queries::list(db, &mailbox)).await) })
    }

    fn summary(&self, mailbox: &str, uid: u32) -> BoxFuture<'_, Result<Option<Summary>, StoreError>> {
        let mailbox = mailbox.to_owned();
        Box::pin(async move {
            self.counted(self.readers.query(move |db| queries::summary(db, &mailbox, uid)).await)
        })
    }

    fn fetch(&self, mailbox: &str, uid: u32) -> BoxFuture<'_, Result<Option<StoredMessage>, StoreError>> {
        let mailbox = mailbox.to_owned();
        Box::pin(async move {
            self.counted(self.readers.query(move |db| queries::fetch(db, &mailbox, uid)).await)
        })
    }

    fn delete(&self, mailbox: &str, uids: Vec<u32>) -> BoxFuture<'_, Result<usize, StoreError>> {
        let mailbox = mailbox.to_owned();
        let apply = move |db: &Connection| changes::delete(db, &mailbox, &uids);
        Box::pin(async move { self.counted(self.writer.change(0, apply).await) })
    }

    fn mark(&self, mailbox: &str, uid: u32, mark: ScanMark) -> BoxFuture<'_, Result<(), StoreError>> {
        let mailbox = mailbox.to_owned();
        let apply = move |db: &Connection| changes::mark(db, &mailbox, uid, &mark);
        Box::pin(async move { self.counted(self.writer.change(0, apply).await) })
    }

    fn remove_mailbox(&self, mailbox: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        let mailbox = mailbox.to_owned();
        let apply = move |db: &Connection| changes::remove_mailbox(db, &mailbox);
        Box::pin(async move { self.counted(self.writer.change(0, apply).await) })
    }

    fn is_closed(&self) -> bool {
        self.writer.is_closed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.readers.close().await;
            self.writer.close().await;
        })
    }
}

/// Why one transaction did not happen, with the detail that the log gets and the caller does not.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("the body cannot be read: {0}")]
    Body(#[from] io::Error),
    #[error("the folder has used up its uids")]
    UidsExhausted,
}

// === impl Fault ===

impl From<&Fault> for StoreError {
    fn from(fault: &Fault) -> Self {
        match fault {
            Fault::Sqlite(error) => error.into(),
            Fault::Body(error) if error.kind() == io::ErrorKind::InvalidData => Self::BodyDamaged,
            Fault::Body(_) => Self::BodyUnreadable,
            Fault::UidsExhausted => Self::Failed,
        }
    }
}

/// SQLite would make the file with the process's umask; mail is nobody else's business. Its `-wal` and `-shm` files
/// inherit the mode. A folder of ours is flushed into its parent, so that a power cut cannot lose it with the first
/// mails in it.
fn make_private_file(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent()
        && !folder.exists()
    {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        if let Some(parent) = folder.parent() {
            File::open(parent)?.sync_all()?;
        }
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file.sync_all()?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    }
    match path.parent() {
        Some(folder) if fs::metadata(folder).is_ok() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

/// Enough that one reader of large mails does not stop the others; each costs a thread and SQLite's 2 MiB page cache.
const READERS_DEFAULT: usize = 4;
