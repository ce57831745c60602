//! Archives and compressed files, known by their content whatever they are called, and unpacked within limits.
//!
//! The formats are read by crates. What those would allocate, repeat or believe at an attacker's wish is bounded here: no size
//! that a file declares is believed, what comes out is counted while it comes, input is read a few times at most and not
//! beyond the deadline, and a reader that panics has found a broken archive.

mod seven_zip;
mod source;
mod stream;
mod tar_archive;
mod zip_archive;

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::item::ItemName;
use super::plan::{ARCHIVE_DEPTH_MAX, Depth, Walk};
use super::verdict::Obstacle;
use stream::Coding;

/// Hands everything inside to the walk. A file may be of several formats at once: each is what some program takes it for.
pub(super) fn walk(walk: &mut Walk<'_>, name: &ItemName, octets: &[u8], depth: Depth) -> ControlFlow<()> {
    for format in Format::all_of(octets) {
        if depth.archives >= ARCHIVE_DEPTH_MAX {
            return walk.obstacle(name, Obstacle::TooDeep);
        }
        let depth = depth.in_archive();
        match format {
            Format::Zip => zip_archive::walk(walk, name, octets, depth)?,
            Format::Tar { at } => {
                tar_archive::walk(walk, name, octets.get(at..).unwrap_or_default(), depth)?;
            }
            Format::SevenZip { at } => {
                seven_zip::walk(walk, name, octets.get(at..).unwrap_or_default(), depth)?;
            }
            Format::Stream(coding) => stream::walk(walk, name, coding, octets, depth)?,
        }
    }
    ControlFlow::Continue(())
}

/// Hands what a reader of somebody else's unpacks to the walk.
pub(super) fn unpack(
    walk: &mut Walk<'_>,
    name: &ItemName,
    packed_octets: usize,
    from: &mut dyn Read,
    depth: Depth,
) -> ControlFlow<()> {
    Unpacked::read(walk, name, packed_octets, from)?.hand_over(walk, name, depth)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Zip,
    /// Where it begins: blocks that are no header may stand in front.
    Tar {
        at: usize,
    },
    /// Where it begins: a program that unpacks itself stands in front.
    SevenZip {
        at: usize,
    },
    Stream(Coding),
}

/// What came out of an entry or a stream.
#[derive(Debug, Default)]
struct Unpacked {
    octets: Vec<u8>,
    /// Why that is not all, or not to be relied upon.
    defect: Option<Obstacle>,
}

// === impl Format ===

impl Format {
    fn all_of(octets: &[u8]) -> impl Iterator<Item = Self> {
        let zip = zip_archive::has_entries(octets).then_some(Self::Zip);
        let tar = tar_archive::find(octets).map(|at| Self::Tar { at });
        let seven_zip = seven_zip::find(octets).map(|at| Self::SevenZip { at });
        let stream = Coding::of(octets).map(Self::Stream);
        [stream, tar, seven_zip, zip].into_iter().flatten()
    }
}

// === impl Unpacked ===

impl Unpacked {
    /// Reads to the end, or to the limit for this many packed octets. What comes out is counted while it comes.
    fn read(
        walk: &mut Walk<'_>,
        name: &ItemName,
        packed_octets: usize,
        from: &mut dyn Read,
    ) -> ControlFlow<(), Self> {
        let octets_max = entry_octets_max(packed_octets);
        let mut unpacked = Self::default();
        loop {
            let before = unpacked.octets.len();
            // One octet too many tells that there are too many.
            let left = octets_max.saturating_sub(before).saturating_add(1);
            let step = u64::try_from(left).map_or(STEP_OCTETS, |left| left.min(STEP_OCTETS));
            let read = contained(|| Read::take(&mut *from, step).read_to_end(&mut unpacked.octets));
            let len = unpacked.octets.len();
            walk.count_octets(name, len.saturating_sub(before))?;
            unpacked.defect = match read {
                _ if len > octets_max => Some(Obstacle::TooLarge),
                Ok(0) => None,
                Ok(_) => continue,
                // What came before the defect (a wrong checksum, say) is still looked at: some readers do not mind it.
                Err(error) => Some(obstacle_of(&error)),
            };
            return ControlFlow::Continue(unpacked);
        }
    }

    /// What it is, for the walk.
    fn hand_over(&self, walk: &mut Walk<'_>, name: &ItemName, depth: Depth) -> ControlFlow<()> {
        if let Some(defect) = self.defect {
            walk.obstacle(name, defect)?;
        }
        if self.octets.is_empty() {
            return ControlFlow::Continue(());
        }
        walk.content(name, &self.octets, depth)
    }
}

/// Calls a reader of somebody else's. One that panics has met octets that nobody thought of.
fn contained<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    // It is not used again afterwards.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err(io::Error::other("the reader panicked")))
}

/// Readers tell by this kind that they would need more memory than they may have.
fn obstacle_of(error: &io::Error) -> Obstacle {
    if error.kind() == io::ErrorKind::OutOfMemory { Obstacle::TooLarge } else { Obstacle::Broken }
}

/// Up to `RATIO_FREE_OCTETS` whatever the ratio; above that `RATIO_MAX` times the packed size, and never over
/// `ENTRY_OCTETS_MAX`.
fn entry_octets_max(packed_octets: usize) -> usize {
    packed_octets.saturating_mul(RATIO_MAX).clamp(RATIO_FREE_OCTETS, ENTRY_OCTETS_MAX)
}

/// More than the largest message, so a stored file that fits in a mail always passes.
const ENTRY_OCTETS_MAX: usize = 64 * 1024 * 1024;
/// Deflate reaches 1032:1 on zeros, and later methods more; text, logs and databases stay under 50:1.
const RATIO_MAX: usize = 200;
/// Small files of blanks or zeros compress beyond any ratio and hurt nobody.
const RATIO_FREE_OCTETS: usize = 8 * 1024 * 1024;
/// Between two looks at limits and clock: some ten milliseconds of the slowest method.
const STEP_OCTETS: u64 = 256 * 1024;
/// Of a dictionary that a file declares. Windows grow with what was unpacked, which is counted, so this only has to let pass
/// what programs write at their best setting.
const DICTIONARY_KIB_MAX: u32 = 260 * 1024;

#[cfg(test)]
mod tests;
