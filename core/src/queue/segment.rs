//! Segments: files of records, preallocated by zero-filling.
//!
//! A file is named after its id in 16 hexadecimal digits with the suffix `.seg`; while it is being filled, `.new`. It
//! begins with 512 octets (a sector, so that no later write touches it):
//!
//! | offset | octets | what |
//! |---|---|---|
//! | 0 | 8 | magic `GPQUEUE` and a line feed |
//! | 8 | 4 | format version, now 2 |
//! | 12 | 4 | zero |
//! | 16 | 8 | the segment's id |
//! | 24 | 8 | octets of the whole file |
//! | 32 | 4 | masked CRC-32C of octets 0 to 31 |
//! | 36 | 476 | zeros |
//!
//! Records follow, in batches: a batch record, then what it counts. The first batch holds one opening record:
//! id floor (8), number of ends (4), each: a segment's id (8) and its end (8). Every queue id handed out before is at
//! most the floor. An end says that a segment before this one was flushed up to there and that nothing behind counts.
//! Where there are standing holds, a record of them follows in the same batch. The rest of the file is zeros.
//!
//! A segment that is written no more may have a footer: a record that begins right at its end, which a later opening
//! tells, with batch number 0. Its payload: for each record but batch heads and openings, in order: kind (1), offset (8),
//! octets of its payload (4), a note (with its length in 4 octets before it). The note of messages and follow-ups is the
//! id (8) and the facts (see `facts`), that of a moved one all that stands before its mail and the facts; of all others
//! it is the payload. A footer is not flushed before anything depends on it: nothing does. Where it is torn or missing,
//! the records are read.
//!
//! Version 1 has no kinds above 5 and no footers.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::codec::{Decoder, Encoder, Malformed};
use super::record::{HEADER_OCTETS, Kind, Record, RecordHead, mask, padded};
use crate::disk::{Disk, DiskFile};

/// The order of segments in the high 32 bits, random ones in the low: see `record`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SegmentId(pub(super) u64);

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) segment: SegmentId,
    /// Of the record's header.
    pub(super) offset: u64,
    pub(super) payload_octets: u32,
}

/// The payload of `Kind::Opening`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) id_floor: u64,
    pub(super) ends: Vec<(SegmentId, u64)>,
}

/// What the header of a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderFound {
    /// It is whole and of our version.
    Known,
    /// It is whole and of this later version.
    Newer(u32),
    /// It is damaged: the file's name has the id too.
    Damaged,
}

// === impl SegmentId ===

impl SegmentId {
    /// A segment after `self`; `None` after 4 billion of them.
    pub(super) fn successor(self, random: u32) -> Option<Self> {
        let count = (self.0 >> 32).checked_add(1).filter(|count| *count <= u64::from(u32::MAX))?;
        Some(Self((count << 32) | u64::from(random)))
    }

    pub(super) fn path(self, root: &Path) -> PathBuf {
        root.join(format!("{:016x}.{SUFFIX}", self.0))
    }

    /// While it is being filled.
    pub(super) fn unfinished_path(self, root: &Path) -> PathBuf {
        root.join(format!("{:016x}.{UNFINISHED_SUFFIX}", self.0))
    }

    pub(super) fn of_path(path: &Path) -> Option<Self> {
        if path.extension()? != SUFFIX {
            return None;
        }
        let stem = path.file_stem()?.to_str().filter(|stem| stem.len() == 16)?;
        u64::from_str_radix(stem, 16).ok().map(Self)
    }
}

// === impl Location ===

impl Location {
    /// Octets of the record, header and padding included.
    pub(super) fn record_octets(self) -> u64 {
        padded(u64::from(self.payload_octets))
    }
}

// === impl Opening ===

impl Opening {
    pub(super) fn record(&self) -> Record {
        let mut encoder = Encoder::default();
        encoder.u64(self.id_floor);
        encoder.u32(u32::try_from(self.ends.len()).unwrap_or(u32::MAX));
        for (segment, end) in &self.ends {
            encoder.u64(segment.0);
            encoder.u64(*end);
        }
        Record::new(Kind::Opening, encoder.finish(), Bytes::new())
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(payload);
        let id_floor = decoder.u64()?;
        let count = decoder.count(16)?;
        let ends: Result<Vec<_>, Malformed> =
            (0..count).map(|_| Ok((SegmentId(decoder.u64()?), decoder.u64()?))).collect();
        let ends = ends?;
        decoder.end()?;
        Ok(Self { id_floor, ends })
    }
}

/// Whether a file is one that was being filled when the power went.
pub(super) fn is_unfinished(path: &Path) -> bool {
    path.extension().is_some_and(|suffix| suffix == UNFINISHED_SUFFIX)
}

