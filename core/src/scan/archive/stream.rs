//! Files of one compressed stream: gzip, bzip2, xz, lzma. What is inside is most often a tar archive.

use std::io::{self, Read};
use std::ops::ControlFlow;

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use lzma_rust2::{LzmaReader, XzReader, lzma_get_memory_usage_by_props};

use super::{DICTIONARY_KIB_MAX, Unpacked, contained};
use crate::scan::item::ItemName;
use crate::scan::plan::{Depth, ENTRIES_MAX, Walk};

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// RFC 1952.
    Gzip,
    Bzip2,
    Xz,
    /// A file of the LZMA utilities, before xz.
    Lzma,
    /// The same in a zip entry, under another header (APPNOTE 5.8.8).
    LzmaInZip,
}

/// Hands what the stream holds to the walk. `depth` counts the stream.
pub(super) fn walk(
    walk: &mut Walk<'_>,
    name: &ItemName,
    coding: Coding,
    octets: &[u8],
    depth: Depth,
) -> ControlFlow<()> {
    walk.count_entry(name)?;
    let name = name.inside(&coding.label(octets));
    let unpacked = unpack(walk, &name, coding, octets)?;
    unpacked.hand_over(walk, &name, depth)
}

/// What the stream holds.
pub(super) fn unpack(
    walk: &mut Walk<'_>,
    name: &ItemName,
    coding: Coding,
    octets: &[u8],
) -> ControlFlow<(), Unpacked> {
    // Entries of an archive may share their octets.
    walk.count_walked(name, octets.len())?;
    let mut reader: Box<dyn Read + '_> = match coding {
        Coding::Gzip => Box::new(Members::<GzDecoder<_>>::new(octets)),
        Coding::Bzip2 => Box::new(Members::<BzDecoder<_>>::new(octets)),
        Coding::Xz => Box::new(XzReader::new_mem_limit(octets, true, DICTIONARY_KIB_MAX)),
        Coding::Lzma => readable(LzmaReader::new_mem_limit(octets, DICTIONARY_KIB_MAX, None)),
        Coding::LzmaInZip => readable(lzma_in_zip(octets)),
    };
    Unpacked::read(walk, name, octets.len(), &mut *reader)
}

// === impl Coding ===

impl Coding {
    pub(super) fn of(octets: &[u8]) -> Option<Self> {
        if octets.starts_with(GZIP) {
            Some(Self::Gzip)
        } else if octets.starts_with(b"BZh")
            && octets
                .get(4..)
                .is_some_and(|rest| rest.starts_with(BZIP2_BLOCK) || rest.starts_with(BZIP2_END))
        {
            Some(Self::Bzip2)
        } else if octets.starts_with(XZ) {
            Some(Self::Xz)
        } else {
            looks_like_lzma(octets).then_some(Self::Lzma)
        }
    }

    /// What a report calls the inside: the name that the file gives to it, if it does.
    fn label(self, octets: &[u8]) -> String {
        match self {
            Self::Gzip => {
                let decoder = GzDecoder::new(octets);
                let name = decoder.header().and_then(|header| header.filename());
                name.map_or_else(|| "gzip".to_owned(), |name| String::from_utf8_lossy(name).into_owned())
            }
            Self::Bzip2 => "bzip2".to_owned(),
            Self::Xz => "xz".to_owned(),
            Self::Lzma | Self::LzmaInZip => "lzma".to_owned(),
        }
    }
}

/// The streams of a file, which may hold several one behind the other. What else stands behind the last is left out, as the
/// usual programs do.
struct Members<D> {
    /// `None` only while one follows the other.
    current: Option<D>,
    count: usize,
}

/// A decoder of one stream that tells where it ended.
trait Member<'a>: Read {
    fn begins(octets: &[u8]) -> bool;
    fn new(octets: &'a [u8]) -> Self;
    fn rest(self) -> &'a [u8];
}

// === impl Members ===

impl<'a, D: Member<'a>> Members<D> {
    fn new(octets: &'a [u8]) -> Self {
        Self { current: Some(D::new(octets)), count: 1 }
    }
}

impl<'a, D: Member<'a>> Read for Members<D> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        while let Some(current) = &mut self.current {
            let read = current.read(into)?;
            if read > 0 {
                return Ok(read);
            }
            let rest = self.current.take().map(D::rest).unwrap_or_default();
            if D::begins(rest) {
                self.count = self.count.saturating_add(1);
                if self.count > ENTRIES_MAX {
                    return Err(io::Error::from(io::ErrorKind::OutOfMemory));
                }
                self.current = Some(D::new(rest));
            }
        }
        Ok(0)
    }
}

