//! Why the store could not do what it was asked for.

use std::io;

/// Nothing was changed; the same request may be made again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StoreError {
    /// No space on the disk, or the configured size is reached. Goes away when space is made.
    #[error("no space left for the mailboxes")]
    Full,
    /// Another process holds the database, or all readers are taken.
    #[error("the mailbox database is busy")]
    Busy,
    /// The database is damaged; somebody has to look at it.
    #[error("the mailbox database is damaged")]
    Corrupt,
    /// The body that was handed in cannot be read, or is not as long as announced.
    #[error("the body of the mail cannot be read")]
    BodyUnreadable,
    /// The body that was handed in is not what was written to the disk.
    #[error("the body of the mail is damaged")]
    BodyDamaged,
    /// Anything else that SQLite or the disk refused; the log has the detail.
    #[error("the mailbox database failed")]
    Failed,
    /// The store has been closed.
    #[error("the mailbox database is closed")]
    Closed,
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its file or folder.
    #[error("the mailbox database cannot be opened: {0}")]
    Io(#[from] io::Error),
    /// SQLite refused.
    #[error("the mailbox database cannot be opened: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A newer Gatepost has written it.
    #[error(
        "the mailbox database has schema {found}, this version knows up to {known}: use a newer Gatepost"
    )]
    NewerSchema {
        /// The version in the file.
        found: u32,
        /// The newest version this program can read.
        known: u32,
    },
    /// A counter could not be registered.
    #[error("the metrics of the mailbox database cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

// === impl StoreError ===

impl From<&rusqlite::Error> for StoreError {
    fn from(error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt,
            _ => Self::Failed,
        }
    }
}
