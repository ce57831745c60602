//! The seam to stable storage: `real` in production, `simulated` in tests, where a crash keeps any subset of the unflushed sectors.

pub mod files;
pub mod free_space;
pub mod pool;
pub mod real;
pub mod simulated;

use std::io;
use std::path::{Path, PathBuf};

pub use free_space::FreeSpace;
pub use pool::{IoPool, Worked};
pub use real::RealDisk;
pub use simulated::{Dice, Fault, SimulatedDisk};

/// A file system of which only what was flushed survives.
pub trait Disk: Send + Sync + 'static {
    /// Creates a new file for writing and reading; fails with `AlreadyExists`. Mode 0600.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens an existing file for reading and, unless `read_only`, writing.
    fn open(&self, path: &Path, read_only: bool) -> io::Result<Box<dyn DiskFile>>;
    /// Renames within one file system; durable after `flush_folder`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; durable after `flush_folder`.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a folder and its parents, mode 0700.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// Flushes a folder's entries.
    fn flush_folder(&self, path: &Path) -> io::Result<()>;
    /// The files of a folder, in no order.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
    /// Octets that an unprivileged process can still write.
    fn free_octets(&self, path: &Path) -> io::Result<u64>;
    /// Files that an unprivileged process can still make (inodes); `u64::MAX` where the file system has no such bound.
    fn free_files(&self, path: &Path) -> io::Result<u64>;
}

/// An open file. Positioned I/O only: no hidden cursor.
pub trait DiskFile: Send + Sync {
    /// Reads at an offset; fewer octets than asked for means end of file.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Writes all slices, one behind the other, starting at `offset`.
    fn write_all_at(&self, offset: u64, slices: &[io::IoSlice<'_>]) -> io::Result<()>;
    /// fdatasync.
    fn flush(&self) -> io::Result<()>;
    /// Its length in octets.
    fn len(&self) -> io::Result<u64>;
    /// Whether it has no octets.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or extends it.
    fn set_len(&self, len: u64) -> io::Result<()>;
}