/// The 512 octets at the start.
pub(super) fn encode_header(segment: SegmentId, octets: u64) -> Vec<u8> {
    let mut encoder = Encoder::with_capacity(512);
    encoder.raw(MAGIC);
    encoder.u32(FORMAT_VERSION);
    encoder.u32(0);
    encoder.u64(segment.0);
    encoder.u64(octets);
    let mut header = encoder.finish();
    let crc = mask(crc32c::crc32c(&header));
    header.extend_from_slice(&crc.to_le_bytes());
    header.resize(512, 0);
    header
}

pub(super) fn decode_header(octets: &[u8], segment: SegmentId) -> HeaderFound {
    let read = || -> Result<HeaderFound, Malformed> {
        let mut decoder = Decoder::new(octets);
        let mut fixed = Decoder::new(decoder.raw(32)?);
        let crc = decoder.u32()?;
        if crc != mask(crc32c::crc32c(fixed.rest())) || fixed.raw(MAGIC.len())? != MAGIC {
            return Err(Malformed);
        }
        let version = fixed.u32()?;
        if version > FORMAT_VERSION {
            return Ok(HeaderFound::Newer(version));
        }
        let _reserved = fixed.u32()?;
        Ok(if fixed.u64()? == segment.0 { HeaderFound::Known } else { HeaderFound::Damaged })
    };
    read().unwrap_or(HeaderFound::Damaged)
}

/// Makes a file of zeros with a header, flushed, under its unfinished name. Leaves nothing where that fails.
pub(super) fn prepare(
    disk: &dyn Disk,
    root: &Path,
    segment: SegmentId,
    octets: u64,
) -> io::Result<Arc<dyn DiskFile>> {
    let path = segment.unfinished_path(root);
    let file: Arc<dyn DiskFile> = disk.create(&path)?.into();
    let filled = fill(&*file, segment, octets);
    if filled.is_err()
        && let Err(error) = disk.remove(&path)
    {
        tracing::warn!(path = %path.display(), %error, "a segment that could not be filled stays behind");
    }
    filled.map(|()| file)
}

/// Gives a prepared file its name, durably.
pub(super) fn publish(disk: &dyn Disk, root: &Path, segment: SegmentId) -> io::Result<()> {
    disk.rename(&segment.unfinished_path(root), &segment.path(root))?;
    disk.flush_folder(root)
}

/// Removes a segment in which nothing counts, under whichever name it has. Where that fails, the next start finds it.
pub(super) fn discard(disk: &dyn Disk, root: &Path, segment: SegmentId) {
    let removed = disk.remove(&segment.unfinished_path(root)).or_else(|_| disk.remove(&segment.path(root)));
    if let Err(error) = removed {
        tracing::warn!(path = %segment.path(root).display(), %error, "an unused segment stays behind until the next start");
    }
}

/// Reads one record's payload back and checks it.
pub(super) fn read_payload(disk: &dyn Disk, root: &Path, place: Location) -> io::Result<(Kind, Bytes)> {
    let record = read_record(disk, root, place)?;
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a record was damaged on disk");
    let head = RecordHead::decode(&record).map_err(|_| damaged())?;
    let payload = record.get(HEADER_OCTETS..).unwrap_or_default();
    if !head.covers(payload, place.segment.0) {
        return Err(damaged());
    }
    Ok((head.kind, Bytes::from(record).slice(HEADER_OCTETS..)))
}

/// A record's octets, header and payload, whatever they are; fewer where the file ends before.
pub(super) fn read_record(disk: &dyn Disk, root: &Path, place: Location) -> io::Result<Vec<u8>> {
    let file = disk.open(&place.segment.path(root), true)?;
    let mut record = vec![0; HEADER_OCTETS.saturating_add(place.payload_octets as usize)];
    let count = file.read_at(place.offset, &mut record)?;
    record.truncate(count);
    Ok(record)
}

fn fill(file: &dyn DiskFile, segment: SegmentId, octets: u64) -> io::Result<()> {
    let zeros = vec![0; FILL_OCTETS];
    let mut offset = 0_u64;
    while offset < octets {
        let part = usize::try_from(octets.saturating_sub(offset)).unwrap_or(FILL_OCTETS).min(FILL_OCTETS);
        file.write_all_at(offset, &[IoSlice::new(zeros.get(..part).unwrap_or_default())])?;
        offset = offset.saturating_add(part as u64);
    }
    file.write_all_at(0, &[IoSlice::new(&encode_header(segment, octets))])?;
    file.flush()
}

/// Octets of the header that are in use.
pub(super) const HEADER_FIELDS_OCTETS: usize = 36;
/// Octets before the first record.
pub(super) const SEGMENT_HEADER_OCTETS: u64 = 512;
/// What this program writes, and the latest it reads.
pub(super) const FORMAT_VERSION: u32 = 4;
const MAGIC: &[u8; 8] = b"GPQUEUE\n";
const SUFFIX: &str = "seg";
const UNFINISHED_SUFFIX: &str = "new";
/// Large writes fill fast; this much memory is held for a moment.
const FILL_OCTETS: usize = 1024 * 1024;
