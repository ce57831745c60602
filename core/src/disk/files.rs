//! What rooms that keep whole files do with them.

use std::io::{self, IoSlice, Read};
use std::path::Path;

use super::{Disk, DiskFile};

/// What came of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Octets in the file.
    pub octets: u64,
    /// Whether there was more than was allowed.
    pub cut: bool,
    /// Whether the source could not be read to its end, because what it keeps is damaged.
    pub damaged: bool,
}

/// Removes a file, which may be gone.
///
/// # Errors
/// The disk's.
pub fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes a file whole or not at all, flushed with its folder. It takes the place of one with the same name; `draft` is where it
/// comes to be, in the same folder.
///
/// # Errors
/// The disk's. The draft may be left behind.
pub fn replace(disk: &dyn Disk, draft: &Path, path: &Path, octets: &[u8]) -> io::Result<()> {
    remove_if_there(disk, draft)?;
    let file = disk.create(draft)?;
    file.write_all_at(0, &[IoSlice::new(octets)])?;
    file.flush()?;
    disk.rename(draft, path)?;
    disk.flush_folder(path.parent().unwrap_or(path))
}

/// Copies `content`, as far as it can be read and up to `octets_max`, into an empty file and flushes it. `seen` gets each part that
/// was written.
///
/// # Errors
/// The disk's, of the file or behind the content. Damage of the content is none.
pub fn copy(
    content: &mut dyn Read,
    file: &dyn DiskFile,
    octets_max: u64,
    seen: &mut dyn FnMut(&[u8]),
) -> io::Result<Copied> {
    let mut copied = Copied { octets: 0, cut: false, damaged: false };
    let mut buffer = vec![0; BUFFER_OCTETS];
    loop {
        let count = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if is_damage(&error) => {
                copied.damaged = true;
                break;
            }
            Err(error) => return Err(error),
        };
        let room = usize::try_from(octets_max.saturating_sub(copied.octets)).unwrap_or(usize::MAX);
        let part = buffer.get(..count.min(room)).unwrap_or_default();
        file.write_all_at(copied.octets, &[IoSlice::new(part)])?;
        seen(part);
        copied.octets = copied.octets.saturating_add(part.len() as u64);
        if part.len() < count {
            copied.cut = true;
            break;
        }
    }
    file.flush()?;
    Ok(copied)
}

fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

const BUFFER_OCTETS: usize = 64 * 1024;
