//! The tables, and the way from each version to the next.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior, params};

use crate::store::OpenError;

/// A connection with the pragmas that durability and the tables rely on.
pub(super) fn connect(path: &Path, octets_max: Option<u64>) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", WAL_OCTETS_KEPT)?;
    if let Some(octets) = octets_max {
        let page: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = octets.checked_div(page).unwrap_or(1).max(1);
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    Ok(connection)
}

/// Brings the tables to the newest version, each step in a transaction of its own.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(MIGRATIONS_TABLE)?;
    let found: u32 =
        transaction.query_row("SELECT coalesce(max(version), 0) FROM migrations", [], |row| row.get(0))?;
    if found > known {
        return Err(OpenError::NewerSchema { found, known });
    }
    for (version, step) in (1_u32..).zip(MIGRATIONS) {
        if version > found {
            transaction.execute_batch(step)?;
            transaction.execute(
                "INSERT INTO migrations (version, applied_at) VALUES (?1, unixepoch())",
                params![version],
            )?;
        }
    }
    transaction.commit()?;
    Ok(())
}

const MIGRATIONS_TABLE: &str = "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL) STRICT;";

/// Step n leads from version n to n + 1. A released step is never edited.
const MIGRATIONS: [&str; 2] = [
    "
CREATE TABLE mailboxes (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE
) STRICT;

CREATE TABLE folders (
    id INTEGER PRIMARY KEY,
    mailbox_id INTEGER NOT NULL REFERENCES mailboxes (id),
    name TEXT NOT NULL,
    uid_validity INTEGER NOT NULL,
    uid_next INTEGER NOT NULL DEFAULT 1,
    UNIQUE (mailbox_id, name)
) STRICT;

-- One row for the single value that must outlive the folders it was used for.
CREATE TABLE uid_validity (last INTEGER NOT NULL) STRICT;
INSERT INTO uid_validity (last) VALUES (0);

-- stamp: what the body was last scanned with; threat: what was found then.
CREATE TABLE bodies (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    octets INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    stamp TEXT NOT NULL,
    threat TEXT
) STRICT;

CREATE TABLE body_chunks (
    body_id INTEGER NOT NULL REFERENCES bodies (id),
    number INTEGER NOT NULL,
    octets BLOB NOT NULL,
    PRIMARY KEY (body_id, number)
) STRICT;

CREATE TABLE messages (
    folder_id INTEGER NOT NULL REFERENCES folders (id),
    uid INTEGER NOT NULL,
    queue_id BLOB NOT NULL,
    received_at_ms INTEGER NOT NULL,
    head BLOB NOT NULL,
    body_id INTEGER NOT NULL REFERENCES bodies (id),
    PRIMARY KEY (folder_id, uid)
) STRICT;
CREATE INDEX messages_by_body ON messages (body_id);

-- queue_id: eight octets, big-endian, so that ids compare as they rise.
CREATE TABLE dispositions (
    queue_id BLOB NOT NULL,
    recipient INTEGER NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT,
    PRIMARY KEY (queue_id, recipient)
) STRICT, WITHOUT ROWID;
",
    "
-- How far the background scan of this database has come, in its own words.
CREATE TABLE background_scan (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    progress TEXT NOT NULL
) STRICT;
",
];

/// Longer than any transaction of another process (`gatepost mailbox`, `gatepost user remove`) takes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What the write-ahead log may keep on disk after a checkpoint: it grows with the largest mail and would stay so.
const WAL_OCTETS_KEPT: u32 = 64 * 1024 * 1024;

/// More than there are statements in this folder.
const STATEMENTS_CACHED: usize = 48;
