//! What a change does inside its transaction. Every function here may run again after a rollback.

use std::collections::{BTreeMap, HashSet};

use rusqlite::{Connection, OptionalExtension, params};

use super::{Fault, bodies};
use crate::delivery::Disposition;
use crate::queue::QueueId;
use crate::store::{Delivery, MailboxCopy, ScanMark};

/// What a delivery did, to be counted once it is committed.
pub(super) struct Delivered {
    pub(super) dispositions: Vec<(u32, Disposition)>,
    pub(super) copies: u64,
    pub(super) body_octets: u64,
}

pub(super) fn deliver(db: &Connection, delivery: &Delivery) -> Result<Delivered, Fault> {
    let mut dispositions = BTreeMap::new();
    for copy in &delivery.copies {
        let known = remembered(db, delivery.queue_id, copy.recipient)?;
        dispositions.insert(copy.recipient, known);
    }
    let mut due = delivery
        .copies
        .iter()
        .filter(|copy| matches!(dispositions.get(&copy.recipient), Some(None)))
        .peekable();
    let (mut copies, mut body_octets) = (0_u64, 0);
    if due.peek().is_some() {
        let body = bodies::store(db, &delivery.body, delivery.stamp.as_ref())?;
        body_octets = body.octets_written;
        let mut served = HashSet::new();
        for copy in due {
            if served.insert(copy.mailbox.to_ascii_lowercase()) {
                put(db, delivery, copy, body.id)?;
                copies = copies.saturating_add(1);
            }
        }
    }
    let dispositions = dispositions
        .into_iter()
        .map(|(recipient, known)| match known {
            Some(disposition) => Ok((recipient, disposition)),
            None => {
                remember(db, delivery.queue_id, recipient, &Disposition::Delivered)?;
                Ok((recipient, Disposition::Delivered))
            }
        })
        .collect::<Result<_, Fault>>()?;
    Ok(Delivered { dispositions, copies, body_octets })
}

pub(super) fn record(
    db: &Connection,
    queue_id: QueueId,
    dispositions: &[(u32, Disposition)],
) -> Result<Vec<(u32, Disposition)>, Fault> {
    let mut holding = Vec::with_capacity(dispositions.len());
    for (recipient, disposition) in dispositions {
        let holds = match remembered(db, queue_id, *recipient)? {
            Some(earlier) => earlier,
            None => {
                remember(db, queue_id, *recipient, disposition)?;
                disposition.clone()
            }
        };
        holding.push((*recipient, holds));
    }
    Ok(holding)
}

pub(super) fn forget(db: &Connection, recipients: &[(QueueId, u32)]) -> rusqlite::Result<()> {
    let mut statement =
        db.prepare_cached("DELETE FROM dispositions WHERE queue_id = ?1 AND recipient = ?2")?;
    for (queue_id, recipient) in recipients {
        statement.execute(params![key(*queue_id), recipient])?;
    }
    Ok(())
}

pub(super) fn forget_all_but(db: &Connection, held: &HashSet<QueueId>) -> Result<(), Fault> {
    let remembered = db
        .prepare("SELECT DISTINCT queue_id FROM dispositions")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<Vec<[u8; 8]>, _>>()?;
    for id in remembered {
        if !held.contains(&QueueId(u64::from_be_bytes(id))) {
            db.execute("DELETE FROM dispositions WHERE queue_id = ?1", params![id])?;
        }
    }
    Ok(())
}

pub(super) fn delete(db: &Connection, mailbox: &str, uids: &[u32]) -> Result<usize, Fault> {
    let Some(folder) = inbox(db, mailbox)? else { return Ok(0) };
    let mut deleted: usize = 0;
    for uid in uids {
        let body: Option<i64> = db
            .prepare_cached("DELETE FROM messages WHERE folder_id = ?1 AND uid = ?2 RETURNING body_id")?
            .query_row(params![folder, uid], |row| row.get(0))
            .optional()?;
        if let Some(body) = body {
            bodies::release(db, body)?;
            deleted = deleted.saturating_add(1);
        }
    }
    Ok(deleted)
}

pub(super) fn mark(db: &Connection, mailbox: &str, uid: u32, mark: &ScanMark) -> Result<(), Fault> {
    db.prepare_cached(
        "UPDATE bodies SET stamp = ?3, threat = ?4 WHERE id =
            (SELECT messages.body_id FROM messages JOIN folders ON folders.id = messages.folder_id
                JOIN mailboxes ON mailboxes.id = folders.mailbox_id
             WHERE mailboxes.name = ?1 AND folders.name = 'INBOX' AND messages.uid = ?2)",
    )?
    .execute(params![mailbox, uid, mark.stamp.to_string(), mark.threat])?;
    Ok(())
}

