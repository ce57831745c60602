//! Streams one behind the other in one file.

use std::io::{self, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use memchr::memmem;

use super::{GZIP, contained};
use crate::scan::plan::ENTRIES_MAX;

/// The streams of a file, which may hold several one behind the other. What else stands behind the last is left out, as the
/// usual programs do.
pub(super) struct Members<'a, D> {
    /// `None` only while one follows the other.
    current: Option<D>,
    /// From the beginning of the current one.
    octets: &'a [u8],
    count: usize,
    tries: usize,
}

/// A decoder of one stream that tells where it ended.
pub(super) trait Member<'a>: Read + Sized {
    /// From where the next one begins in what stands behind one. `tries` counts what only looked like one.
    fn next_in(octets: &'a [u8], tries: &mut usize) -> Option<&'a [u8]>;
    fn new(octets: &'a [u8]) -> Self;
    /// What stands behind it, after all of it has been read from these octets.
    fn rest(self, octets: &'a [u8]) -> &'a [u8];
}

// === impl Members ===

impl<'a, D: Member<'a>> Members<'a, D> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        Self { current: Some(D::new(octets)), octets, count: 1, tries: 0 }
    }
}

impl<'a, D: Member<'a>> Read for Members<'a, D> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        while let Some(current) = &mut self.current {
            let read = current.read(into)?;
            if read > 0 {
                return Ok(read);
            }
            let octets = self.octets;
            let rest = self.current.take().map(|member| member.rest(octets)).unwrap_or_default();
            let next = D::next_in(rest, &mut self.tries);
            self.count = self.count.saturating_add(1);
            if self.count > ENTRIES_MAX || self.tries > TRIES_MAX {
                return Err(io::Error::from(io::ErrorKind::OutOfMemory));
            }
            self.octets = next.unwrap_or_default();
            self.current = next.map(D::new);
        }
        Ok(0)
    }
}

impl<'a> Member<'a> for GzDecoder<&'a [u8]> {
    /// Some programs go on behind NULs, and others wherever they find the mark.
    fn next_in(octets: &'a [u8], tries: &mut usize) -> Option<&'a [u8]> {
        let octets = behind_nuls(octets);
        if octets.starts_with(GZIP) {
            return Some(octets);
        }
        memmem::find_iter(octets, GZIP).take(TRIES_MAX.saturating_add(1)).find_map(|at| {
            let member = octets.get(at..)?;
            *tries = tries.saturating_add(1);
            (*tries > TRIES_MAX || begins_as_gzip(member)).then_some(member)
        })
    }

    fn new(octets: &'a [u8]) -> Self {
        Self::new(octets)
    }

    fn rest(self, _: &'a [u8]) -> &'a [u8] {
        self.into_inner()
    }
}

impl<'a> Member<'a> for BzDecoder<&'a [u8]> {
    fn next_in(octets: &'a [u8], _: &mut usize) -> Option<&'a [u8]> {
        Some(behind_nuls(octets)).filter(|octets| octets.starts_with(b"BZh"))
    }

    fn new(octets: &'a [u8]) -> Self {
        Self::new(octets)
    }

    fn rest(self, _: &'a [u8]) -> &'a [u8] {
        self.into_inner()
    }
}

/// Programs fill the last block of a tape with them.
fn behind_nuls(octets: &[u8]) -> &[u8] {
    let first = octets.iter().position(|octet| *octet != 0).unwrap_or(octets.len());
    octets.get(first..).unwrap_or_default()
}

/// Whether it has flags that exist and begins to unpack: the mark alone is an accident in any large file.
fn begins_as_gzip(octets: &[u8]) -> bool {
    if octets.get(GZIP.len()).is_none_or(|flags| flags & RESERVED_FLAGS != 0) {
        return false;
    }
    let begin = octets.get(..TRY_OCTETS_MAX).unwrap_or(octets);
    contained(|| GzDecoder::new(begin).read(&mut [0; 64])).map_or_else(
        // A name may go on beyond what is looked at.
        |error| error.kind() == io::ErrorKind::UnexpectedEof && begin.len() < octets.len(),
        |count| count > 0,
    )
}

/// RFC 1952 section 2.3.1.
const RESERVED_FLAGS: u8 = 0xe0;
/// A mark and flags by chance come once in some hundred megabytes.
const TRIES_MAX: usize = 256;
/// Enough for the longest extra field, a name and the beginning of the content.
const TRY_OCTETS_MAX: usize = 96 * 1024;
