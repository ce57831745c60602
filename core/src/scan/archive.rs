//! Zip archives, and what is built as one: office documents, jar, apk, self-extracting programs.
//!
//! Reading is left to the zip crate; what it would allocate or repeat at an attacker's wish is checked before it is called,
//! and no size that an archive declares is believed.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::ops::ControlFlow;

use memchr::memmem;
use zip::ZipArchive;
use zip::result::ZipError;

use super::item::ItemName;
use super::plan::{ENTRIES_MAX, Walk};
use super::verdict::Obstacle;

/// An archive's octets, which may be read a few times over and then no more.
///
/// The reader tries every end record in the file, searches for the directory that each one points to, and reads entries that
/// overlap or that unpack to nothing as often as they are listed. All of that grows with the square of the file's length.
struct Metered<'a> {
    file: Cursor<&'a [u8]>,
    octets_left: u64,
}

/// Whether the octets begin as a zip archive or end as one (with a program or anything else in front).
pub(super) fn looks_like_zip(octets: &[u8]) -> bool {
    let tail = octets.len().saturating_sub(END_RECORD_REACH);
    octets.starts_with(LOCAL_HEADER)
        || octets.get(tail..).is_some_and(|tail| memmem::rfind(tail, END_RECORD).is_some())
}

/// Hands every entry to the walk. `depth` is how many archives lie around the entries, this one included.
pub(super) fn walk_zip(walk: &mut Walk<'_>, name: &ItemName, octets: &[u8], depth: usize) -> ControlFlow<()> {
    let headers = memmem::find_iter(octets, DIRECTORY_HEADER).count();
    if headers > ENTRIES_MAX || claims_too_many(octets) {
        return walk.obstacle(name, Obstacle::TooManyEntries);
    }
    let Ok(mut archive) = ZipArchive::new(Metered::new(octets)) else {
        // The end mark alone may be an accident in a file of another kind; with a beginning or a directory it is not.
        return if octets.starts_with(LOCAL_HEADER) || headers > 0 {
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
    archive: &mut ZipArchive<Metered<'_>>,
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

/// Up to `RATIO_FREE_OCTETS` whatever the ratio; above that `RATIO_MAX` times the packed size, and never over
/// `ENTRY_OCTETS_MAX`.
fn entry_octets_max(packed_octets: u64) -> u64 {
    packed_octets.saturating_mul(RATIO_MAX).clamp(RATIO_FREE_OCTETS, ENTRY_OCTETS_MAX)
}

// === impl Metered ===

impl<'a> Metered<'a> {
    fn new(octets: &'a [u8]) -> Self {
        let len = u64::try_from(octets.len()).unwrap_or(u64::MAX);
        let octets_left = len.saturating_mul(READS_PER_OCTET_MAX).saturating_add(READ_OCTETS_FREE);
        Self { file: Cursor::new(octets), octets_left }
    }
}

impl Read for Metered<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        let left = u64::try_from(read).ok().and_then(|read| self.octets_left.checked_sub(read));
        self.octets_left = left.unwrap_or(0);
        left.ok_or_else(|| io::Error::other("the archive has been read too often"))?;
        Ok(read)
    }
}

impl Seek for Metered<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
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

/// An honest archive has its directory and every entry read once, and the headers twice.
const READS_PER_OCTET_MAX: u64 = 4;
/// For the search in small archives, which is done in steps larger than they are.
const READ_OCTETS_FREE: u64 = 1024 * 1024;
/// More than the largest message, so a stored file that fits in a mail always passes.
const ENTRY_OCTETS_MAX: u64 = 64 * 1024 * 1024;
/// Deflate reaches 1032:1 on zeros; text, logs and databases stay under 50:1.
const RATIO_MAX: u64 = 200;
/// Small files of blanks or zeros compress beyond any ratio and hurt nobody.
const RATIO_FREE_OCTETS: u64 = 8 * 1024 * 1024;

#[cfg(test)]
mod tests;
