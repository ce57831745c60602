//! From segments to the index.
//!
//! Segments are read in the order in which they were written. Of the last one in use nobody may have noted the end:
//! there, what lies behind the last batch head that proves a flush is the tail, and its first bad record and all behind
//! it are cut. A bad record before that is damage: it is set aside in `corrupt/`, with what it cost, and reading goes
//! on at the next whole record.
//!
//! Of a segment with a footer only that is read: a queue of a million mails is a hundred megabytes of footers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use super::facts::Facts;
use super::footer::{self, Note};
use super::index::{Entry, Index};
use super::journal::Opened;
use super::messages::DAMAGE_TOLD_MAX;
use super::reader::{Extent, SegmentReader};
use super::record::{ALIGNMENT, HEADER_OCTETS, Kind};
use super::said::Said;
use super::segment::{
    self, FORMAT_VERSION, HEADER_FIELDS_OCTETS, HeaderFound, Location, SEGMENT_HEADER_OCTETS, SegmentId,
    decode_header,
};
use super::{Damage, OpenError, QueueId, Recovered, survey};
use crate::disk::Disk;
use crate::intake::Spool;

/// Whether the disk may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Cut torn tails, set damage aside, sweep what nothing names.
    Repair,
    /// Beside a running server: leave everything as it is.
    Look,
}

/// What was found.
pub(super) struct State {
    pub(super) index: Index,
    pub(super) recovered: Recovered,
    /// Ends of segments that no opening record tells yet.
    pub(super) ends: Vec<(SegmentId, u64)>,
    pub(super) last_segment: SegmentId,
    /// The greatest queue id that may have been handed out.
    pub(super) id_floor: u64,
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    root: &'a Path,
    spool: &'a Spool,
    mode: Mode,
    state: State,
    known_ends: BTreeMap<SegmentId, u64>,
    /// Body files that records name.
    files: HashMap<QueueId, (String, u64)>,
    /// Follow-ups whose state or done record has not been read yet.
    awaiting: Vec<Awaiting>,
}

struct Awaiting {
    id: QueueId,
    place: Location,
    facts: Facts,
}

/// Reads all segments in `root`.
pub(super) fn recover(disk: &dyn Disk, root: &Path, spool: &Spool, mode: Mode) -> Result<State, OpenError> {
    let listed = match disk.list(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed.map_err(OpenError::io(root))?,
    };
    let state = State {
        index: Index::default(),
        recovered: Recovered::default(),
        ends: Vec::new(),
        last_segment: SegmentId(0),
        id_floor: 0,
    };
    let (known_ends, files, awaiting) = (BTreeMap::new(), HashMap::new(), Vec::new());
    let mut recovery = Recovery { disk, root, spool, mode, state, known_ends, files, awaiting };
    recovery.remove_unfinished(&listed)?;
    let mut segments: Vec<SegmentId> = listed.iter().filter_map(|path| SegmentId::of_path(path)).collect();
    segments.sort_unstable();
    for segment in &segments {
        recovery.read_opening(*segment)?;
    }
    for segment in &segments {
        recovery.replay(*segment)?;
    }
    recovery.check_bodies()?;
    recovery.finish(segments.last().copied())
}

// === impl Recovery ===

