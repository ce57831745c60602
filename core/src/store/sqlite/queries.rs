//! What readers ask.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{bodies, changes};
use crate::delivery::Disposition;
use crate::queue::QueueId;
use crate::store::{Listing, MailboxTotals, ScanMark, StoredMessage, Summary};

pub(super) fn mailboxes(db: &Connection) -> rusqlite::Result<Vec<MailboxTotals>> {
    db.prepare_cached(
        "SELECT mailboxes.name, count(messages.uid),
                coalesce(sum(length(messages.head) + bodies.octets), 0)
         FROM mailboxes LEFT JOIN folders ON folders.mailbox_id = mailboxes.id
            LEFT JOIN messages ON messages.folder_id = folders.id LEFT JOIN bodies ON bodies.id = messages.body_id
         GROUP BY mailboxes.id ORDER BY mailboxes.name",
    )?
    .query_map([], |row| {
        Ok(MailboxTotals { name: row.get(0)?, messages: row.get(1)?, octets: row.get(2)? })
    })?
    .collect()
}

pub(super) fn remembered(
    db: &Connection,
    queue_id: QueueId,
    recipients: &[u32],
) -> rusqlite::Result<Vec<(u32, Disposition)>> {
    let known = |&recipient: &u32| {
        let disposition = changes::remembered(db, queue_id, recipient).transpose()?;
        Some(disposition.map(|disposition| (recipient, disposition)))
    };
    recipients.iter().filter_map(known).collect()
}

pub(super) fn list(db: &Connection, mailbox: &str) -> rusqlite::Result<Listing> {
    let folder = db
        .prepare_cached(
            "SELECT folders.id, folders.uid_validity
             FROM folders JOIN mailboxes ON mailboxes.id = folders.mailbox_id
             WHERE mailboxes.name = ?1 AND folders.name = 'INBOX'",
        )?
        .query_row(params![mailbox], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?)))
        .optional()?;
    let Some((folder, uid_validity)) = folder else { return Ok(Listing::default()) };
    let messages = db
        .prepare_cached(
            "SELECT uid, length(head) + bodies.octets, received_at_ms, stamp, threat
             FROM messages JOIN bodies ON bodies.id = messages.body_id
             WHERE folder_id = ?1 ORDER BY uid",
        )?
        .query_map(params![folder], summary_row)?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Listing { uid_validity, messages })
}

pub(super) fn summary(db: &Connection, mailbox: &str, uid: u32) -> rusqlite::Result<Option<Summary>> {
    db.prepare_cached(
        "SELECT uid, length(head) + bodies.octets, received_at_ms, stamp, threat
         FROM messages JOIN bodies ON bodies.id = messages.body_id
            JOIN folders ON folders.id = messages.folder_id
            JOIN mailboxes ON mailboxes.id = folders.mailbox_id
         WHERE mailboxes.name = ?1 AND folders.name = 'INBOX' AND messages.uid = ?2",
    )?
    .query_row(params![mailbox, uid], summary_row)
    .optional()
}

pub(super) fn fetch(db: &Connection, mailbox: &str, uid: u32) -> rusqlite::Result<Option<StoredMessage>> {
    let found = db
        .prepare_cached(
            "SELECT messages.head, bodies.id, bodies.octets, messages.received_at_ms, bodies.stamp, bodies.threat,
                messages.queue_id
             FROM messages JOIN bodies ON bodies.id = messages.body_id
                JOIN folders ON folders.id = messages.folder_id
                JOIN mailboxes ON mailboxes.id = folders.mailbox_id
             WHERE mailboxes.name = ?1 AND folders.name = 'INBOX' AND messages.uid = ?2",
        )?
        .query_row(params![mailbox, uid], |row| {
            let head: Vec<u8> = row.get(0)?;
            let body: (i64, u64) = (row.get(1)?, row.get(2)?);
            let queue_id = QueueId(u64::from_be_bytes(row.get(6)?));
            Ok((head, body, queue_id, row.get(3)?, scan_mark(row, 4)?))
        })
        .optional()?;
    let Some((mut octets, (body_id, body_octets), queue_id, received_at_ms, mark)) = found else {
        return Ok(None);
    };
    let body_at = octets.len();
    bodies::append(db, body_id, body_octets, &mut octets)?;
    Ok(Some(StoredMessage { octets: octets.into(), body_at, queue_id, received_at_ms, mark }))
}

fn summary_row(row: &Row<'_>) -> rusqlite::Result<Summary> {
    Ok(Summary {
        uid: row.get(0)?,
        octets: row.get(1)?,
        received_at_ms: row.get(2)?,
        mark: scan_mark(row, 3)?,
    })
}

/// A stamp that this version cannot read counts as none: the message is scanned before it is shown.
pub(super) fn scan_mark(row: &Row<'_>, stamp_column: usize) -> rusqlite::Result<Option<ScanMark>> {
    let stamp: String = row.get(stamp_column)?;
    let threat = row.get(stamp_column.saturating_add(1))?;
    Ok(stamp.parse().ok().map(|stamp| ScanMark { stamp, threat }))
}
