//! A walk through all messages of the database, and what it leaves behind: verdicts, and where it stands.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Fault, SqliteStore, bodies, queries};
use crate::store::survey::{BodyMark, ContentHash, Encounter, Position};
use crate::store::{ScanMark, StoreError};

// === impl SqliteStore ===

impl SqliteStore {
    /// The next messages behind this position, at most so many; none at the end.
    ///
    /// # Errors
    /// The database's.
    pub async fn walk(&self, behind: Position, messages_max: usize) -> Result<Vec<Encounter>, StoreError> {
        self.counted(self.readers.query(move |db| walk(db, behind, messages_max)).await)
    }

    /// Bodies as they were received, in the order in which they are asked for; `None` for one that has gone.
    ///
    /// # Errors
    /// The database's.
    pub async fn bodies(&self, wanted: Vec<ContentHash>) -> Result<Vec<Option<Bytes>>, StoreError> {
        let read =
            move |db: &Connection| wanted.iter().map(|content| body(db, content)).collect::<Result<_, _>>();
        self.counted(self.readers.query(read).await)
    }

    /// What the last scan said of a body; `None` for one that has gone or was never scanned.
    ///
    /// # Errors
    /// The database's.
    pub async fn mark_of(&self, content: ContentHash) -> Result<Option<ScanMark>, StoreError> {
        let read = move |db: &Connection| mark_of(db, &content);
        self.counted(self.readers.query(read).await)
    }

    /// Remembers verdicts.
    ///
    /// # Errors
    /// The database's.
    pub async fn mark_bodies(&self, marks: Vec<BodyMark>) -> Result<(), StoreError> {
        let apply = move |db: &Connection| mark_bodies(db, &marks);
        self.counted(self.writer.change(0, apply).await)
    }

    /// Remembers verdicts, and with them, in the same transaction, how far a background scan has come.
    ///
    /// # Errors
    /// The database's.
    pub async fn note(&self, marks: Vec<BodyMark>, progress: String) -> Result<(), StoreError> {
        let apply = move |db: &Connection| note(db, &marks, &progress);
        self.counted(self.writer.change(0, apply).await)
    }

    /// What `note` was last given.
    ///
    /// # Errors
    /// The database's.
    pub async fn progress(&self) -> Result<Option<String>, StoreError> {
        let read = |db: &Connection| {
            db.query_row("SELECT progress FROM background_scan", [], |row| row.get(0)).optional()
        };
        self.counted(self.readers.query(read).await)
    }

    /// How many messages there are.
    ///
    /// # Errors
    /// The database's.
    pub async fn count(&self) -> Result<u64, StoreError> {
        let read =
            |db: &Connection| db.query_row("SELECT count(*) FROM messages", [], |row| row.get::<_, u64>(0));
        self.counted(self.readers.query(read).await)
    }
}

/// The order is that of the primary key, so that a page costs what it holds, wherever the walk stands.
fn walk(db: &Connection, behind: Position, messages_max: usize) -> rusqlite::Result<Vec<Encounter>> {
    let limit = i64::try_from(messages_max).unwrap_or(i64::MAX);
    db.prepare_cached(
        "SELECT messages.folder_id, messages.uid, bodies.hash, bodies.octets, messages.received_at_ms,
                bodies.stamp, bodies.threat
         FROM messages CROSS JOIN bodies ON bodies.id = messages.body_id
         WHERE (messages.folder_id, messages.uid) > (?1, ?2)
         ORDER BY messages.folder_id, messages.uid LIMIT ?3",
    )?
    .query_map(params![behind.folder, behind.uid, limit], |row| {
        Ok(Encounter {
            position: Position { folder: row.get(0)?, uid: row.get(1)? },
            content: ContentHash(row.get(2)?),
            octets: row.get(3)?,
            received_at_ms: row.get(4)?,
            mark: queries::scan_mark(row, 5)?,
        })
    })?
    .collect()
}

fn body(db: &Connection, content: &ContentHash) -> rusqlite::Result<Option<Bytes>> {
    let found: Option<(i64, u64)> = db
        .prepare_cached("SELECT id, octets FROM bodies WHERE hash = ?1")?
        .query_row(params![content.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((id, octets)) = found else { return Ok(None) };
    let mut body = Vec::new();
    bodies::append(db, id, octets, &mut body)?;
    Ok(Some(body.into()))
}

fn mark_of(db: &Connection, content: &ContentHash) -> rusqlite::Result<Option<ScanMark>> {
    let found = db
        .prepare_cached("SELECT stamp, threat FROM bodies WHERE hash = ?1")?
        .query_row(params![content.0], |row| queries::scan_mark(row, 0))
        .optional()?;
    Ok(found.flatten())
}

/// By the hash, never by the row: a row may have become another body's while this one was being scanned.
fn mark_bodies(db: &Connection, marks: &[BodyMark]) -> Result<(), Fault> {
    let mut update = db.prepare_cached("UPDATE bodies SET stamp = ?2, threat = ?3 WHERE hash = ?1")?;
    for BodyMark { content, mark: ScanMark { stamp, threat } } in marks {
        update.execute(params![content.0, stamp.to_string(), threat])?;
    }
    Ok(())
}

fn note(db: &Connection, marks: &[BodyMark], progress: &str) -> Result<(), Fault> {
    mark_bodies(db, marks)?;
    db.prepare_cached(
        "INSERT INTO background_scan (only_row, progress) VALUES (1, ?1)
         ON CONFLICT (only_row) DO UPDATE SET progress = excluded.progress",
    )?
    .execute(params![progress])?;
    Ok(())
}
