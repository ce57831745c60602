//! Why the queue could not be opened.

use std::io;
use std::path::PathBuf;

/// Opening ends here; nothing was changed on disk but for what recovery had set aside.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A segment was written by a newer Gatepost.
    #[error("{} has format version {found}, this program reads up to {known}: use a newer Gatepost", path.display())]
    NewerVersion {
        /// The segment.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The folder or a file in it could not be read or written.
    #[error("queue in {}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("no thread for the queue: {0}")]
    Thread(io::Error),
    /// The setting is below what one record needs.
    #[error("segment size of {octets} octets is below the minimum of {minimum}")]
    SegmentTooSmall {
        /// As configured.
        octets: u64,
        /// The least.
        minimum: u64,
    },
}

// === impl OpenError ===

impl OpenError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
