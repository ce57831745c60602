//! A disk in memory of which a crash keeps only what was flushed, and any part of what was not.

/// A file system in memory. Cheap to clone: clones share the disk.
#[derive(Debug, Clone, Default)]
pub struct SimulatedDisk {}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// EIO. A failed flush drops what it should have flushed.
    Io,
    /// ENOSPC.
    Full,
    /// A part is written, then ENOSPC.
    ShortWrite,
}
