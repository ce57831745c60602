//! Single-instance bodies: one copy for all mailboxes that got the same octets, counted.

use std::io::Read;

use rusqlite::{Connection, OptionalExtension, ffi, params};

use super::Fault;
use crate::intake::Body;
use crate::scan::Stamp;

pub(super) struct StoredBody {
    pub(super) id: i64,
    /// 0 where the body was there already.
    pub(super) octets_written: u64,
}

/// Finds the body or writes it, chunk by chunk. It is held by no message yet: `retain` follows in the same transaction.
///
/// A body that is there keeps what its last scan said: if the new stamp is another one, the gate finds out which of
/// the two is current, and a threat that was found is not covered up by an older scanner's opinion. One that has come
/// unscanned so far takes the stamp.
pub(super) fn store(db: &Connection, body: &Body, stamp: Option<&Stamp>) -> Result<StoredBody, Fault> {
    let stamp = stamp.map(ToString::to_string);
    let hash = match body {
        Body::Memory(octets) => *blake3::hash(octets).as_bytes(),
        Body::File(file) => *file.hash(),
    };
    let existing: Option<i64> = db
        .prepare_cached("SELECT id FROM bodies WHERE hash = ?1")?
        .query_row(params![hash], |row| row.get(0))
        .optional()?;
    if let Some(id) = existing {
        if let Some(stamp) = stamp {
            db.prepare_cached("UPDATE bodies SET stamp = ?2 WHERE id = ?1 AND stamp = ?3")?
                .execute(params![id, stamp, UNSCANNED])?;
        }
        return Ok(StoredBody { id, octets_written: 0 });
    }
    let id: i64 = db
        .prepare_cached(
            "INSERT INTO bodies (hash, octets, messages, stamp) VALUES (?1, ?2, 0, ?3) RETURNING id",
        )?
        .query_row(params![hash, body.octets(), stamp.as_deref().unwrap_or(UNSCANNED)], |row| row.get(0))?;
    write_chunks(db, id, body)?;
    Ok(StoredBody { id, octets_written: body.octets() })
}

/// One more message holds the body.
pub(super) fn retain(db: &Connection, id: i64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE bodies SET messages = messages + 1 WHERE id = ?1")?.execute(params![id])?;
    Ok(())
}

/// One message less holds the body; the last one takes it along.
pub(super) fn release(db: &Connection, id: i64) -> rusqlite::Result<()> {
    let left: i64 = db
        .prepare_cached("UPDATE bodies SET messages = messages - 1 WHERE id = ?1 RETURNING messages")?
        .query_row(params![id], |row| row.get(0))?;
    if left == 0 {
        db.prepare_cached("DELETE FROM body_chunks WHERE body_id = ?1")?.execute(params![id])?;
        db.prepare_cached("DELETE FROM bodies WHERE id = ?1")?.execute(params![id])?;
    }
    Ok(())
}

/// Appends a whole body of a known length.
pub(super) fn append(db: &Connection, id: i64, octets: u64, to: &mut Vec<u8>) -> rusqlite::Result<()> {
    let before = to.len();
    to.reserve_exact(usize::try_from(octets).unwrap_or(0).min(CAPACITY_TRUSTED));
    let mut statement =
        db.prepare_cached("SELECT octets FROM body_chunks WHERE body_id = ?1 ORDER BY number")?;
    let mut rows = statement.query(params![id])?;
    while let Some(row) = rows.next()? {
        to.extend_from_slice(row.get_ref(0)?.as_blob()?);
    }
    if to.len().saturating_sub(before) as u64 == octets {
        Ok(())
    } else {
        Err(damaged("a body is not as long as its row says"))
    }
}

fn damaged(what: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(what.to_owned()))
}

/// A file's reader fails at its end when the octets are not those of the hash, so that a body is never shared under a
/// hash it does not have.
fn write_chunks(db: &Connection, id: i64, body: &Body) -> Result<(), Fault> {
    let mut reader = body.reader()?;
    let mut chunk = Vec::with_capacity(CHUNK_OCTETS);
    let mut insert =
        db.prepare_cached("INSERT INTO body_chunks (body_id, number, octets) VALUES (?1, ?2, ?3)")?;
    for number in 0_i64.. {
        chunk.clear();
        reader.by_ref().take(CHUNK_OCTETS as u64).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            break;
        }
        insert.execute(params![id, number, chunk])?;
    }
    Ok(())
}

/// What stands in place of a stamp: no stamp has this text, so none is read from it.
const UNSCANNED: &str = "";

/// What a delivery needs in memory, whatever the mail's size; small beside a mail that has more than one.
pub(super) const CHUNK_OCTETS: usize = 256 * 1024;

/// A damaged length must not become an allocation; a body beyond this grows its buffer as it is read.
const CAPACITY_TRUSTED: usize = 64 * 1024 * 1024;
