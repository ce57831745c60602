//! Zip archives, and what is built as one: office documents, jar, apk, self-extracting programs.
//!
//! The directory is read by the zip crate, after what it would allocate or repeat has been looked at. Where directory and
//! entries contradict each other, or an entry is in no directory, programs show different files: that is told.

mod local;

use std::ops::{ControlFlow, Range};
use std::time::Instant;

use memchr::memmem;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::source::Metered;
use super::stream::{self, Coding};
use super::{Unpacked, contained};
use crate::scan::item::ItemName;
use crate::scan::plan::{Depth, ENTRIES_MAX, Walk};
use crate::scan::verdict::Obstacle;
use local::{Inflated, LocalHeader};

/// Whether any program would find entries here.
pub(super) fn has_entries(octets: &[u8]) -> bool {
    looks_like_zip(octets) || find_inside(octets).is_some() || local::has_entry(octets)
}

/// Hands every entry of every archive in the file to the walk, from the last archive on. `depth` counts them.
pub(super) fn walk(walk: &mut Walk<'_>, name: &ItemName, octets: &[u8], depth: Depth) -> ControlFlow<()> {
    // Where the last record leads nowhere, the reader looks for what it could have meant, and tells what is broken. Where it leads
    // somewhere, the reader is not to mistake another archive's directory for the one.
    let last_end = memmem::rfind(octets, END_RECORD);
    let is_plain = last_end.is_some_and(|end_at| place_of(octets, end_at).is_some());
    let guessed = !is_plain && looks_like_zip(octets);
    let entries_at = if guessed { walk_archive(walk, name, octets, depth)? } else { None };
    // What stands in front: a program that unpacks itself, or more archives, which some readers prefer.
    let mut front = entries_at.and_then(|entries_at| octets.get(..entries_at)).unwrap_or(octets);
    while let Some(place) = find_inside(front).filter(|_| !is_late(walk)) {
        let archive = front.get(place.clone()).unwrap_or_default();
        walk.count_entry(name)?;
        walk.count_walked(name, archive.len())?;
        local::walk_unlisted(walk, name, front.get(place.end..).unwrap_or_default(), depth)?;
        let entries_at = walk_archive(walk, name, archive, depth)?;
        front = front.get(..place.start.saturating_add(entries_at.unwrap_or(0))).unwrap_or_default();
    }
    if is_late(walk) {
        walk.check_due()?;
        return walk.obstacle(name, Obstacle::Broken);
    }
    if (is_plain || entries_at.is_some()) && begins_as_zip(front) && local::has_entry(front) {
        walk.obstacle(name, Obstacle::Ambiguous)?;
    }
    local::walk_unlisted(walk, name, front, depth)
}

/// Nothing more is found out then, and what failed did so for want of time.
fn is_late(walk: &Walk<'_>) -> bool {
    walk.due().is_some_and(|due| Instant::now() >= due)
}

/// Whether the octets begin as a zip archive or end as one (with a program or anything else in front).
fn looks_like_zip(octets: &[u8]) -> bool {
    let tail = octets.len().saturating_sub(END_RECORD_REACH);
    begins_as_zip(octets) || octets.get(tail..).is_some_and(|tail| memmem::rfind(tail, END_RECORD).is_some())
}

/// An archive that once had several volumes, or could have had, has a mark in front (APPNOTE 8.5.3 and 8.5.4).
fn begins_as_zip(octets: &[u8]) -> bool {
    let unmarked = [VOLUME, DATA_DESCRIPTOR].iter().find_map(|mark| octets.strip_prefix(*mark));
    unmarked.unwrap_or(octets).starts_with(LOCAL_HEADER)
}

/// Where a whole archive stands, whatever stands behind its end record: the last one of which the record leads to its directory.
fn find_inside(octets: &[u8]) -> Option<Range<usize>> {
    memmem::rfind_iter(octets, END_RECORD).find_map(|end_at| place_of(octets, end_at))
}

