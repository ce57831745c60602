//! Zip archives, and what is built as one: office documents, jar, apk, self-extracting programs.
//!
//! Reading is left to the zip crate; what it would allocate or repeat at an attacker's wish is checked before it is called,
//! and no size that an archive declares is believed.

use std::io::{Cursor, Read};
use std::ops::ControlFlow;

use memchr::memmem;
use zip::ZipArchive;
use zip::result::ZipError;

use super::item::ItemName;
use super::plan::{ENTRIES_MAX, Walk};
use super::verdict::Obstacle;

/// Whether the octets begin as a zip archive or end as one (with a program or anything else in front).
pub(super) fn looks_like_zip(octets: &[u8]) -> bool {
    let tail = octets.len().saturating_sub(END_RECORD_REACH);
    octets.starts_with(LOCAL_HEADER)
        || octets.get(tail..).is_some_and(|tail| memmem::rfind(tail, END_RECORD).is_some())
}

/// Hands every entry to the walk. `depth` is how many archives lie around the entries, this one included.
pub(super) fn walk_zip(walk: &mut Walk<'_>, name: &ItemName, octets: &[u8], depth: usize) -> ControlFlow<()> {
    if let Err(obstacle) = check_directory(octets) {
        return walk.obstacle(name, obstacle);
    }
    let Ok(mut archive) = ZipArchive::new(Cursor::new(octets)) else {
        // The end mark may be an accident in a file of another kind; a beginning is not.
        return if octets.starts_with(LOCAL_HEADER) {
            walk.obstacle(name, Obstacle::Broken)
        } else {
            ControlFlow::Continue(())
        };
    };
    if hides_entries(&archive, octets) {
        walk.obstacle(name, Obstacle::Broken)?;
    }
    let mut first_entry = archive.central_directory_start();
    for index in 0..archive.len() {
        walk.count_entry(name)?;
        first_entry = first_entry.min(walk_entry(walk, name, &mut archive, index, depth)?);
    }
    walk_prefix(walk, name, octets, first_entry, depth)
}

/// One entry; continues with where it begins in the file.
fn walk_entry(
    walk: &mut Walk<'_>,
    archive_name: &ItemName,
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    index: usize,
    depth: usize,
) -> ControlFlow<(), u64> {
    let name = archive_name.inside(archive.name_for_index(index).unwrap_or("?"));
    // An entry whose place is unknown leaves nothing in front of it to look at.
    let begins_at = archive.by_index_raw(index).map_or(0, |entry| entry.header_start());
    let mut octets = Vec::new();
    let defect = match archive.by_index(index) {
        Ok(mut entry) => {
            let octets_max = entry_octets_max(entry.compressed_size());
            let read = entry.by_ref().take(octets_max.saturating_add(1)).read_to_end(&mut octets);
            let too_large = u64::try_from(octets.len()).is_ok_and(|len| len > octets_max);
            match read {
                _ if too_large => Some(Obstacle::TooLarge),
                Ok(_) => None,
                // What came before the defect (a wrong checksum, say) is still looked at: some readers do not mind it.
                Err(_) => Some(Obstacle::Broken),
            }
        }
        Err(ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED)) => Some(Obstacle::Encrypted),
        Err(_) => Some(Obstacle::Broken),
    };
    walk.count_octets(&name, octets.len())?;
    if let Some(defect) = defect {
        walk.obstacle(&name, defect)?;
    }
    if !octets.is_empty() {
        walk.content(&name, &octets, depth)?;
    }
    ControlFlow::Continue(begins_at)
}

/// What stands before the first entry: a program that unpacks itself, or a second archive that some readers prefer.
fn walk_prefix(
    walk: &mut Walk<'_>,
    name: &ItemName,
    octets: &[u8],
    first_entry: u64,
    depth: usize,
) -> ControlFlow<()> {
    let prefix = usize::try_from(first_entry).ok().and_then(|end| octets.get(..end)).unwrap_or_default();
    if prefix.is_empty() || prefix.len() == octets.len() || !looks_like_zip(prefix) {
        return ControlFlow::Continue(());
    }
    walk.count_entry(name)?;
    walk.count_octets(name, prefix.len())?;
    walk.content(&name.inside("archive in front"), prefix, depth)
}

/// Refuses a directory over which the reader would allocate or repeat too much.
///
/// The reader tries every end record in the file, from the last to the first, and reads the directory each one points to until
/// it fails; and it reserves memory for as many entries as a ZIP64 end record claims.
fn check_directory(octets: &[u8]) -> Result<(), Obstacle> {
    let ends = memmem::find_iter(octets, END_RECORD).count();
    let entries = memmem::find_iter(octets, DIRECTORY_HEADER).count();
    if entries > ENTRIES_MAX || ends.saturating_mul(entries) > DIRECTORY_WORK_MAX || ends > ENTRIES_MAX {
        return Err(Obstacle::TooManyEntries);
    }
    for at in memmem::find_iter(octets, END_RECORD_64) {
        let record = octets.get(at..).unwrap_or_default();
        let rest_size = u64_at(record, END_RECORD_64_SIZE_AT).unwrap_or_default();
        let claims = u64_at(record, END_RECORD_64_ENTRIES_AT).unwrap_or_default();
        let plausible = usize::try_from(rest_size).is_ok_and(|size| size <= octets.len());
        if plausible && usize::try_from(claims).map_or(true, |claims| claims > ENTRIES_MAX) {
            return Err(Obstacle::TooManyEntries);
        }
    }
    Ok(())
}

/// Whether the directory has more entries than the reader shows: two of one name, of which it shows one, or an empty end
/// record behind an archive that is not.
fn hides_entries(archive: &ZipArchive<Cursor<&[u8]>>, octets: &[u8]) -> bool {
    let from = usize::try_from(archive.central_directory_start()).unwrap_or(usize::MAX);
    let headers = memmem::find_iter(octets.get(from..).unwrap_or_default(), DIRECTORY_HEADER).count();
    let emptied = archive.is_empty() && memmem::find(octets, DIRECTORY_HEADER).is_some();
    headers > archive.len() || emptied
}

/// Up to `RATIO_FREE_OCTETS` whatever the ratio; above that `RATIO_MAX` times the packed size, and never over
/// `ENTRY_OCTETS_MAX`.
fn entry_octets_max(packed_octets: u64) -> u64 {
    packed_octets.saturating_mul(RATIO_MAX).clamp(RATIO_FREE_OCTETS, ENTRY_OCTETS_MAX)
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
/// "PK\6\6" (APPNOTE 4.3.14), and two of its fields.
const END_RECORD_64: &[u8] = b"PK\x06\x06";
const END_RECORD_64_SIZE_AT: usize = 4;
const END_RECORD_64_ENTRIES_AT: usize = 32;
/// The end record and the longest comment behind it.
const END_RECORD_REACH: usize = 22 + 65_535;

/// Steps of the reader over directory headers; some hundred nested archives of a hundred entries each stay far below.
const DIRECTORY_WORK_MAX: usize = 4_000_000;
/// More than the largest message, so a stored file that fits in a mail always passes.
const ENTRY_OCTETS_MAX: u64 = 64 * 1024 * 1024;
/// Deflate reaches 1032:1 on zeros; text, logs and databases stay under 50:1.
const RATIO_MAX: u64 = 200;
/// Small files of blanks or zeros compress beyond any ratio and hurt nobody.
const RATIO_FREE_OCTETS: u64 = 8 * 1024 * 1024;

#[cfg(test)]
mod tests;
