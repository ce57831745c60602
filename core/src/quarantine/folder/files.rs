//! Names and octets of single files.

use std::io;
use std::path::Path;

use crate::disk::Disk;
use crate::queue::QueueId;

/// The mail that a file of this kind belongs to. `None` for every other name.
pub(super) fn name_of(path: &Path, suffix: &str) -> Option<QueueId> {
    let id = path.file_name()?.to_str()?.strip_suffix(suffix)?.parse::<QueueId>().ok()?;
    // Names in lower case are not ours.
    (path.file_name()?.to_str()? == format!("{id}{suffix}")).then_some(id)
}

/// # Errors
/// The disk's; `InvalidData` where it is larger than any of ours.
pub(super) fn read_whole(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, true)?;
    let octets = file.len()?;
    if octets > TEXT_OCTETS_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; usize::try_from(octets).unwrap_or(0)];
    let count = file.read_at(0, &mut text)?;
    text.truncate(count);
    Ok(text)
}

pub(super) const MAIL: &str = ".eml";
pub(super) const RECORD: &str = ".json";
pub(super) const NEW: &str = ".new";
/// A thousand recipients with the longest addresses and parameters take a tenth of this.
const TEXT_OCTETS_MAX: u64 = 16 * 1024 * 1024;
