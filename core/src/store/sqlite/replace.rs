//! Another body in the place of one, for everybody who has it.

use rusqlite::{Connection, params};

use super::{Fault, SqliteStore, bodies, changes, copies};
use crate::store::StoreError;
use crate::store::survey::{ContentHash, Replaced, Replacement};

// === impl SqliteStore ===

impl SqliteStore {
    /// Takes every message with this body away, and puts the replacement in the place of each: under a new uid, since what has a
    /// uid never changes (RFC 9051 section 2.3.1.1). All of it or nothing. Answers what has gone, oldest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn replace(
        &self,
        content: ContentHash,
        replacement: Option<Replacement>,
    ) -> Result<Vec<Replaced>, StoreError> {
        let octets = replacement.as_ref().map_or(0, |replacement| replacement.body.octets());
        let apply = move |db: &Connection| replace(db, content, replacement.as_ref());
        self.counted(self.writer.change(octets, apply).await)
    }
}

fn replace(
    db: &Connection,
    content: ContentHash,
    replacement: Option<&Replacement>,
) -> Result<Vec<Replaced>, Fault> {
    let copies = copies::copies(db, content, usize::MAX)?;
    let body = match replacement.filter(|_| !copies.is_empty()) {
        Some(new) => Some((bodies::store(db, &new.body, Some(&new.stamp))?.id, new)),
        None => None,
    };
    let mut replaced = Vec::with_capacity(copies.len());
    for copy in copies {
        let (folder, old): (i64, i64) = db
            .prepare_cached(
                "DELETE FROM messages WHERE uid = ?3 AND folder_id =
                    (SELECT folders.id FROM folders JOIN mailboxes ON mailboxes.id = folders.mailbox_id
                     WHERE mailboxes.name = ?1 AND folders.name = ?2)
                 RETURNING folder_id, body_id",
            )?
            .query_row(params![copy.mailbox, copy.folder, copy.uid], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let uid = match body {
            Some((body, Replacement { field, .. })) => {
                let head = with_field(&copy.head, field);
                Some(changes::add(db, folder, copy.queue_id, copy.received_at_ms, &head, body)?)
            }
            None => None,
        };
        // Behind the other, so that a body that takes its own place does not go in between.
        bodies::release(db, old)?;
        replaced.push(Replaced { copy, uid });
    }
    Ok(replaced)
}

/// Behind the lines of the delivery, which stand first.
fn with_field(head: &[u8], field: &[u8]) -> Vec<u8> {
    let is_of_delivery =
        |line: &&[u8]| line.starts_with(b"Return-Path:") || line.starts_with(b"Delivered-To:");
    let lines = head.split_inclusive(|octet| *octet == b'\n').take_while(is_of_delivery);
    let at = lines.fold(0, |at: usize, line| at.saturating_add(line.len()));
    let (before, behind) = head.split_at_checked(at).unwrap_or((head, &[]));
    [before, field, behind].concat()
}
