//! The file system itself.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{Disk, DiskFile};

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile(File);

// === impl RealDisk ===

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &Path, read_only: bool) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(!read_only).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)
    }

    fn flush_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
        Ok(files)
    }

    fn free_octets(&self, path: &Path) -> io::Result<u64> {
        let facts = rustix::fs::statvfs(path)?;
        Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
    }

    fn free_files(&self, path: &Path) -> io::Result<u64> {
        let facts = rustix::fs::statvfs(path)?;
        // File systems that make inodes as they go say that they have none at all.
        Ok(if facts.f_files == 0 { u64::MAX } else { facts.f_favail })
    }
}

// === impl RealFile ===

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0_usize;
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = offset.checked_add(filled as u64).ok_or(io::ErrorKind::InvalidInput)?;
            match self.0.read_at(rest, at) {
                Ok(0) => break,
                Ok(count) => filled = filled.saturating_add(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_all_at(&self, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let mut at = offset;
        for group in slices.chunks(SLICES_MAX) {
            let mut group = group.to_vec();
            let mut rest = group.as_mut_slice();
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                let written = match rustix::io::pwritev(&self.0, rest, at) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => written,
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(error) => return Err(error.into()),
                };
                at = at.checked_add(written as u64).ok_or(io::ErrorKind::InvalidInput)?;
                IoSlice::advance_slices(&mut rest, written);
            }
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

/// Mail is read by its owner alone.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// Linux refuses more slices in one call (`IOV_MAX`).
const SLICES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn files_and_folders_are_for_their_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        RealDisk.make_folder(&folder).unwrap();
        RealDisk.create(&folder.join("file")).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(folder.join("file")).unwrap().permissions().mode() & 0o777, 0o600);
        let again = RealDisk.create(&folder.join("file")).err().unwrap();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(RealDisk.list(&folder).unwrap(), vec![folder.join("file")]);
        assert!(RealDisk.free_octets(&folder).unwrap() > 0);
        assert!(RealDisk.free_files(&folder).unwrap() > 0);
    }

    #[test]
    fn more_slices_than_one_call_takes_are_all_written() {
        let root = tempfile::tempdir().unwrap();
        let file = RealDisk.create(&root.path().join("file")).unwrap();
        let octets: Vec<u8> = (0..5_000_u32).flat_map(u32::to_le_bytes).collect();
        let slices: Vec<IoSlice<'_>> = octets.chunks(3).map(IoSlice::new).collect();
        file.write_all_at(7, &slices).unwrap();
        file.flush().unwrap();
        let mut read = vec![0; octets.len() + 100];
        assert_eq!(file.read_at(7, &mut read).unwrap(), octets.len());
        assert_eq!(&read[..octets.len()], octets);
    }
}
