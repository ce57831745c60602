//! Files of the LZMA utilities, which have no mark, and raw LZMA.

use std::io::{self, Read};
use std::ops::Range;

use lzma_rust2::{LzmaReader, XzReader};

use super::members::Member;
use super::{DICTIONARY_KIB_MAX, XZ, contained};

/// One stream of such a file. Behind the first, one of xz may stand, too.
pub(super) enum Alone<'a> {
    Lzma(Box<LzmaReader<&'a [u8]>>),
    /// This one, and all that follow it.
    Xz(Box<XzReader<&'a [u8]>>),
    /// The error is the first thing that is read.
    Unreadable(Option<io::Error>),
}

// === impl Alone ===

impl<'a> Member<'a> for Alone<'a> {
    /// A mark of the end may be left of a stream of known size.
    fn next_in(octets: &'a [u8], _: &mut usize) -> Option<&'a [u8]> {
        (0..END_MARK_OCTETS_MAX)
            .map_while(|at| octets.get(at..))
            .find(|rest| rest.starts_with(XZ) || looks_like_lzma(rest))
    }

    fn new(octets: &'a [u8]) -> Self {
        if octets.starts_with(XZ) {
            return Self::Xz(Box::new(XzReader::new_mem_limit(octets, true, DICTIONARY_KIB_MAX)));
        }
        let opened = Header::of(octets).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof));
        match opened.and_then(|header| header.open()) {
            Ok(mut reader) => {
                // What came before a defect is looked at, too.
                reader.set_defer_errors(true);
                Self::Lzma(Box::new(reader))
            }
            Err(error) => Self::Unreadable(Some(error)),
        }
    }

    fn rest(self, octets: &'a [u8]) -> &'a [u8] {
        let Self::Lzma(reader) = self else { return &[] };
        let (rest, unused) = reader.into_parts();
        let left = rest.len().saturating_add(unused.len());
        octets.get(octets.len().saturating_sub(left)..).unwrap_or_default()
    }
}

impl Read for Alone<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Lzma(reader) => reader.read(into),
            Self::Xz(reader) => reader.read(into),
            Self::Unreadable(error) => error.take().map_or(Ok(0), Err),
        }
    }
}

/// Properties, a dictionary as programs choose it (a power of two, or one and a half; some take the largest number for "as much
/// as there is"), and a size that is unknown or possible. Where they are not the usual ones, it must also begin to unpack, since
/// files of other kinds look like that, too.
pub(super) fn looks_like_lzma(octets: &[u8]) -> bool {
    let Some(header) = Header::of(octets) else { return false };
    // A stream begins with a NUL.
    header.is_plausible()
        && (header.is_usual() || (header.stream.first() == Some(&0) && header.begins_to_unpack()))
}

/// Whether a file that failed to unpack is most likely no LZMA at all: its header could be an accident, and a stream of nothing
/// but NULs is what a file of another kind looks like.
pub(super) fn was_none(octets: &[u8], unpacked: &[u8]) -> bool {
    !Header::of(octets).is_some_and(|header| header.is_usual()) && unpacked.iter().all(|octet| *octet == 0)
}

/// What a zip entry holds (APPNOTE 5.8.8): two octets of version, two of the properties' length, five of properties, and a
/// stream that ends with a mark or with the octets.
pub(super) fn in_zip(octets: &[u8]) -> Alone<'_> {
    let header = octets.split_at_checked(4).and_then(|(_, rest)| rest.split_first_chunk::<5>());
    let Some(([properties, dictionary @ ..], stream)) = header else {
        return Alone::Unreadable(Some(io::Error::from(io::ErrorKind::UnexpectedEof)));
    };
    let dictionary = u32::from_le_bytes(*dictionary);
    match (Header { properties: *properties, dictionary, size: u64::MAX, stream }).open() {
        Ok(reader) => Alone::Lzma(Box::new(reader)),
        Err(error) => Alone::Unreadable(Some(error)),
    }
}

/// The header of a file and what follows.
struct Header<'a> {
    properties: u8,
    dictionary: u32,
    size: u64,
    stream: &'a [u8],
}

// === impl Header ===

impl<'a> Header<'a> {
    fn of(octets: &'a [u8]) -> Option<Self> {
        let ([properties, fields @ ..], stream) = octets.split_first_chunk::<13>()?;
        Some(Self {
            properties: *properties,
            dictionary: u32::from_le_bytes(*fields.first_chunk()?),
            size: u64::from_le_bytes(*fields.last_chunk()?),
            stream,
        })
    }

    fn is_plausible(&self) -> bool {
        let is_chosen = self.dictionary.is_power_of_two()
            || (self.dictionary.is_multiple_of(3) && (self.dictionary / 3).is_power_of_two())
            || self.dictionary == u32::MAX;
        is_chosen && (self.size == u64::MAX || self.size < SIZE_MAX)
    }

    /// As the usual programs write it.
    fn is_usual(&self) -> bool {
        self.properties == PROPERTIES
            && USUAL_DICTIONARIES.contains(&self.dictionary)
            && (self.size == u64::MAX || self.size < USUAL_SIZE_MAX)
    }

    fn begins_to_unpack(&self) -> bool {
        contained(|| self.open()?.read(&mut [0; BEGIN_OCTETS])).is_ok_and(|count| count > 0)
    }

    /// A stream never needs more of a dictionary than it has unpacked, which has a limit, too.
    fn open(&self) -> io::Result<LzmaReader<&'a [u8]>> {
        let dictionary = self.dictionary.min(DICTIONARY_OCTETS_MAX);
        LzmaReader::new_with_props(self.stream, self.size, self.properties, dictionary, None)
    }
}

const PROPERTIES: u8 = 0x5d;
const USUAL_DICTIONARIES: Range<u32> = 4_096..u32::MAX;
/// As the xz utilities guess, too.
const USUAL_SIZE_MAX: u64 = 1 << 38;
/// Up to which others believe it.
const SIZE_MAX: u64 = 1 << 56;
/// Enough to tell.
const BEGIN_OCTETS: usize = 64;
/// A match and what the coder keeps back take a few octets.
const END_MARK_OCTETS_MAX: usize = 16;
/// More than an entry may unpack to.
const DICTIONARY_OCTETS_MAX: u32 = 128 * 1024 * 1024;
