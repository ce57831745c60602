//! Writes batches: one vectored write, one flush. Without threads, so that crashes can be played through.
//!
//! What can go wrong, and what follows:
//! - No space for a batch or for a new segment: `Full`. What was written of the batch is blotted out, flushed, and the
//!   next batch is written over it. Nothing is poisoned.
//! - A flush (or a write for another reason) fails: the batch is `Failed`. What the kernel still has of that file is
//!   unknown, so it is never written or flushed again. All batches are `Failed` until `lift_stop` has opened a fresh
//!   segment whose opening record flushed; that record also says where the failed one ends.
//!
//! A segment that was left whole gets its footer once the opening of the next one tells its end.

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;

use super::footer::Footer;
use super::record::{BATCH_OCTETS, BatchHead, HEADER_OCTETS, Kind, Record};
use super::segment::{self, Location, Opening, SEGMENT_HEADER_OCTETS, SegmentId};
use super::standing::Rules;
use super::supply::Supply;
use super::{AppendError, IdGenerator};
use crate::disk::{Disk, DiskFile};

/// The writer's half of the queue.
pub(super) struct Journal {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    segment_octets: u64,
    /// The size of the segment that is opened next.
    next_octets: u64,
    supply: Supply,
    ids: Arc<IdGenerator>,
    active: Option<Active>,
    /// A flush failed and no fresh segment has proved itself yet.
    stopped: bool,
    /// Segments that are written no more and whose end no opening record tells yet.
    ends: Vec<(SegmentId, u64)>,
    opened: Vec<Opened>,
    /// The standing holds: every segment begins with them.
    rules: Rules,
    flushes: u64,
}

/// Records that become durable together or not at all: no crash leaves a part of them.
pub(super) type Unit = Vec<Record>;

/// A segment came into use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) segment: SegmentId,
    /// Octets of its file.
    pub(super) octets: u64,
    /// The segments whose ends only it tells: it must outlive them.
    pub(super) tells_of: Vec<SegmentId>,
}

struct Active {
    id: SegmentId,
    file: Arc<dyn DiskFile>,
    octets: u64,
    /// Where the next batch goes; everything before is flushed.
    end: u64,
    batch: u32,
    footer: Footer,
}

/// Why a batch is not on disk.
enum WriteFailure {
    Full,
    /// The file cannot be trusted any more.
    Broken(io::Error),
}

// === impl Journal ===