pub(super) fn remove_mailbox(db: &Connection, mailbox: &str) -> Result<bool, Fault> {
    if let Some(folder) = inbox(db, mailbox)? {
        let mut statement =
            db.prepare_cached("DELETE FROM messages WHERE folder_id = ?1 RETURNING body_id")?;
        let held =
            statement.query_map(params![folder], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
        for body in held {
            bodies::release(db, body)?;
        }
        db.execute("DELETE FROM folders WHERE id = ?1", params![folder])?;
    }
    Ok(db.execute("DELETE FROM mailboxes WHERE name = ?1", params![mailbox])? > 0)
}

fn put(db: &Connection, delivery: &Delivery, copy: &MailboxCopy, body_id: i64) -> Result<(), Fault> {
    let folder = match inbox(db, &copy.mailbox)? {
        Some(folder) => folder,
        None => make_inbox(db, &copy.mailbox)?,
    };
    add(db, folder, delivery.queue_id, delivery.received_at_ms, &copy.head, body_id)?;
    Ok(())
}

/// A message at the end of its folder, and its uid.
pub(super) fn add(
    db: &Connection,
    folder: i64,
    queue_id: QueueId,
    received_at_ms: u64,
    head: &[u8],
    body_id: i64,
) -> Result<u32, Fault> {
    let uid: i64 = db
        .prepare_cached("UPDATE folders SET uid_next = uid_next + 1 WHERE id = ?1 RETURNING uid_next - 1")?
        .query_row(params![folder], |row| row.get(0))?;
    let uid = u32::try_from(uid).map_err(|_| Fault::UidsExhausted)?;
    db.prepare_cached(
        "INSERT INTO messages (folder_id, uid, queue_id, received_at_ms, head, body_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![folder, uid, key(queue_id), received_at_ms, head, body_id])?;
    bodies::retain(db, body_id)?;
    Ok(uid)
}

fn inbox(db: &Connection, mailbox: &str) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached(
        "SELECT folders.id FROM folders JOIN mailboxes ON mailboxes.id = folders.mailbox_id
         WHERE mailboxes.name = ?1 AND folders.name = 'INBOX'",
    )?
    .query_row(params![mailbox], |row| row.get(0))
    .optional()
}

/// UIDVALIDITY is the time of making, in seconds, and rises even when a mailbox is removed and made again within one.
fn make_inbox(db: &Connection, mailbox: &str) -> rusqlite::Result<i64> {
    db.execute("INSERT INTO mailboxes (name) VALUES (?1) ON CONFLICT DO NOTHING", params![mailbox])?;
    let uid_validity: u32 = db.query_row(
        "UPDATE uid_validity SET last = max(last + 1, unixepoch()) RETURNING last",
        [],
        |row| row.get(0),
    )?;
    db.query_row(
        "INSERT INTO folders (mailbox_id, name, uid_validity)
         SELECT id, 'INBOX', ?2 FROM mailboxes WHERE name = ?1 RETURNING id",
        params![mailbox, uid_validity],
        |row| row.get(0),
    )
}

pub(super) fn remembered(
    db: &Connection,
    queue_id: QueueId,
    recipient: u32,
) -> rusqlite::Result<Option<Disposition>> {
    db.prepare_cached("SELECT kind, detail FROM dispositions WHERE queue_id = ?1 AND recipient = ?2")?
        .query_row(params![key(queue_id), recipient], |row| {
            let kind: String = row.get(0)?;
            let detail = row.get::<_, Option<String>>(1)?.unwrap_or_default();
            match kind.as_str() {
                DELIVERED => Ok(Disposition::Delivered),
                DELETED => Ok(Disposition::DeletedByPolicy { threat: detail }),
                QUARANTINED => Ok(Disposition::Quarantined { threat: detail }),
                BOUNCED => Ok(Disposition::Bounced { reason: detail }),
                REPLACED => match detail.parse() {
                    Ok(by) => Ok(Disposition::Replaced { by }),
                    Err(_) => Err(rusqlite::Error::InvalidColumnType(1, detail, rusqlite::types::Type::Text)),
                },
                _ => Err(rusqlite::Error::InvalidColumnType(0, kind, rusqlite::types::Type::Text)),
            }
        })
        .optional()
}

fn remember(
    db: &Connection,
    queue_id: QueueId,
    recipient: u32,
    disposition: &Disposition,
) -> rusqlite::Result<()> {
    let (kind, detail) = match disposition {
        Disposition::Delivered => (DELIVERED, None),
        Disposition::DeletedByPolicy { threat } => (DELETED, Some(threat.clone())),
        Disposition::Quarantined { threat } => (QUARANTINED, Some(threat.clone())),
        Disposition::Bounced { reason } => (BOUNCED, Some(reason.clone())),
        Disposition::Replaced { by } => (REPLACED, Some(by.to_string())),
    };
    db.prepare_cached(
        "INSERT INTO dispositions (queue_id, recipient, kind, detail) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![key(queue_id), recipient, kind, detail])?;
    Ok(())
}

const fn key(id: QueueId) -> [u8; 8] {
    id.0.to_be_bytes()
}

const DELIVERED: &str = "delivered";
const DELETED: &str = "deleted-by-policy";
const QUARANTINED: &str = "quarantined";
const BOUNCED: &str = "bounced";
const REPLACED: &str = "replaced";