impl<'a> Member<'a> for GzDecoder<&'a [u8]> {
    fn begins(octets: &[u8]) -> bool {
        octets.starts_with(GZIP)
    }

    fn new(octets: &'a [u8]) -> Self {
        Self::new(octets)
    }

    fn rest(self) -> &'a [u8] {
        self.into_inner()
    }
}

impl<'a> Member<'a> for BzDecoder<&'a [u8]> {
    fn begins(octets: &[u8]) -> bool {
        octets.starts_with(b"BZh")
    }

    fn new(octets: &'a [u8]) -> Self {
        Self::new(octets)
    }

    fn rest(self) -> &'a [u8] {
        self.into_inner()
    }
}

/// The reader, or its error as the first thing that is read.
fn readable<'a>(opened: io::Result<impl Read + 'a>) -> Box<dyn Read + 'a> {
    match opened {
        Ok(reader) => Box::new(reader),
        Err(error) => Box::new(Unreadable(Some(error))),
    }
}

struct Unreadable(Option<io::Error>);

impl Read for Unreadable {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Two octets of version, two of the properties' length, five of properties, and a stream that ends with a mark or with the
/// octets.
fn lzma_in_zip(octets: &[u8]) -> io::Result<LzmaReader<&[u8]>> {
    let header = octets.split_at_checked(4).and_then(|(_, rest)| rest.split_first_chunk::<5>());
    let Some(([properties, dictionary @ ..], stream)) = header else {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    };
    let dictionary = u32::from_le_bytes(*dictionary);
    if lzma_get_memory_usage_by_props(dictionary, *properties)? > DICTIONARY_KIB_MAX {
        return Err(io::Error::from(io::ErrorKind::OutOfMemory));
    }
    LzmaReader::new_with_props(stream, u64::MAX, *properties, dictionary, None)
}

/// The header has no magic number: properties, a dictionary as programs choose it (a power of two, or one and a half), and
/// a size that is unknown or possible. Where the properties are not the usual ones, it must also begin to unpack, since
/// files of other kinds look like that, too.
fn looks_like_lzma(octets: &[u8]) -> bool {
    let Some(([properties, fields @ ..], stream)) = octets.split_first_chunk::<13>() else { return false };
    let (Some(dictionary), Some(size)) = (fields.first_chunk(), fields.last_chunk()) else { return false };
    let (dictionary, size) = (u32::from_le_bytes(*dictionary), u64::from_le_bytes(*size));
    let is_usual =
        dictionary.is_power_of_two() || (dictionary % 3 == 0 && (dictionary / 3).is_power_of_two());
    let is_plausible =
        dictionary >= LZMA_DICTIONARY_MIN && is_usual && (size == u64::MAX || size < LZMA_SIZE_MAX);
    // A stream begins with a NUL.
    is_plausible && (*properties == LZMA_PROPERTIES || (stream.first() == Some(&0) && begins_as_lzma(octets)))
}

/// What takes more memory than it may have has a header that makes sense.
fn begins_as_lzma(octets: &[u8]) -> bool {
    let begun = contained(|| {
        LzmaReader::new_mem_limit(octets, DICTIONARY_KIB_MAX, None)?.read(&mut [0; LZMA_BEGIN_OCTETS])
    });
    begun.map_or_else(|error| error.kind() == io::ErrorKind::OutOfMemory, |count| count > 0)
}

/// The mark, and the only method there is.
const GZIP: &[u8] = b"\x1f\x8b\x08";
/// What stands behind `BZh` and a digit: a block, or the end of a stream without one.
const BZIP2_BLOCK: &[u8] = b"\x31\x41\x59\x26\x53\x59";
const BZIP2_END: &[u8] = b"\x17\x72\x45\x38\x50\x90";
const XZ: &[u8] = b"\xfd7zXZ\0";
const LZMA_PROPERTIES: u8 = 0x5d;
/// Enough to tell.
const LZMA_BEGIN_OCTETS: usize = 64;
const LZMA_DICTIONARY_MIN: u32 = 4_096;
/// As the xz utilities guess, too.
const LZMA_SIZE_MAX: u64 = 1 << 38;
