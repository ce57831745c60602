//! A mail's octets: in memory while small, in a file of their own when large.

use std::io;

use bytes::Bytes;

/// Largest body that is kept in the queue's record itself (DESIGN: 256 KiB). Larger ones stream to a file.
pub const INLINE_OCTETS_MAX: usize = 256 * 1024;

/// A whole body, cheap to clone. A file stays as long as the queue or a clone needs it.
#[derive(Debug, Clone)]
pub enum Body {
    /// At most `INLINE_OCTETS_MAX` octets.
    Memory(Bytes),
    /// A flushed file.
    File(BodyFile),
}

/// A body in a file of its own.
#[derive(Debug, Clone)]
pub struct BodyFile {
    /// Where it lies now.
    pub path: std::path::PathBuf,
    /// Its length.
    pub octets: u64,
    /// BLAKE3 of its octets.
    pub hash: [u8; 32],
}

/// Collects a body as it arrives. `put` (the machine's `BodySink`) appends; `settle` moves what is too much for memory
/// into a file, on the blocking pool; `finish` makes the file durable.
#[derive(Debug)]
pub struct BodyBuffer {}

// === impl Body ===

impl Body {
    /// Its length in octets.
    #[must_use]
    pub fn octets(&self) -> u64 {
        todo!()
    }

    /// Reads the whole body. Blocking where it is a file: call it on a blocking thread. Bounded by the message limit.
    pub fn read(&self) -> io::Result<Bytes> {
        todo!()
    }

    /// A blocking reader over it.
    pub fn reader(&self) -> io::Result<Box<dyn io::Read + Send>> {
        todo!()
    }
}