impl Recovery<'_> {
    fn remove_unfinished(&self, listed: &[PathBuf]) -> Result<(), OpenError> {
        for path in listed.iter().filter(|path| self.mode == Mode::Repair && segment::is_unfinished(path)) {
            self.disk.remove(path).map_err(OpenError::io(path))?;
        }
        Ok(())
    }

    fn reader(&self, segment: SegmentId) -> Result<Option<SegmentReader>, OpenError> {
        let path = segment.path(self.root);
        match self.disk.open(&path, true).and_then(|file| SegmentReader::new(file, segment)) {
            // Beside a running server it may have gone meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.mode == Mode::Look => Ok(None),
            opened => opened.map(Some).map_err(OpenError::io(path)),
        }
    }

    /// Checks the header and learns where earlier segments end.
    fn read_opening(&mut self, segment: SegmentId) -> Result<(), OpenError> {
        let Some(mut reader) = self.reader(segment)? else { return Ok(()) };
        let path = segment.path(self.root);
        let header = reader.octets(0, HEADER_FIELDS_OCTETS).map_err(OpenError::io(&path))?;
        match decode_header(header.unwrap_or_default(), segment) {
            HeaderFound::Known => {}
            HeaderFound::Newer(found) => {
                return Err(OpenError::NewerVersion { path, found, known: FORMAT_VERSION });
            }
            HeaderFound::Damaged => {
                tracing::error!(segment = %path.display(), "the header of a segment is damaged; its records are read all the same");
                self.count_corrupt();
            }
        }
        let octets = reader.len();
        self.state.index.open_segment(Opened { segment, octets, tells_of: Vec::new() });
        let found = survey::opening(&mut reader).map_err(OpenError::io(&path))?;
        let Some(opening) = found else { return Ok(()) };
        self.state.id_floor = self.state.id_floor.max(opening.id_floor);
        let tells_of = opening.ends.iter().map(|(id, _)| *id).collect();
        self.known_ends.extend(opening.ends);
        self.state.index.open_segment(Opened { segment, octets, tells_of });
        Ok(())
    }

    fn replay(&mut self, segment: SegmentId) -> Result<(), OpenError> {
        let Some(mut reader) = self.reader(segment)? else { return Ok(()) };
        let path = segment.path(self.root);
        let known = self.known_ends.get(&segment).copied();
        if let Some(end) = known.filter(|end| *end > reader.len()) {
            self.note_cut(segment, &path, reader.len(), end).map_err(OpenError::io(&path))?;
        }
        self.awaiting.clear();
        if let Some(end) = known
            && self.replay_footer(segment, &mut reader, end).map_err(OpenError::io(&path))?
        {
            self.state.recovered.segments = self.state.recovered.segments.saturating_add(1);
            return Ok(());
        }
        let extent = match known {
            Some(end) => Extent { flushed: end.min(reader.len()), end: end.min(reader.len()) },
            None => reader.extent().map_err(OpenError::io(&path))?,
        };
        self.replay_records(segment, &mut reader, extent).map_err(OpenError::io(&path))?;
        self.state.recovered.segments = self.state.recovered.segments.saturating_add(1);
        if known.is_none() {
            self.state.ends.push((segment, extent.end));
            let torn = reader.used_behind(extent.end).map_err(OpenError::io(&path))?;
            self.state.recovered.torn_octets = self.state.recovered.torn_octets.saturating_add(torn);
        }
        if self.mode == Mode::Repair && (known.is_none() || extent.end < reader.len()) {
            // What was read from the tail may be in the page cache only: it counts from here on, so it is flushed.
            let cut = || {
                let file = self.disk.open(&path, false)?;
                file.set_len(extent.end)?;
                file.flush()
            };
            cut().map_err(OpenError::io(&path))?;
        }
        Ok(())
    }

    /// Follows what the footer behind `end` says. `false` where there is none that is whole.
    fn replay_footer(
        &mut self,
        segment: SegmentId,
        reader: &mut SegmentReader,
        end: u64,
    ) -> io::Result<bool> {
        let len = reader.len();
        let Some((head, payload)) = reader.record(end, len)? else { return Ok(false) };
        if head.kind != Kind::Footer {
            return Ok(false);
        }
        let Ok(said) = footer::notes(payload).and_then(|notes| {
            notes
                .into_iter()
                .map(|note| Said::of_note(note.kind, note.note).map(|said| (note, said)))
                .collect()
        }) else {
            return Ok(false);
        };
        let said: Vec<(Note<'_>, Said)> = said;
        for (Note { offset, payload_octets, .. }, said) in said {
            self.follow(Location { segment, offset, payload_octets }, said);
        }
        Ok(true)
    }

    fn replay_records(
        &mut self,
        segment: SegmentId,
        reader: &mut SegmentReader,
        extent: Extent,
    ) -> io::Result<()> {
        let mut offset = SEGMENT_HEADER_OCTETS;
        while offset < extent.end {
            let limit = if offset < extent.flushed { extent.flushed } else { extent.end };
            if let Some((head, payload)) = reader.record(offset, limit)? {
                let place = Location { segment, offset, payload_octets: head.payload_octets };
                let octets = head.octets();
                if let Ok(said) = Said::of_payload(head.kind, payload) {
                    self.follow(place, said);
                } else {
                    self.set_aside(segment, reader, offset, offset.saturating_add(octets))?;
                }
                offset = offset.saturating_add(octets);
            } else {
                let next = reader.next_record(offset.saturating_add(ALIGNMENT), limit)?.unwrap_or(limit);
                self.set_aside(segment, reader, offset, next)?;
                offset = next;
            }
        }
        Ok(())
    }

    /// Does what a record says.
    fn follow(&mut self, place: Location, said: Said) {
        match said {
            Said::Nothing => self.awaiting.clear(),
            Said::Message(id, facts) => {
                self.see(id);
                self.awaiting.clear();
                self.insert(&Awaiting { id, place, facts });
            }
            Said::FollowUp(id, facts) => {
                self.see(id);
                self.awaiting.push(Awaiting { id, place, facts });
            }
            Said::Moved(standing, facts) => {
                self.see(standing.id);
                self.keep_file(standing.id, &facts);
                self.state.index.insert_moved(standing, place, &facts);
            }
            Said::Change(change) => {
                self.see(change.id);
                // Their record is whole: so are these, or they were set aside.
                for follow_up in std::mem::take(&mut self.awaiting) {
                    self.insert(&follow_up);
                }
                self.state.index.apply(&change, place.segment);
            }
            Said::Marks(marks) => self.state.index.apply_marks(&marks, place.segment),
            Said::Rules(rules) => self.state.index.set_rules(rules),
        }
    }

    fn see(&mut self, id: QueueId) {
        self.state.id_floor = self.state.id_floor.max(id.0);
    }

    fn insert(&mut self, message: &Awaiting) {
        self.keep_file(message.id, &message.facts);
        self.state.index.insert(message.id, message.place, &message.facts);
    }

    fn keep_file(&mut self, id: QueueId, facts: &Facts) {
        if let Some(name) = &facts.file {
            self.files.insert(id, (name.clone(), facts.octets));
        }
    }

    /// A message whose body file is gone or has another length cannot be delivered. One whose file cannot be read now
    /// stays: its delivery is tried until the disk lets it be read.
    fn check_bodies(&mut self) -> Result<(), OpenError> {
        let index = &self.state.index;
        self.files.retain(|id, _| index.get(*id).is_some());
        let lost: Vec<QueueId> = self
            .files
            .iter()
            .filter(|(id, (name, octets))| match self.spool.file_octets(name) {
                Ok(found) => found != Some(*octets),
                Err(error) => {
                    tracing::error!(queue_id = %id, %error, "the body file of a mail cannot be read now; the mail stays queued");
                    false
                }
            })
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            let Some(place) = self.state.index.get(id).map(Entry::place) else { continue };
            let Some(mut reader) = self.reader(place.segment)? else { continue };
            let octets = (HEADER_OCTETS as u64).saturating_add(u64::from(place.payload_octets));
            tracing::error!(queue_id = %id, "the body file of a mail is gone or damaged");
            self.set_aside(place.segment, &mut reader, place.offset, place.offset.saturating_add(octets))
                .map_err(OpenError::io(self.root))?;
            self.state.index.forget(id);
        }
        Ok(())
    }

    /// Copies damaged octets to `corrupt/` and says whose mail they probably were. Where an earlier start has done so, nothing
    /// is new.
    fn set_aside(
        &mut self,
        segment: SegmentId,
        reader: &mut SegmentReader,
        from: u64,
        to: u64,
    ) -> io::Result<()> {
        let probably = probable_id(reader, from)?;
        let count = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX).min(ASIDE_OCTETS_MAX);
        let octets = reader.octets(from, count)?.unwrap_or_default();
        if self.keep_aside(segment, from, octets)? {
            let (path, name) = (segment.path(self.root), aside_name(segment, from));
            let id = probably.map(|id| id.to_string()).unwrap_or_default();
            tracing::error!(segment = %path.display(), offset = from, octets = to.saturating_sub(from), probably = %id, "a damaged record was set aside");
            self.tell(Damage::Record { set_aside: name, probably });
        }
        Ok(())
    }

    /// The end of a segment is gone. An empty file in `corrupt/` keeps that it was told.
    fn note_cut(&mut self, segment: SegmentId, path: &Path, at: u64, end: u64) -> io::Result<()> {
        if self.keep_aside(segment, at, &[])? {
            let octets = end.saturating_sub(at);
            tracing::error!(segment = %path.display(), octets, "a segment is shorter than it was; what lay in the rest is lost, and mail whose delivery was noted there comes again");
            let segment = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            self.tell(Damage::Cut { segment, octets });
        }
        Ok(())
    }

    /// Whether it is new: beside a running server nothing is kept, so nothing is.
    fn keep_aside(&mut self, segment: SegmentId, from: u64, octets: &[u8]) -> io::Result<bool> {
        let is_new = self.mode == Mode::Repair && set_aside(self.disk, self.root, segment, from, octets)?;
        if is_new {
            self.count_corrupt();
        }
        Ok(is_new)
    }

    fn tell(&mut self, damage: Damage) {
        let told = &mut self.state.recovered.damage;
        if told.len() < DAMAGE_TOLD_MAX {
            told.push(damage);
        }
    }

    fn count_corrupt(&mut self) {
        self.state.recovered.corrupt_records = self.state.recovered.corrupt_records.saturating_add(1);
    }

    fn finish(mut self, last: Option<SegmentId>) -> Result<State, OpenError> {
        if self.mode == Mode::Repair {
            let named: BTreeSet<String> = self.files.into_values().map(|(name, _)| name).collect();
            self.spool.sweep(&named).map_err(OpenError::io(self.root))?;
        }
        self.state.recovered.messages = self.state.index.len();
        self.state.last_segment = last.unwrap_or(SegmentId(0));
        Ok(self.state)
    }
}

