//! Gets out of a damaged queue what can be read, as files for people and other programs.
//!
//! For each message with a pending recipient, `ID.eml` has the mail as it would be delivered and `ID.json` its envelope.
//! What `corrupt/` keeps is tried as well; where it can be made out, the mail goes to `ID.damaged.eml`: some octets of it
//! are wrong.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::envelope::{MessageHead, decode_message, decode_stored};
use super::handle::Queue;
use super::pending::Pending;
use super::record::{HEADER_OCTETS, Kind};
use super::said::Said;
use super::segment::{Location, SegmentId, read_payload};
use super::survey::{self, Finding, Survey};
use super::{NewMessage, OpenError, QueueId};
use crate::disk::Disk;
use crate::intake::Spool;

/// What `Queue::salvage` wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Mails that are whole.
    pub whole: usize,
    /// Mails of which some octets are wrong or missing.
    pub damaged: usize,
    /// Records that nothing could be made of.
    pub lost: usize,
}

/// A message and what was said of it.
struct Found {
    place: Location,
    pending: Pending,
}

/// Where mails are written.
struct Way<'a> {
    disk: &'a dyn Disk,
    to: &'a Path,
    spool: &'a Spool,
}

// === impl Queue ===

impl Queue {
    /// Writes all mail that can be read to the folder `to`, which is made if missing. Neither ends nor openings are
    /// believed: a mail that was refused may be among it, or one whose delivery nothing tells any more. The queue itself
    /// is left as it is. Blocking.
    ///
    /// # Errors
    /// Where `to` cannot be written or has a file of that name, or a segment is of a newer version.
    pub fn salvage(disk: &Arc<dyn Disk>, root: &Path, to: &Path) -> Result<Salvaged, OpenError> {
        disk.make_folder(to).map_err(OpenError::io(to))?;
        let bodies = root.join(super::handle::BODIES_FOLDER);
        let spool = Spool::inline(Arc::clone(disk), &bodies).map_err(OpenError::io(&bodies))?;
        let mut salvaged = Salvaged::default();
        let mut found = BTreeMap::new();
        for segment in Survey::new(&**disk, root)?.segments {
            gather(&**disk, root, segment, &mut found, &mut salvaged).map_err(OpenError::io(root))?;
        }
        let way = Way { disk: &**disk, to, spool: &spool };
        for Found { place, pending } in found.into_values() {
            let Ok((kind, payload)) = read_payload(&**disk, root, place) else { continue };
            let Ok(head) = decode_stored(kind, &payload) else { continue };
            let whole = way.write(head, &payload, &pending, "");
            salvaged.count(whole.map_err(OpenError::io(to))?);
        }
        salvage_damaged(&way, root, &mut salvaged).map_err(OpenError::io(to))?;
        disk.flush_folder(to).map_err(OpenError::io(to))?;
        Ok(salvaged)
    }
}

// === impl Salvaged ===

impl Salvaged {
    fn count(&mut self, is_whole: bool) {
        let counter = if is_whole { &mut self.whole } else { &mut self.damaged };
        *counter = counter.saturating_add(1);
    }
}

fn gather(
    disk: &dyn Disk,
    root: &Path,
    segment: SegmentId,
    found: &mut BTreeMap<QueueId, Found>,
    salvaged: &mut Salvaged,
) -> io::Result<()> {
    let Some(mut reader) = survey::open(disk, root, segment)? else { return Ok(()) };
    let end = reader.extent()?.end;
    survey::walk(&mut reader, end, |offset, finding| {
        let Finding::Record(head, payload) = finding else {
            salvaged.lost = salvaged.lost.saturating_add(1);
            return;
        };
        let place = Location { segment, offset, payload_octets: head.payload_octets };
        match Said::of_payload(head.kind, payload) {
            Ok(Said::Message(id, facts) | Said::FollowUp(id, facts)) => {
                found.entry(id).or_insert(Found { place, pending: Pending::all(facts.recipients) });
            }
            Ok(Said::Moved(standing, _)) => {
                found.insert(standing.id, Found { place, pending: standing.pending });
            }
            Ok(Said::Change(change)) => {
                let Some(message) = found.get_mut(&change.id) else { return };
                for (recipient, _) in change.outcomes.iter().filter(|(_, outcome)| outcome.is_terminal()) {
                    message.pending.remove(*recipient as usize);
                }
                if message.pending.count() == 0 {
                    found.remove(&change.id);
                }
            }
            Ok(Said::Nothing | Said::Marks(_) | Said::Rules(_)) => {}
            Err(_) => salvaged.lost = salvaged.lost.saturating_add(1),
        }
    })
}