/// The place of the archive that an end record ends.
fn place_of(octets: &[u8], end_at: usize) -> Option<Range<usize>> {
    let record = octets.get(end_at..)?;
    let size = u32_at(record, END_RECORD_DIRECTORY_OCTETS_AT)?;
    let offset = u32_at(record, END_RECORD_DIRECTORY_AT)?;
    let (directory_end, size, offset) = if size == u32::MAX || offset == u32::MAX {
        // The long record stands right in front.
        let reach = octets.get(end_at.saturating_sub(END_RECORD_64_REACH)..end_at)?;
        let long_at = end_at.checked_sub(reach.len())?.checked_add(memmem::rfind(reach, END_RECORD_64)?)?;
        let long = octets.get(long_at..)?;
        let field = |at| u64_at(long, at).and_then(|field| usize::try_from(field).ok());
        (long_at, field(END_RECORD_64_DIRECTORY_OCTETS_AT)?, field(END_RECORD_64_DIRECTORY_AT)?)
    } else {
        (end_at, usize::try_from(size).ok()?, usize::try_from(offset).ok()?)
    };
    let directory_at = directory_end.checked_sub(size)?;
    octets.get(directory_at..)?.starts_with(DIRECTORY_HEADER).then_some(())?;
    let start = directory_at.checked_sub(offset)?;
    // Of an archive that lies in pieces in a file of another kind, a directory may be whole, but its entries are elsewhere.
    let listed_at = u32_at(octets, directory_at.checked_add(LISTED_HEADER_AT)?)?;
    let header_at = start.checked_add(usize::try_from(listed_at).ok()?)?;
    let is_there = octets.get(header_at..).is_some_and(|header| header.starts_with(LOCAL_HEADER));
    (is_there || listed_at == u32::MAX).then_some(())?;
    let comment = usize::from(u16_at(record, END_RECORD_COMMENT_AT)?);
    let end = end_at.saturating_add(END_RECORD_OCTETS).saturating_add(comment).min(octets.len());
    Some(start..end)
}

/// Hands every entry of one archive to the walk. Returns where the first one stands, or `None` if it is no archive.
fn walk_archive(
    walk: &mut Walk<'_>,
    name: &ItemName,
    octets: &[u8],
    depth: Depth,
) -> ControlFlow<(), Option<usize>> {
    let headers = memmem::find_iter(octets, DIRECTORY_HEADER).count();
    if headers > ENTRIES_MAX || claims_too_many(octets) {
        walk.obstacle(name, Obstacle::TooManyEntries)?;
        return ControlFlow::Continue(Some(0));
    }
    let source = Metered::new(octets, walk.due());
    let Ok(mut archive) = contained(|| ZipArchive::new(source).map_err(Into::into)) else {
        // The end mark alone may be an accident in a file of another kind; with a beginning or a directory it is not.
        if begins_as_zip(octets) || headers > 0 {
            walk.obstacle(name, Obstacle::Broken)?;
        }
        return ControlFlow::Continue(None);
    };
    if hides_entries(&archive, octets) {
        walk.obstacle(name, Obstacle::Ambiguous)?;
    }
    let mut places = Vec::new();
    for index in 0..archive.len() {
        walk.count_entry(name)?;
        let entry = Entry::listed(&mut archive, index);
        entry.walk(walk, name, octets, &mut archive, depth)?;
        places.push(entry.place(octets));
    }
    let directory_at = usize::try_from(archive.central_directory_start()).unwrap_or(usize::MAX);
    let entries_at = places.iter().map(|place| place.start).min().unwrap_or(directory_at);
    if hides_between(octets, places, directory_at) {
        walk.obstacle(name, Obstacle::Ambiguous)?;
    }
    local::walk_unlisted(walk, name, octets.get(directory_at..).unwrap_or_default(), depth)?;
    ControlFlow::Continue(Some(entries_at))
}

/// What the directory says of one entry.
struct Entry {
    index: usize,
    name: Vec<u8>,
    /// Where its own header stands, and where the directory lists it.
    header_at: usize,
    listed_at: usize,
    method: CompressionMethod,
    is_encrypted: bool,
    packed_octets: u64,
    octets: u64,
    checksum: u32,
}

// === impl Entry ===

impl Entry {
    /// An entry that cannot be found in the file stands at its beginning, where nothing hides in front of it.
    fn listed(archive: &mut ZipArchive<Metered<'_>>, index: usize) -> Self {
        let shown = archive.name_for_index(index).unwrap_or("?").as_bytes().to_vec();
        match archive.by_index_raw(index) {
            Ok(entry) => Self {
                index,
                name: entry.name_raw().to_vec(),
                header_at: usize::try_from(entry.header_start()).unwrap_or(usize::MAX),
                listed_at: usize::try_from(entry.central_header_start()).unwrap_or(usize::MAX),
                method: entry.compression(),
                is_encrypted: entry.encrypted(),
                packed_octets: entry.compressed_size(),
                octets: entry.size(),
                checksum: entry.crc32(),
            },
            Err(_) => Self {
                index,
                name: shown,
                header_at: 0,
                listed_at: 0,
                method: CompressionMethod::Stored,
                is_encrypted: false,
                packed_octets: 0,
                octets: 0,
                checksum: 0,
            },
        }
    }

