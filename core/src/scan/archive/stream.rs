//! Files of one compressed stream: gzip, bzip2, xz, lzma. What is inside is most often a tar archive.

mod lzma;
mod members;

use std::io::Read;
use std::ops::ControlFlow;

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;

use super::{DICTIONARY_KIB_MAX, Unpacked, contained};
use crate::scan::item::ItemName;
use crate::scan::plan::{Depth, Walk};
use crate::scan::verdict::Obstacle;
use lzma::Alone;
use members::Members;

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
        Coding::Gzip => Box::new(Members::<GzDecoder<&[u8]>>::new(octets)),
        Coding::Bzip2 => Box::new(Members::<BzDecoder<&[u8]>>::new(octets)),
        Coding::Xz => Box::new(XzReader::new_mem_limit(octets, true, DICTIONARY_KIB_MAX)),
        Coding::Lzma => Box::new(Members::<Alone<'_>>::new(octets)),
        Coding::LzmaInZip => Box::new(lzma::in_zip(octets)),
    };
    let mut unpacked = Unpacked::read(walk, name, octets.len(), &mut *reader)?;
    if coding == Coding::Lzma
        && unpacked.defect == Some(Obstacle::Broken)
        && lzma::was_none(octets, &unpacked.octets)
    {
        unpacked.defect = None;
    }
    ControlFlow::Continue(unpacked)
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
            lzma::looks_like_lzma(octets).then_some(Self::Lzma)
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

/// The mark, and the only method there is.
const GZIP: &[u8] = b"\x1f\x8b\x08";
/// What stands behind `BZh` and a digit: a block, or the end of a stream without one.
const BZIP2_BLOCK: &[u8] = b"\x31\x41\x59\x26\x53\x59";
const BZIP2_END: &[u8] = b"\x17\x72\x45\x38\x50\x90";
const XZ: &[u8] = b"\xfd7zXZ\0";