/// What recovery had set aside: records whose checksum is wrong.
fn salvage_damaged(way: &Way<'_>, root: &Path, salvaged: &mut Salvaged) -> io::Result<()> {
    let aside = match way.disk.list(&root.join("corrupt")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed?,
    };
    for path in aside {
        let file = way.disk.open(&path, true)?;
        let mut octets = vec![0; usize::try_from(file.len()?).unwrap_or(usize::MAX)];
        let count = file.read_at(0, &mut octets)?;
        octets.truncate(count);
        let payload = Bytes::from(octets).slice(HEADER_OCTETS.min(count)..);
        let head = decode_message(&payload).or_else(|_| decode_stored(Kind::Moved, &payload));
        let Ok(head) = head else {
            salvaged.lost = salvaged.lost.saturating_add(1);
            continue;
        };
        let pending = Pending::all(head.submission.envelope.recipients.len());
        match way.write(head, &payload, &pending, ".damaged") {
            // The same record was set aside twice, or is whole elsewhere.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            written => {
                written?;
                salvaged.count(false);
            }
        }
    }
    Ok(())
}

// === impl Way ===

impl Way<'_> {
    /// Writes a mail and its envelope. Answers whether all of it could be read.
    fn write(&self, head: MessageHead, payload: &Bytes, pending: &Pending, middle: &str) -> io::Result<bool> {
        let message = head.into_message(payload, self.spool);
        let name = |suffix: &str| self.to.join(format!("{}{middle}.{suffix}", message.id));
        let mail = self.disk.create(&name("eml"))?;
        let mut source = io::Cursor::new(&message.trace).chain(Reading(message.body.reader()));
        let (mut at, mut part) = (0_u64, vec![0; PART_OCTETS]);
        let read = loop {
            match source.read(&mut part) {
                Ok(0) => break Ok(()),
                Ok(count) => {
                    mail.write_all_at(at, &[IoSlice::new(part.get(..count).unwrap_or_default())])?;
                    at = at.saturating_add(count as u64);
                }
                Err(error) => break Err(error),
            }
        };
        mail.flush()?;
        let file = self.disk.create(&name("json"))?;
        file.write_all_at(0, &[IoSlice::new(describe(&message, pending).as_bytes())])?;
        file.flush()?;
        if let Err(error) = &read {
            tracing::error!(queue_id = %message.id, %error, "only a part of a mail could be read");
        }
        Ok(read.is_ok())
    }
}

fn describe(message: &NewMessage, pending: &Pending) -> String {
    let (envelope, origin) = (&message.submission.envelope, &message.submission.origin);
    let recipients = envelope.recipients.iter().enumerate().map(|(number, recipient)| {
        json!({
            "address": recipient.path.to_string(),
            "parameters": recipient.params.to_string(),
            "pending": pending.contains(number),
        })
    });
    let described = json!({
        "id": message.id.to_string(),
        "sender": envelope.reverse_path.to_string(),
        "parameters": envelope.params.to_string(),
        "recipients": recipients.collect::<Vec<_>>(),
        "received_at_ms": origin.received_at_ms,
        "session": origin.session,
        "peer": origin.peer.to_string(),
        "helo": origin.helo,
        "user": origin.user,
    });
    described.to_string()
}

/// A body whose file may not open.
struct Reading(io::Result<Box<dyn Read + Send>>);

impl Read for Reading {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Ok(reader) => reader.read(into),
            Err(error) => Err(error.kind().into()),
        }
    }
}

/// Read and written at once.
const PART_OCTETS: usize = 256 * 1024;