    fn walk(
        &self,
        walk: &mut Walk<'_>,
        archive_name: &ItemName,
        octets: &[u8],
        archive: &mut ZipArchive<Metered<'_>>,
        depth: Depth,
    ) -> ControlFlow<()> {
        let name = archive_name.inside_file(&String::from_utf8_lossy(&self.name));
        if self.is_contradicted(octets) {
            walk.obstacle(&name, Obstacle::Ambiguous)?;
        }
        if self.is_encrypted {
            return walk.obstacle(&name, Obstacle::Encrypted);
        }
        let packed = self.packed(octets);
        let mut unpacked = match self.method {
            CompressionMethod::Deflated => self.inflated(walk, &name, packed)?,
            CompressionMethod::BZIP2 => stream::unpack(walk, &name, Coding::Bzip2, packed)?,
            CompressionMethod::XZ => stream::unpack(walk, &name, Coding::Xz, packed)?,
            CompressionMethod::LZMA => stream::unpack(walk, &name, Coding::LzmaInZip, packed)?,
            _ => match archive.by_index(self.index) {
                Ok(mut entry) => Unpacked::read(walk, &name, packed.len(), &mut entry)?,
                Err(ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED)) => {
                    Unpacked { octets: Vec::new(), defect: Some(Obstacle::Encrypted) }
                }
                Err(_) => Unpacked { octets: Vec::new(), defect: Some(Obstacle::Broken) },
            },
        };
        // Another entry in the octets of this one: what is stored is looked at as a file, and of these methods, the first is seen
        // to end where it should, and both store what cannot be made smaller.
        let may_hold = matches!(
            self.method,
            CompressionMethod::Stored | CompressionMethod::Deflated | CompressionMethod::XZ
        );
        if !may_hold && unpacked.defect.is_none() && local::has_entry(packed) {
            unpacked.defect = Some(Obstacle::Ambiguous);
        }
        unpacked.hand_over(walk, &name, depth)
    }

    /// Programs that read from front to back go on where the stream ends, the others where the directory says.
    fn inflated(&self, walk: &mut Walk<'_>, name: &ItemName, packed: &[u8]) -> ControlFlow<(), Unpacked> {
        // Entries may share their octets.
        walk.count_walked(name, packed.len())?;
        let mut inflated = Inflated::read(walk, name, packed)?;
        if inflated.is_whole() {
            inflated.unpacked.defect = if inflated.checksum != self.checksum {
                Some(Obstacle::Broken)
            } else if inflated.packed_octets != packed.len() {
                Some(Obstacle::Ambiguous)
            } else {
                None
            };
        }
        ControlFlow::Continue(inflated.unpacked)
    }

    /// Whether the entry's own header says something else than the directory. Programs that read from front to back believe
    /// the one, the others the other.
    fn is_contradicted(&self, octets: &[u8]) -> bool {
        let Some(header) = LocalHeader::at(octets, self.header_at) else { return false };
        // The size that a stored entry declares is where some programs stop.
        let lies = self.method == CompressionMethod::Stored
            && !self.is_encrypted
            && self.packed_octets != self.octets;
        let sizes_follow = header.flags & FLAG_SIZES_FOLLOW != 0 || header.packed_octets == u32::MAX;
        lies || u16_at(octets, self.listed_at.saturating_add(LISTED_METHOD_AT)) != Some(header.method)
            || header.name != self.name
            || (header.flags & FLAG_ENCRYPTED != 0) != self.is_encrypted
            || !(sizes_follow || u64::from(header.packed_octets) == self.packed_octets)
    }

    fn place(&self, octets: &[u8]) -> Range<usize> {
        let packed_at = LocalHeader::at(octets, self.header_at).map_or(self.header_at, |header| header.end);
        let packed_octets = usize::try_from(self.packed_octets).unwrap_or(usize::MAX);
        self.header_at..packed_at.saturating_add(packed_octets).min(octets.len().max(self.header_at))
    }

    fn packed<'a>(&self, octets: &'a [u8]) -> &'a [u8] {
        let end = self.place(octets).end;
        let from = LocalHeader::at(octets, self.header_at).map_or(end, |header| header.end);
        octets.get(from..end).unwrap_or_default()
    }
}