impl Journal {
    /// Goes on after `ends`: the segments that recovery found and where each ends.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        root: PathBuf,
        segment_octets: u64,
        supply: Supply,
        ids: Arc<IdGenerator>,
        ends: Vec<(SegmentId, u64)>,
        rules: Rules,
    ) -> Self {
        let (active, opened) = (None, Vec::new());
        let next_octets = segment_octets.min(FIRST_OCTETS);
        Self {
            disk,
            root,
            segment_octets,
            next_octets,
            supply,
            ids,
            active,
            stopped: false,
            ends,
            opened,
            rules,
            flushes: 0,
        }
    }

    /// Makes units durable; one result each, in order: where its last record lies. Where it returns `Ok` the unit is
    /// flushed, otherwise it does not count and no restart brings it back (but for `Failed`, where a crash right behind
    /// it may).
    pub(super) fn commit(&mut self, units: &[Unit]) -> Vec<Result<Vec<Location>, AppendError>> {
        let mut results = Vec::with_capacity(units.len());
        let mut rest = units;
        while !rest.is_empty() {
            if self.stopped {
                break;
            }
            let count = self.fitting(rest);
            let (group, behind) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            if group.is_empty() {
                let needed = rest.first().map_or(0, unit_octets).saturating_add(BATCH_OCTETS);
                if let Err(error) = self.open_segment(needed) {
                    results.resize(units.len(), Err(error));
                    break;
                }
                continue;
            }
            let records: Vec<&Record> = group.iter().flatten().collect();
            match self.write(&records) {
                Ok(places) => {
                    let mut places = places.into_iter();
                    results.extend(group.iter().map(|unit| Ok(places.by_ref().take(unit.len()).collect())));
                }
                Err(error) => results.resize(results.len().saturating_add(group.len()), Err(error)),
            }
            rest = behind;
        }
        results.resize(units.len(), Err(AppendError::Failed));
        results
    }

    /// Opens the first segment, or tries to end the stop after a failed flush: opens a fresh segment and flushes its
    /// opening record.
    pub(super) fn lift_stop(&mut self) -> Result<(), AppendError> {
        self.stopped = false;
        self.next_octets = self.segment_octets.min(FIRST_OCTETS);
        self.open_segment(0)
    }

    /// Tells the next start that all is flushed: what is damaged later is then known to be damage, not a torn tail.
    pub(super) fn close(&mut self) {
        if self.active.is_some() {
            let _unneeded = self.write(&[]);
        }
    }

    /// Octets of an ordinary segment.
    pub(super) const fn segment_octets(&self) -> u64 {
        self.segment_octets
    }

    pub(super) const fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn active_segment(&self) -> Option<SegmentId> {
        self.active.as_ref().map(|active| active.id)
    }

    /// The segments that came into use since the last call.
    pub(super) fn take_opened(&mut self) -> Vec<Opened> {
        std::mem::take(&mut self.opened)
    }

    /// Batches flushed so far.
    pub(super) const fn flushes(&self) -> u64 {
        self.flushes
    }

    /// How many of the units go into the active segment as one batch.
    fn fitting(&self, units: &[Unit]) -> usize {
        let Some(active) = &self.active else { return 0 };
        let mut left =
            active.octets.saturating_sub(active.end).saturating_sub(BATCH_OCTETS).min(BATCH_OCTETS_MAX);
        // A unit that is larger than a batch may be goes alone.
        let mut count = 0_usize;
        for unit in units {
            let octets = unit_octets(unit);
            let alone =
                count == 0 && active.end.saturating_add(BATCH_OCTETS).saturating_add(octets) <= active.octets;
            let Some(rest) = left.checked_sub(octets).or(if alone { Some(0) } else { None }) else {
                break;
            };
            left = rest;
            count = count.saturating_add(1);
        }
        count
    }

    fn write(&mut self, records: &[&Record]) -> Result<Vec<Location>, AppendError> {
        let Some(active) = &mut self.active else { return Err(AppendError::Failed) };
        match active.write(records) {
            Ok(places) => {
                self.flushes = self.flushes.saturating_add(1);
                // At once: the next segment may be opened for the rest of the same work.
                let rules = records.iter().rfind(|record| record.kind == Kind::Rules);
                if let Some(Ok(rules)) = rules.map(|record| Rules::decode(record.head())) {
                    self.rules = rules;
                }
                if active.end > active.octets / 2 {
                    self.supply.order(self.segment_octets);
                }
                Ok(places)
            }
            Err(WriteFailure::Full) => Err(AppendError::Full),
            Err(WriteFailure::Broken(error)) => {
                tracing::error!(segment = %active.id.path(&self.root).display(), %error, "the queue could not be flushed; nothing is accepted until a fresh segment flushes");
                self.ends.push((active.id, active.end));
                self.active = None;
                self.stopped = true;
                Err(AppendError::Failed)
            }
        }
    }

    /// Ends the active segment and opens a fresh one with room for `needed` octets behind its opening.
    fn open_segment(&mut self, needed: u64) -> Result<(), AppendError> {
        let mut ends = self.ends.clone();
        ends.extend(self.active.as_ref().map(|active| (active.id, active.end)));
        let mut opening = vec![Opening { id_floor: self.ids.greatest(), ends }.record()];
        if !self.rules.is_empty() {
            opening.push(self.rules.record());
        }
        let start = SEGMENT_HEADER_OCTETS.saturating_add(BATCH_OCTETS).saturating_add(unit_octets(&opening));
        let octets = start.saturating_add(needed).max(self.next_octets);

        let (id, file) = self.supply.take(octets).map_err(|error| self.blame(&error))?;
        if let Err(error) = segment::publish(&*self.disk, &self.root, id) {
            segment::discard(&*self.disk, &self.root, id);
            return Err(self.blame(&error));
        }
        let (end, batch, footer) = (SEGMENT_HEADER_OCTETS, 0, Footer::default());
        let mut active = Active { id, file, octets, end, batch, footer };
        if let Err(failure) = active.write(&opening.iter().collect::<Vec<_>>()) {
            // Nothing counts in it: a dying disk must not fill up with such files.
            segment::discard(&*self.disk, &self.root, id);
            return Err(match failure {
                WriteFailure::Full => AppendError::Full,
                WriteFailure::Broken(error) => self.blame(&error),
            });
        }
        self.flushes = self.flushes.saturating_add(1);
        let mut ended = std::mem::take(&mut self.ends);
        if let Some(sealed) = self.active.replace(active) {
            ended.push((sealed.id, sealed.end));
            sealed.seal();
        }
        let tells_of = ended.into_iter().map(|(id, _)| id).collect();
        self.opened.push(Opened { segment: id, octets, tells_of });
        self.next_octets = self.segment_octets;
        Ok(())
    }

    /// No space refuses this batch; anything else stops the queue.
    fn blame(&mut self, error: &io::Error) -> AppendError {
        if is_full(error) {
            tracing::warn!(%error, "no space for a new segment of the queue");
            return AppendError::Full;
        }
        tracing::error!(%error, "no new segment of the queue; nothing is accepted until one flushes");
        self.ends.extend(self.active.take().map(|active| (active.id, active.end)));
        self.stopped = true;
        AppendError::Failed
    }
}

