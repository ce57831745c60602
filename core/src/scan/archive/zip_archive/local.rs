//! What stands in the file itself, whether or not a directory lists it: programs that read from front to back believe that.

use std::io::{self, Read};
use std::ops::ControlFlow;

use flate2::Crc;
use flate2::bufread::DeflateDecoder;
use memchr::memmem;

use super::super::Unpacked;
use super::super::stream::{self, Coding};
use super::{DATA_DESCRIPTOR, FLAG_ENCRYPTED, FLAG_SIZES_FOLLOW, LOCAL_HEADER, u16_at, u32_at};
use crate::scan::item::ItemName;
use crate::scan::plan::{Depth, Walk};
use crate::scan::verdict::Obstacle;

/// Hands every entry to the walk that stands in octets of which no directory tells.
pub(super) fn walk_unlisted(
    walk: &mut Walk<'_>,
    archive_name: &ItemName,
    octets: &[u8],
    depth: Depth,
) -> ControlFlow<()> {
    let mut at = 0;
    while let Some(header) = LocalHeader::next(octets, at) {
        walk.count_entry(archive_name)?;
        let name = archive_name.inside(&String::from_utf8_lossy(header.name));
        let packed = octets.get(header.end..).unwrap_or_default();
        let (mut unpacked, packed_octets) = header.unpack(walk, &name, packed)?;
        // Files of other kinds hold archives in pieces. What there is of an entry has come out, here as for any program.
        if unpacked.defect == Some(Obstacle::Broken) && header.is_known() {
            unpacked.defect = None;
        }
        walk.count_walked(&name, packed_octets)?;
        unpacked.hand_over(walk, &name, depth)?;
        at = header.end.saturating_add(packed_octets);
    }
    ControlFlow::Continue(())
}

/// Whether an entry stands here that a program might find.
pub(super) fn has_entry(octets: &[u8]) -> bool {
    LocalHeader::next(octets, 0).is_some()
}

/// The header in front of an entry (APPNOTE 4.3.7).
pub(super) struct LocalHeader<'a> {
    version: u8,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) packed_octets: u32,
    pub(super) name: &'a [u8],
    /// Where the packed octets begin.
    pub(super) end: usize,
}

// === impl LocalHeader ===

impl<'a> LocalHeader<'a> {
    pub(super) fn at(octets: &'a [u8], at: usize) -> Option<Self> {
        let header = octets.get(at..)?;
        let (fixed, after) = header.split_at_checked(LOCAL_HEADER_OCTETS)?;
        let name_octets = usize::from(u16_at(header, 26)?);
        let extra_octets = usize::from(u16_at(header, 28)?);
        Some(Self {
            version: *fixed.get(4)?,
            flags: u16_at(header, 6)?,
            method: u16_at(header, 8)?,
            packed_octets: u32_at(header, 18)?,
            name: after.get(..name_octets)?,
            end: at.checked_add(LOCAL_HEADER_OCTETS)?.checked_add(name_octets)?.checked_add(extra_octets)?,
        })
    }

    /// The first from there on that makes sense.
    fn next(octets: &'a [u8], at: usize) -> Option<Self> {
        let rest = octets.get(at..)?;
        memmem::find_iter(rest, LOCAL_HEADER)
            .filter_map(|found| Self::at(octets, at.checked_add(found)?))
            .find(|header| header.is_plausible() && header.end <= octets.len())
    }

    /// Programs that unpack themselves have the mark in their code, and any large file may have it by chance.
    fn is_plausible(&self) -> bool {
        self.version <= VERSION_MAX
            && (self.method <= METHOD_MAX || METHODS_APART.contains(&self.method))
            && (1..=NAME_OCTETS_MAX).contains(&self.name.len())
            && self.name.iter().all(|octet| *octet >= b' ')
    }

    /// Whether the method is one that is unpacked here.
    fn is_known(&self) -> bool {
        matches!(self.method, STORED | DEFLATED | BZIP2 | LZMA | XZ)
    }