/// Whether two entries share octets, or an entry that the directory does not list stands between the others.
fn hides_between(octets: &[u8], mut places: Vec<Range<usize>>, directory_at: usize) -> bool {
    places.sort_by_key(|place| place.start);
    let followers = places.iter().skip(1).map(|place| place.start).chain([directory_at]);
    places.iter().zip(followers).any(|(place, next)| {
        let between = octets.get(place.end..next);
        between.is_none_or(|between| memmem::find(between, LOCAL_HEADER).is_some())
    })
}

/// Whether a ZIP64 end record claims more entries than there may be. The reader reserves memory for what is claimed.
fn claims_too_many(octets: &[u8]) -> bool {
    memmem::find_iter(octets, END_RECORD_64).any(|at| {
        let record = octets.get(at..).unwrap_or_default();
        let rest_size = u64_at(record, END_RECORD_64_SIZE_AT).unwrap_or_default();
        let claims = u64_at(record, END_RECORD_64_ENTRIES_AT).unwrap_or_default();
        // Packed data contains the mark now and then; it is hardly ever followed by a size that fits.
        let plausible = usize::try_from(rest_size).is_ok_and(|size| size <= octets.len());
        plausible && usize::try_from(claims).map_or(true, |claims| claims > ENTRIES_MAX)
    })
}

/// Whether the directory has more entries than the reader shows: two of one name, of which it shows one, or an empty end
/// record behind an archive that is not.
fn hides_entries(archive: &ZipArchive<Metered<'_>>, octets: &[u8]) -> bool {
    let from = usize::try_from(archive.central_directory_start()).unwrap_or(usize::MAX);
    let headers = memmem::find_iter(octets.get(from..).unwrap_or_default(), DIRECTORY_HEADER).count();
    let emptied = archive.is_empty() && memmem::find(octets, DIRECTORY_HEADER).is_some();
    headers > archive.len() || emptied
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*octets.get(at..)?.first_chunk()?))
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*octets.get(at..)?.first_chunk()?))
}

fn u64_at(octets: &[u8], at: usize) -> Option<u64> {
    let field = octets.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*field))
}

/// "PK\3\4" (APPNOTE 4.3.7).
const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
/// "PK\1\2" (APPNOTE 4.3.12).
const DIRECTORY_HEADER: &[u8] = b"PK\x01\x02";
/// "PK\5\6" (APPNOTE 4.3.16).
const END_RECORD: &[u8] = b"PK\x05\x06";
const END_RECORD_OCTETS: usize = 22;
const END_RECORD_DIRECTORY_OCTETS_AT: usize = 12;
const END_RECORD_DIRECTORY_AT: usize = 16;
const END_RECORD_COMMENT_AT: usize = 20;
/// "PK\6\6" (APPNOTE 4.3.14), and two of its fields.
const END_RECORD_64: &[u8] = b"PK\x06\x06";
const END_RECORD_64_SIZE_AT: usize = 4;
const END_RECORD_64_ENTRIES_AT: usize = 32;
const END_RECORD_64_DIRECTORY_OCTETS_AT: usize = 40;
const END_RECORD_64_DIRECTORY_AT: usize = 48;
/// It, what may extend it, and what tells where it stands.
const END_RECORD_64_REACH: usize = 4_096;
/// The end record and the longest comment behind it.
const END_RECORD_REACH: usize = END_RECORD_OCTETS + 65_535;

/// "PK\7\8" (APPNOTE 4.3.9), which also begins an archive of several volumes.
const DATA_DESCRIPTOR: &[u8] = b"PK\x07\x08";
/// Begins what could have become one.
const VOLUME: &[u8] = b"PK00";
const LISTED_METHOD_AT: usize = 10;
const LISTED_HEADER_AT: usize = 42;
/// APPNOTE 4.4.4: bit 0 and bit 3.
const FLAG_ENCRYPTED: u16 = 1;
const FLAG_SIZES_FOLLOW: u16 = 8;

#[cfg(test)]
mod tests;