// === impl Active ===

impl Active {
    /// One vectored write, one flush.
    fn write(&mut self, records: &[&Record]) -> Result<Vec<Location>, WriteFailure> {
        self.batch = self.batch.wrapping_add(1);
        let octets = records.iter().fold(0_u64, |sum, record| sum.saturating_add(record.octets()));
        let total = BATCH_OCTETS.saturating_add(octets);
        let head = BatchHead { segment: self.id.0, flushed: self.end, octets }.record();
        let all: Vec<&Record> = std::iter::once(&head).chain(records.iter().copied()).collect();
        let headers: Vec<[u8; HEADER_OCTETS]> =
            all.iter().map(|record| record.header(self.id.0, self.batch)).collect();
        let mut slices = Vec::with_capacity(all.len().saturating_mul(4));
        for (record, header) in all.iter().zip(&headers) {
            let parts = [&header[..], record.head(), record.body(), record.padding()];
            slices.extend(parts.into_iter().filter(|part| !part.is_empty()).map(IoSlice::new));
        }
        match self.file.write_all_at(self.end, &slices) {
            Ok(()) => self.file.flush().map_err(WriteFailure::Broken)?,
            Err(error) if is_full(&error) => return Err(self.blot_out()),
            Err(error) => return Err(WriteFailure::Broken(error)),
        }
        let mut offset = self.end.saturating_add(BATCH_OCTETS);
        let mut places = Vec::with_capacity(records.len());
        for record in records {
            let payload_octets = u32::try_from(record.payload_octets()).unwrap_or(u32::MAX);
            let place = Location { segment: self.id, offset, payload_octets };
            self.footer.note(record, place);
            places.push(place);
            offset = offset.saturating_add(record.octets());
        }
        self.end = self.end.saturating_add(total);
        Ok(places)
    }

    /// Writes the footer behind the end, and cuts the zeros behind it. Where that fails, the segment is read without.
    fn seal(self) {
        let Some(footer) = self.footer.record() else { return };
        let header = footer.header(self.id.0, 0);
        let parts = [&header[..], footer.head(), footer.padding()].map(IoSlice::new);
        let written = self.file.write_all_at(self.end, &parts);
        let end = self.end.saturating_add(footer.octets());
        if let Err(error) = written.and_then(|()| self.file.set_len(end)) {
            tracing::warn!(segment = %format_args!("{:016x}", self.id.0), %error, "a segment has no footer: the next start reads its records");
        }
    }

    /// Nothing of a batch that was refused may come back.
    fn blot_out(&self) -> WriteFailure {
        // The checksum of its header is enough: without a batch head what follows is no batch.
        let zeros = [0; HEADER_OCTETS];
        let blotted =
            self.file.write_all_at(self.end, &[IoSlice::new(&zeros)]).and_then(|()| self.file.flush());
        blotted.map_or_else(WriteFailure::Broken, |()| WriteFailure::Full)
    }
}

fn unit_octets(unit: &Unit) -> u64 {
    unit.iter().fold(0, |sum, record| sum.saturating_add(record.octets()))
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::WriteZero
    )
}

/// The first segment after a start is filled while others wait for it; a site with little mail never needs another.
const FIRST_OCTETS: u64 = 4 * 1024 * 1024;
/// A batch that takes longer to write than this makes the first session in it wait for the last.
const BATCH_OCTETS_MAX: u64 = 8 * 1024 * 1024;
