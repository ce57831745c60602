//! A mail's octets: in memory while small, in a file of their own when large.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use gatepost_smtp::server::BodySink;

use super::Spool;
use crate::queue::AppendError;

/// Largest body that is kept in the queue's record itself (DESIGN: 256 KiB). Larger ones stream to a file.
pub const INLINE_OCTETS_MAX: usize = 256 * 1024;

/// A whole body, cheap to clone. A file stays as long as the queue or a clone needs it.
#[derive(Debug, Clone)]
pub enum Body {
    /// At most `INLINE_OCTETS_MAX` octets.
    Memory(Bytes),
    /// A flushed file.
    File(Arc<BodyFile>),
}

/// A body in a file of its own.
#[derive(Debug)]
pub struct BodyFile {}

/// Collects a body as it arrives. `put` (the machine's `BodySink`) appends; `settle` moves what is too much for memory
/// into a file, on the blocking pool; `finish` makes the file durable. Dropping it leaves nothing behind.
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

// === impl BodyBuffer ===

impl BodyBuffer {
    /// An empty one.
    #[must_use]
    pub fn new(_spool: Spool) -> Self {
        todo!()
    }

    /// Octets put so far.
    #[must_use]
    pub fn octets(&self) -> u64 {
        todo!()
    }

    /// Moves what is too much for memory into the file. Call it after each feed of at most a socket buffer (64 KiB);
    /// costs nothing while the body is small. Cancel-safe.
    pub async fn settle(&mut self) -> Result<(), AppendError> {
        todo!()
    }

    /// Makes a large body durable. Its file is removed again if the body is dropped before the queue has taken it.
    pub async fn finish(self) -> Result<Body, AppendError> {
        todo!()
    }
}

impl BodySink for BodyBuffer {
    fn put(&mut self, _octets: &[u8]) {
        todo!()
    }
}