/// Writes damaged octets to a file of their own. `false` where it is there already, from an earlier start.
pub(super) fn set_aside(
    disk: &dyn Disk,
    root: &Path,
    segment: SegmentId,
    offset: u64,
    octets: &[u8],
) -> io::Result<bool> {
    let folder = root.join(CORRUPT_FOLDER);
    disk.make_folder(&folder)?;
    let path = folder.join(aside_name(segment, offset));
    let file = match disk.create(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        created => created?,
    };
    file.write_all_at(0, &[IoSlice::new(octets)])?;
    file.flush()?;
    disk.flush_folder(&folder)?;
    Ok(true)
}

/// What such a file is called.
pub(super) fn aside_name(segment: SegmentId, offset: u64) -> String {
    format!("{:016x}-{offset:08x}.record", segment.0)
}

/// The mail that a damaged record at that place was about: payloads of mails and of what became of them begin with its id.
pub(super) fn probable_id(reader: &mut SegmentReader, offset: u64) -> io::Result<Option<QueueId>> {
    let octets = reader.octets(offset.saturating_add(HEADER_OCTETS as u64), 8)?;
    let id = octets.and_then(|octets| octets.try_into().ok()).map(u64::from_le_bytes);
    Ok(id.filter(|id| *id != 0).map(QueueId))
}

/// Of the queue's folder.
pub(super) const CORRUPT_FOLDER: &str = "corrupt";
/// More than any record has.
pub(super) const ASIDE_OCTETS_MAX: usize = 16 * 1024 * 1024;
