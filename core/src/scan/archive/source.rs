//! A file in memory for a reader that may seek.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::time::Instant;

/// An archive's octets, which may be read a few times over and then no more, and not after the deadline.
///
/// A zip reader tries every end record in the file, searches for the directory that each one points to, and reads entries that
/// overlap or that unpack to nothing as often as they are listed. All of that grows with the square of the file's length. And
/// methods in a row, each with a ratio of thousands, may work for hours on what ends up as nothing.
#[derive(Debug)]
pub(super) struct Metered<'a> {
    file: Cursor<&'a [u8]>,
    octets_left: u64,
    due: Option<Instant>,
}

// === impl Metered ===

impl<'a> Metered<'a> {
    pub(super) fn new(octets: &'a [u8], due: Option<Instant>) -> Self {
        let len = u64::try_from(octets.len()).unwrap_or(u64::MAX);
        let octets_left = len.saturating_mul(READS_PER_OCTET_MAX).saturating_add(READ_OCTETS_FREE);
        Self { file: Cursor::new(octets), octets_left, due }
    }

    #[cfg(test)]
    pub(super) fn octets_left(&self) -> u64 {
        self.octets_left
    }
}

impl Read for Metered<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.due.is_some_and(|due| Instant::now() >= due) {
            return Err(io::Error::other("there is no time for more of the archive"));
        }
        let read = self.file.read(into)?;
        let left = u64::try_from(read).ok().and_then(|read| self.octets_left.checked_sub(read));
        self.octets_left = left.unwrap_or(0);
        left.ok_or_else(|| io::Error::other("the archive has been read too often"))?;
        Ok(read)
    }
}

impl Seek for Metered<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// An honest archive has its directory and every entry read once, and the headers twice.
const READS_PER_OCTET_MAX: u64 = 4;
/// For the search in small archives, which is done in steps larger than they are.
const READ_OCTETS_FREE: u64 = 1024 * 1024;
