//! Where the copies of a body lie.

use rusqlite::{Connection, params};

use super::SqliteStore;
use crate::queue::QueueId;
use crate::store::StoreError;
use crate::store::survey::{ContentHash, Copied};

// === impl SqliteStore ===

impl SqliteStore {
    /// The messages that share this body, at most so many.
    ///
    /// # Errors
    /// The database's.
    pub async fn copies(&self, content: ContentHash, most: usize) -> Result<Vec<Copied>, StoreError> {
        self.counted(self.readers.query(move |db| copies(db, content, most)).await)
    }

    /// The bodies of a mail's messages.
    ///
    /// # Errors
    /// The database's.
    pub async fn contents_of(&self, mail: QueueId) -> Result<Vec<ContentHash>, StoreError> {
        let key = mail.0.to_be_bytes();
        let read = move |db: &Connection| {
            db.prepare(
                "SELECT DISTINCT bodies.hash FROM messages JOIN bodies ON bodies.id = messages.body_id
                 WHERE messages.queue_id = ?1",
            )?
            .query_map(params![key], |row| Ok(ContentHash(row.get(0)?)))?
            .collect()
        };
        self.counted(self.readers.query(read).await)
    }

    /// The bodies in which the last scan found this threat, at most so many.
    ///
    /// # Errors
    /// The database's.
    pub async fn contents_with(&self, threat: String, most: usize) -> Result<Vec<ContentHash>, StoreError> {
        let read = move |db: &Connection| {
            let limit = i64::try_from(most).unwrap_or(i64::MAX);
            db.prepare("SELECT hash FROM bodies WHERE threat = ?1 COLLATE NOCASE ORDER BY id LIMIT ?2")?
                .query_map(params![threat, limit], |row| Ok(ContentHash(row.get(0)?)))?
                .collect()
        };
        self.counted(self.readers.query(read).await)
    }
}

pub(super) fn copies(db: &Connection, content: ContentHash, most: usize) -> rusqlite::Result<Vec<Copied>> {
    let limit = i64::try_from(most).unwrap_or(i64::MAX);
    db.prepare_cached(
        "SELECT mailboxes.name, folders.name, messages.uid, messages.queue_id, messages.received_at_ms,
                messages.head
         FROM bodies JOIN messages ON messages.body_id = bodies.id
            JOIN folders ON folders.id = messages.folder_id JOIN mailboxes ON mailboxes.id = folders.mailbox_id
         WHERE bodies.hash = ?1 ORDER BY messages.folder_id, messages.uid LIMIT ?2",
    )?
    .query_map(params![content.0, limit], |row| {
        Ok(Copied {
            mailbox: row.get(0)?,
            folder: row.get(1)?,
            uid: row.get(2)?,
            queue_id: QueueId(u64::from_be_bytes(row.get(3)?)),
            received_at_ms: row.get(4)?,
            head: row.get::<_, Vec<u8>>(5)?.into(),
        })
    })?
    .collect()
}