    /// The entry behind the header, and how many octets it takes up.
    fn unpack(
        &self,
        walk: &mut Walk<'_>,
        name: &ItemName,
        rest: &[u8],
    ) -> ControlFlow<(), (Unpacked, usize)> {
        let told = usize::try_from(self.packed_octets).unwrap_or(usize::MAX);
        let sizes_follow = self.flags & FLAG_SIZES_FOLLOW != 0 || self.packed_octets == u32::MAX;
        let packed = if sizes_follow { None } else { rest.get(..told) };
        let unpacked = if self.flags & FLAG_ENCRYPTED != 0 {
            Unpacked { octets: Vec::new(), defect: Some(Obstacle::Encrypted) }
        } else {
            match self.method {
                STORED => {
                    // Without a size, it is what stands before the record that tells it.
                    let end = memmem::find(rest, DATA_DESCRIPTOR).unwrap_or(rest.len());
                    let mut packed = packed.unwrap_or_else(|| rest.get(..end).unwrap_or_default());
                    let unpacked = Unpacked::read(walk, name, packed.len(), &mut packed)?;
                    let packed_octets = unpacked.octets.len();
                    return ControlFlow::Continue((unpacked, packed_octets));
                }
                DEFLATED => {
                    let mut inflated = Inflated::read(walk, name, rest)?;
                    if !sizes_follow && inflated.is_whole() && inflated.packed_octets != told {
                        inflated.unpacked.defect = Some(Obstacle::Ambiguous);
                    }
                    return ControlFlow::Continue((inflated.unpacked, inflated.packed_octets));
                }
                BZIP2 => stream::unpack(walk, name, Coding::Bzip2, packed.unwrap_or(rest))?,
                LZMA => stream::unpack(walk, name, Coding::LzmaInZip, packed.unwrap_or(rest))?,
                XZ => stream::unpack(walk, name, Coding::Xz, packed.unwrap_or(rest))?,
                _ => Unpacked { octets: Vec::new(), defect: Some(Obstacle::Broken) },
            }
        };
        ControlFlow::Continue((unpacked, packed.map_or(0, <[u8]>::len)))
    }
}

/// What came out of a deflate stream.
pub(super) struct Inflated {
    pub(super) unpacked: Unpacked,
    /// Where the stream ended.
    pub(super) packed_octets: usize,
    pub(super) checksum: u32,
}

// === impl Inflated ===

impl Inflated {
    pub(super) fn read(walk: &mut Walk<'_>, name: &ItemName, packed: &[u8]) -> ControlFlow<(), Self> {
        let mut summed = Summed { decoder: DeflateDecoder::new(packed), sum: Crc::new() };
        let unpacked = Unpacked::read(walk, name, packed.len(), &mut summed)?;
        let packed_octets = usize::try_from(summed.decoder.total_in()).unwrap_or(packed.len());
        ControlFlow::Continue(Self { unpacked, packed_octets, checksum: summed.sum.sum() })
    }

    /// Whether the stream was read to its end.
    pub(super) fn is_whole(&self) -> bool {
        self.unpacked.defect.is_none()
    }
}

struct Summed<'a> {
    decoder: DeflateDecoder<&'a [u8]>,
    sum: Crc,
}

impl Read for Summed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(into)?;
        self.sum.update(into.get(..read).unwrap_or_default());
        Ok(read)
    }
}

const LOCAL_HEADER_OCTETS: usize = 30;
/// APPNOTE 4.4.3.2: the latest is 6.3.
const VERSION_MAX: u8 = 63;
/// APPNOTE 4.4.5: methods up to this, and those from 93 on.
const METHOD_MAX: u16 = 20;
const METHODS_APART: std::ops::RangeInclusive<u16> = 93..=99;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
const BZIP2: u16 = 12;
const LZMA: u16 = 14;
const XZ: u16 = 95;
/// As long as a path may be.
const NAME_OCTETS_MAX: usize = 4_096;
