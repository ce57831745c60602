//! Tar archives, read by the tar crate. Their entries lie open, but an archive inside one is only found by who looks.

use std::io;
use std::ops::ControlFlow;

use tar::{Archive, Entry};

use super::{Unpacked, contained};
use crate::scan::item::ItemName;
use crate::scan::plan::{Depth, Walk};
use crate::scan::verdict::Obstacle;

/// Whether the octets begin with a header: archives older than POSIX have no mark, all have a checksum.
pub(super) fn looks_like_tar(octets: &[u8]) -> bool {
    octets.get(..BLOCK_OCTETS).and_then(Sums::told_by).is_some_and(|sums| sums.is_plain() || sums.is_signed())
}

/// The checksum of a header, and what it should be.
struct Sums {
    told: i64,
    plain: i64,
    /// By programs for which octets have a sign.
    signed: i64,
}

// === impl Sums ===

impl Sums {
    fn told_by(block: &[u8]) -> Option<Self> {
        let told = block.get(CHECKSUM)?;
        let digits = told.trim_ascii_start().split(|octet| !octet.is_ascii_digit()).next()?;
        let told = i64::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()?;
        let (mut plain, mut signed) = (0_i64, 0_i64);
        for (at, octet) in block.iter().enumerate() {
            // The checksum itself counts as blanks.
            let octet = if CHECKSUM.contains(&at) { b' ' } else { *octet };
            plain = plain.saturating_add(octet.into());
            signed = signed.saturating_add(octet.cast_signed().into());
        }
        Some(Self { told, plain, signed })
    }

    const fn is_plain(&self) -> bool {
        self.told == self.plain
    }

    const fn is_signed(&self) -> bool {
        self.told == self.signed
    }
}

/// The archive with the checksums that the crate knows, if it has others.
fn with_plain_sums(octets: &[u8]) -> Option<Vec<u8>> {
    let mut plain = None;
    for (number, block) in octets.chunks_exact(BLOCK_OCTETS).enumerate() {
        let Some(sums) = Sums::told_by(block).filter(|sums| sums.is_signed() && !sums.is_plain()) else {
            continue;
        };
        let at = number.saturating_mul(BLOCK_OCTETS).saturating_add(CHECKSUM.start);
        let field = plain.get_or_insert_with(|| octets.to_vec()).get_mut(at..)?.first_chunk_mut::<8>()?;
        let digits = format!("{:06o}\0 ", sums.plain);
        field.copy_from_slice(digits.as_bytes().first_chunk::<8>()?);
    }
    plain
}

/// Hands every entry to the walk. `depth` counts this archive.
pub(super) fn walk(walk: &mut Walk<'_>, name: &ItemName, octets: &[u8], depth: Depth) -> ControlFlow<()> {
    let plain = with_plain_sums(octets);
    if let Some(plain) = &plain {
        walk.count_octets(name, plain.len())?;
    }
    let octets = plain.as_deref().unwrap_or(octets);
    let mut archive = Archive::new(octets);
    // Some programs stop at the mark of the end and others do not, so what stands behind it is looked at, too.
    archive.set_ignore_zeros(true);
    let Ok(mut entries) = archive.entries() else { return walk.obstacle(name, Obstacle::Broken) };
    let mut end = 0;
    while let Some(entry) = contained(|| entries.next().transpose()).transpose() {
        let Ok(entry) = entry else {
            let rest =
                usize::try_from(end).ok().and_then(|end| octets.get(end.next_multiple_of(BLOCK_OCTETS)..));
            return if is_rubbish(rest.unwrap_or_default()) {
                ControlFlow::Continue(())
            } else {
                walk.obstacle(name, Obstacle::Broken)
            };
        };
        walk.count_entry(name)?;
        // A sparse file is longer than what is kept of it.
        let is_sparse = entry.header().entry_type().is_gnu_sparse();
        let kept = if is_sparse { entry.header().entry_size().ok() } else { None };
        end = entry.raw_file_position().saturating_add(kept.unwrap_or_else(|| entry.size()));
        walk_entry(walk, name, entry, octets.len(), depth)?;
    }
    ControlFlow::Continue(())
}

fn walk_entry<R: io::Read>(
    walk: &mut Walk<'_>,
    archive_name: &ItemName,
    mut entry: Entry<'_, R>,
    archive_octets: usize,
    depth: Depth,
) -> ControlFlow<()> {
    let name = archive_name.inside_file(&String::from_utf8_lossy(&entry.path_bytes()));
    let (header, size) = (entry.header(), entry.size());
    // Programs that do not know of the longer header of POSIX believe the first one, and find other entries.
    if !header.entry_type().is_gnu_sparse() && !header.entry_size().is_ok_and(|in_header| in_header == size) {
        walk.obstacle(&name, Obstacle::Ambiguous)?;
    }
    let mut unpacked = Unpacked::read(walk, &name, archive_octets, &mut entry)?;
    let is_whole = u64::try_from(unpacked.octets.len()).is_ok_and(|octets| octets == size);
    if unpacked.defect.is_none() && !is_whole {
        unpacked.defect = Some(Obstacle::Broken);
    }
    unpacked.hand_over(walk, &name, depth)
}

/// Whether this begins like the end of an archive and holds no header that some program might find.
fn is_rubbish(behind_entry: &[u8]) -> bool {
    let mut blocks = behind_entry.chunks(BLOCK_OCTETS);
    blocks.next().is_none_or(|block| block.iter().all(|octet| *octet == 0)) && !blocks.any(looks_like_tar)
}

const BLOCK_OCTETS: usize = 512;
/// Its place in a header.
const CHECKSUM: std::ops::Range<usize> = 148..156;
