//! Zip archives, and what is built as one: office documents, jar, apk, self-extracting programs.
//!
//! The directory is read by the zip crate, after what it would allocate or repeat has been looked at. Where directory and
//! entries contradict each other, or an entry is in no directory, programs show different files: that is told.

use std::ops::ControlFlow;

use memchr::memmem;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::source::Metered;
use super::stream::{self, Coding};
use super::{Unpacked, contained};
use crate::scan::item::ItemName;
use crate::scan::plan::{Depth, ENTRIES_MAX, Walk};
use crate::scan::verdict::Obstacle;

/// Whether the octets begin as a zip archive or end as one (with a program or anything else in front).
pub(super) fn looks_like_zip(octets: &[u8]) -> bool {
    let tail = octets.len().saturating_sub(END_RECORD_REACH);
    octets.starts_with(LOCAL_HEADER)
        || octets.get(tail..).is_some_and(|tail| memmem::rfind(tail, END_RECORD).is_some())
}

/// Where a whole archive stands that has more behind its end record than `looks_like_zip` looks at: some programs look further.
/// The last one, if its record leads to its directory.
pub(super) fn find_inside(octets: &[u8]) -> Option<std::ops::Range<usize>> {
    let end_at = memmem::rfind(octets, END_RECORD)?;
    let record = octets.get(end_at..)?;
    let size = usize::try_from(u32_at(record, END_RECORD_DIRECTORY_OCTETS_AT)?).ok()?;
    let offset = usize::try_from(u32_at(record, END_RECORD_DIRECTORY_AT)?).ok()?;
    let directory_at = end_at.checked_sub(size)?;
    octets.get(directory_at..)?.starts_with(DIRECTORY_HEADER).then_some(())?;
    let comment = usize::from(u16_at(record, END_RECORD_COMMENT_AT)?);
    let end = end_at.saturating_add(END_RECORD_OCTETS).saturating_add(comment).min(octets.len());
    Some(directory_at.checked_sub(offset)?..end)
}

/// Hands every entry to the walk. `depth` counts this archive.
pub(super) fn walk(walk: &mut Walk<'_>, name: &ItemName, octets: &[u8], depth: Depth) -> ControlFlow<()> {
    let headers = memmem::find_iter(octets, DIRECTORY_HEADER).count();
    if headers > ENTRIES_MAX || claims_too_many(octets) {
        return walk.obstacle(name, Obstacle::TooManyEntries);
    }
    let source = Metered::new(octets, walk.due());
    let Ok(mut archive) = contained(|| ZipArchive::new(source).map_err(Into::into)) else {
        // The end mark alone may be an accident in a file of another kind; with a beginning or a directory it is not.
        return if octets.starts_with(LOCAL_HEADER) || headers > 0 {
            walk.obstacle(name, Obstacle::Broken)
        } else {
            ControlFlow::Continue(())
        };
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
    walk_prefix(walk, name, octets, entries_at, depth)
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
        let unpacked = match self.method {
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
        unpacked.hand_over(walk, &name, depth)
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

    fn place(&self, octets: &[u8]) -> std::ops::Range<usize> {
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

/// The header in front of an entry (APPNOTE 4.3.7).
struct LocalHeader<'a> {
    flags: u16,
    method: u16,
    packed_octets: u32,
    name: &'a [u8],
    /// Where the packed octets begin.
    end: usize,
}

// === impl LocalHeader ===

impl<'a> LocalHeader<'a> {
    fn at(octets: &'a [u8], at: usize) -> Option<Self> {
        let header = octets.get(at..)?;
        let (_, after) = header.split_at_checked(LOCAL_HEADER_OCTETS)?;
        let name_octets = usize::from(u16_at(header, 26)?);
        let extra_octets = usize::from(u16_at(header, 28)?);
        Some(Self {
            flags: u16_at(header, 6)?,
            method: u16_at(header, 8)?,
            packed_octets: u32_at(header, 18)?,
            name: after.get(..name_octets)?,
            end: at.checked_add(LOCAL_HEADER_OCTETS)?.checked_add(name_octets)?.checked_add(extra_octets)?,
        })
    }
}

/// Whether two entries share octets, or an entry that the directory does not list stands between the others.
fn hides_between(octets: &[u8], mut places: Vec<std::ops::Range<usize>>, directory_at: usize) -> bool {
    places.sort_by_key(|place| place.start);
    let followers = places.iter().skip(1).map(|place| place.start).chain([directory_at]);
    places.iter().zip(followers).any(|(place, next)| {
        let between = octets.get(place.end..next);
        between.is_none_or(|between| memmem::find(between, LOCAL_HEADER).is_some())
    })
}

/// What stands before the first entry: a program that unpacks itself, or a second archive that some readers prefer.
fn walk_prefix(
    walk: &mut Walk<'_>,
    name: &ItemName,
    octets: &[u8],
    first_entry: usize,
    depth: Depth,
) -> ControlFlow<()> {
    let prefix = octets.get(..first_entry).unwrap_or_default();
    if prefix.is_empty() || prefix.len() == octets.len() || !looks_like_zip(prefix) {
        return ControlFlow::Continue(());
    }
    walk.count_entry(name)?;
    walk.count_octets(name, prefix.len())?;
    walk.content(&name.inside("archive in front"), prefix, depth)
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
/// The end record and the longest comment behind it.
const END_RECORD_REACH: usize = END_RECORD_OCTETS + 65_535;

const LOCAL_HEADER_OCTETS: usize = 30;
const LISTED_METHOD_AT: usize = 10;
/// APPNOTE 4.4.4: bit 0 and bit 3.
const FLAG_ENCRYPTED: u16 = 1;
const FLAG_SIZES_FOLLOW: u16 = 8;

#[cfg(test)]
mod tests;
