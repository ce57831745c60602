//! Gets out of a damaged queue what can be read, as files for people and other programs.
//!
//! For each message with a pending recipient, `ID.eml` has the mail as it would be delivered and `ID.json` its envelope.
//! Damaged records, wherever they are (in a segment, or set aside in `corrupt/`), are tried as well; where a mail can be
//! made out, it goes to `ID.damaged.eml`: some octets of it are wrong, or missing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::envelope::{MessageHead, decode_message, decode_stored};
use super::handle::Queue;
use super::pending::Pending;
use super::record::{HEADER_OCTETS, Kind};
use super::recovery::{ASIDE_OCTETS_MAX, CORRUPT_FOLDER, aside_name};
use super::said::Said;
use super::segment::{Location, SegmentId, read_payload};
use super::survey::{self, Finding, Survey};
use super::{NewMessage, OpenError, QueueId};
use crate::disk::Disk;
use crate::intake::{Body, Spool};

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

/// What lies in the segments.
#[derive(Default)]
struct Gathered {
    /// Messages with a pending recipient.
    found: BTreeMap<QueueId, Found>,
    /// Messages of which a whole record says that nobody waits any more.
    ended: BTreeSet<QueueId>,
    /// Where no record can be read, by the name that it has, or would get, in `corrupt/`: segment, offset, octets.
    damage: BTreeMap<String, (SegmentId, u64, u64)>,
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
        let mut gathered = Gathered::default();
        for segment in Survey::new(&**disk, root)?.segments {
            gathered.gather(&**disk, root, segment).map_err(OpenError::io(root))?;
        }
        let way = Way { disk: &**disk, to, spool: &spool };
        let mut salvaged = Salvaged::default();
        for Found { place, pending } in gathered.found.values() {
            let Ok((kind, payload)) = read_payload(&**disk, root, *place) else { continue };
            let Ok(head) = decode_stored(kind, &payload) else { continue };
            let whole = way.write(head, &payload, pending, true);
            salvaged.count(whole.map_err(OpenError::io(to))?);
        }
        gathered.damaged(&way, root, &mut salvaged).map_err(OpenError::io(to))?;
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

// === impl Gathered ===

impl Gathered {
    fn gather(&mut self, disk: &dyn Disk, root: &Path, segment: SegmentId) -> io::Result<()> {
        let Some(mut reader) = survey::open(disk, root, segment)? else { return Ok(()) };
        let end = reader.extent()?.end;
        survey::walk(&mut reader, end, |offset, finding| {
            let (head, payload) = match finding {
                Finding::Record(head, payload) => (head, payload),
                Finding::Damage(octets) => {
                    self.damage.insert(aside_name(segment, offset), (segment, offset, octets));
                    return;
                }
            };
            let place = Location { segment, offset, payload_octets: head.payload_octets };
            match Said::of_payload(head.kind, payload) {
                Ok(said) => self.follow(place, said),
                Err(_) => {
                    let damage = (segment, offset, head.octets());
                    self.damage.insert(aside_name(segment, offset), damage);
                }
            }
        })
    }

    fn follow(&mut self, place: Location, said: Said) {
        match said {
            Said::Message(id, facts) | Said::FollowUp(id, facts) => {
                self.found.entry(id).or_insert(Found { place, pending: Pending::all(facts.recipients) });
            }
            Said::Moved(standing, _) => {
                self.found.insert(standing.id, Found { place, pending: standing.pending });
            }
            Said::Change(change) => {
                if !change.leaves_pending {
                    self.ended.insert(change.id);
                }
                let Some(message) = self.found.get_mut(&change.id) else { return };
                for (recipient, _) in change.outcomes.iter().filter(|(_, outcome)| outcome.is_terminal()) {
                    message.pending.remove(*recipient as usize);
                }
                if message.pending.count() == 0 {
                    self.found.remove(&change.id);
                }
            }
            Said::Nothing | Said::Marks(_) | Said::Rules(_) => {}
        }
    }

    /// Writes what can be made out of damaged records: of those in the segments, then of those whose segments have gone.
    fn damaged(&self, way: &Way<'_>, root: &Path, salvaged: &mut Salvaged) -> io::Result<()> {
        for (segment, offset, octets) in self.damage.values() {
            let Some(mut reader) = survey::open(way.disk, root, *segment)? else { continue };
            let count = usize::try_from(*octets).unwrap_or(usize::MAX).min(ASIDE_OCTETS_MAX);
            let octets = reader.octets(*offset, count)?.map(Bytes::copy_from_slice).unwrap_or_default();
            self.try_damaged(way, &octets, salvaged)?;
        }
        let corrupt = root.join(CORRUPT_FOLDER);
        for name in survey::names(way.disk, &corrupt)?.difference(&self.damage.keys().cloned().collect()) {
            let file = way.disk.open(&corrupt.join(name), true)?;
            let mut octets = vec![0; usize::try_from(file.len()?).unwrap_or(usize::MAX)];
            let count = file.read_at(0, &mut octets)?;
            octets.truncate(count);
            // An empty one only notes that a segment was cut.
            if !octets.is_empty() {
                self.try_damaged(way, &Bytes::from(octets), salvaged)?;
            }
        }
        Ok(())
    }

    fn try_damaged(&self, way: &Way<'_>, octets: &Bytes, salvaged: &mut Salvaged) -> io::Result<()> {
        let payload = octets.slice(HEADER_OCTETS.min(octets.len())..);
        let Ok(head) = decode_message(&payload).or_else(|_| decode_stored(Kind::Moved, &payload)) else {
            salvaged.lost = salvaged.lost.saturating_add(1);
            return Ok(());
        };
        if self.found.contains_key(&head.id) || self.ended.contains(&head.id) {
            return Ok(());
        }
        let pending = Pending::all(head.submission.envelope.recipients.len());
        match way.write(head, &payload, &pending, false) {
            // Set aside from two places.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            written => {
                written?;
                salvaged.count(false);
            }
        }
        Ok(())
    }
}

// === impl Way ===

impl Way<'_> {
    /// Writes a mail and its envelope. Answers whether all of it is as it was accepted.
    fn write(
        &self,
        head: MessageHead,
        payload: &Bytes,
        pending: &Pending,
        is_record_whole: bool,
    ) -> io::Result<bool> {
        let message = head.into_message(payload, self.spool);
        let is_whole = is_record_whole && can_be_read(&message);
        let middle = if is_whole { "" } else { ".damaged" };
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
        Ok(is_whole && read.is_ok())
    }
}

/// Only the end of a body file tells whether it is what was accepted; its name has to say so from the beginning.
fn can_be_read(message: &NewMessage) -> bool {
    let Body::File(file) = &message.body else { return true };
    file.reader().and_then(|mut reader| io::copy(&mut reader, &mut io::sink())).is_ok()
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
