//! Tar archives, read by the tar crate. Their entries lie open, but an archive inside one is only found by who looks.

use std::io;
use std::ops::ControlFlow;

use memchr::memmem;
use tar::{Archive, Entry};

use super::{Unpacked, contained};
use crate::scan::item::ItemName;
use crate::scan::plan::{Depth, Walk};
use crate::scan::verdict::Obstacle;

/// Where an archive begins, if the octets are one. Archives older than POSIX have no mark, all have a checksum. Some programs
/// skip blocks in front that are no header.
pub(super) fn find(octets: &[u8]) -> Option<usize> {
    let mut blocks = octets.chunks_exact(BLOCK_OCTETS);
    if blocks.next().is_some_and(is_header) {
        return Some(0);
    }
    let skipped = blocks.position(|block| is_header(block) && has_mark_or_numbers(block))?;
    skipped.checked_add(1)?.checked_mul(BLOCK_OCTETS)
}

fn is_header(block: &[u8]) -> bool {
    Sums::told_by(block).is_some_and(|sums| sums.are_right())
}

/// Whether a block in the midst of something is a header by more than its checksum.
fn has_mark_or_numbers(block: &[u8]) -> bool {
    let is_number = |field: &std::ops::Range<usize>| {
        block.get(field.clone()).is_some_and(|field| {
            field.iter().all(|octet| matches!(octet, b'0'..=b'7' | b' ' | 0))
                && field.iter().any(u8::is_ascii_digit)
        })
    };
    block.get(MARK_AT..).is_some_and(|rest| rest.starts_with(MARK))
        || (NUMBERS.iter().all(is_number) && block.first().is_some_and(|octet| *octet != 0))
}

/// The checksum of a header as programs read it, and what it should be.
struct Sums {
    /// Octal, as everybody reads it.
    told: Option<i64>,
    /// As some programs read it: with a sign or other ornaments of numbers, binary, in digits of base64.
    told_oddly: [Option<i64>; 3],
    plain: i64,
    /// By programs for which octets have a sign.
    signed: i64,
}

// === impl Sums ===

impl Sums {
    /// `None` where nobody reads a number.
    fn told_by(block: &[u8]) -> Option<Self> {
        let field = block.get(CHECKSUM)?;
        let told = octal(field);
        let told_oddly = [octal_with_ornaments(field), binary(field), base64(field)]
            .map(|told| told.filter(|told| SUMS.contains(told)));
        if told.is_none() && told_oddly.iter().all(Option::is_none) {
            return None;
        }
        let (mut plain, mut signed) = (0_i64, 0_i64);
        for (at, octet) in block.iter().enumerate() {
            // The checksum itself counts as blanks.
            let octet = if CHECKSUM.contains(&at) { b' ' } else { *octet };
            plain = plain.saturating_add(octet.into());
            signed = signed.saturating_add(octet.cast_signed().into());
        }
        Some(Self { told, told_oddly, plain, signed })
    }

    fn is_plain(&self) -> bool {
        self.told == Some(self.plain)
    }

    fn are_right(&self) -> bool {
        let mut told = self.told_oddly.iter().chain([&self.told]).flatten();
        told.any(|told| *told == self.plain || *told == self.signed)
    }
}

fn octal(field: &[u8]) -> Option<i64> {
    let digits = field.trim_ascii_start().split(|octet| !octet.is_ascii_digit()).next()?;
    i64::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

/// As languages read the literal of a number: a sign, a prefix for the base, digits in groups.
fn octal_with_ornaments(field: &[u8]) -> Option<i64> {
    let text: Vec<u8> = field
        .iter()
        .take_while(|octet| **octet != 0)
        .filter(|octet| !matches!(octet, b'_' | 0x0b | 0x1c..=0x1f))
        .copied()
        .collect();
    let text = text.trim_ascii();
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let text = text.strip_prefix(b"0o").or_else(|| text.strip_prefix(b"0O")).unwrap_or(text);
    octal(text)
}

/// Of GNU tar: the first bit is set, the second is the sign, the others are a number.
fn binary(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    let number = rest.iter().fold(0_i64, |number, digit| number << 8 | i64::from(*digit));
    match first {
        0x80 => Some(number),
        0xff => number.checked_sub(1 << 56),
        _ => None,
    }
}

/// Of old releases of GNU tar: a sign, and digits of base64.
fn base64(field: &[u8]) -> Option<i64> {
    let digits = field.trim_ascii_start().strip_prefix(b"+")?;
    let mut number = 0_i64;
    for octet in digits {
        let digit = match octet {
            b'A'..=b'Z' => octet.wrapping_sub(b'A'),
            b'a'..=b'z' => octet.wrapping_sub(b'a').wrapping_add(26),
            b'0'..=b'9' => octet.wrapping_sub(b'0').wrapping_add(52),
            b'+' => 62,
            b'/' => 63,
            _ => break,
        };
        number = number << 6 | i64::from(digit);
    }
    Some(number)
}

/// The archive with the checksums that the crate knows, if it has others.
fn with_plain_sums(octets: &[u8]) -> Option<Vec<u8>> {
    let mut plain = None;
    for (number, block) in octets.chunks_exact(BLOCK_OCTETS).enumerate() {
        let Some(sums) = Sums::told_by(block).filter(|sums| sums.are_right() && !sums.is_plain()) else {
            continue;
        };
        let at = number.saturating_mul(BLOCK_OCTETS).saturating_add(CHECKSUM.start);
        let field = plain.get_or_insert_with(|| octets.to_vec()).get_mut(at..)?.first_chunk_mut::<8>()?;
        let digits = format!("{:06o}\0 ", sums.plain);
        field.copy_from_slice(digits.as_bytes().first_chunk::<8>()?);
    }
    plain
}

/// Hands every entry to the walk. `depth` counts this archive.
pub(super) fn walk(walk: &mut Walk<'_>, name: &ItemName, octets: &[u8], depth: Depth) -> ControlFlow<()> {
    let plain = with_plain_sums(octets);
    if let Some(plain) = &plain {
        walk.count_octets(name, plain.len())?;
    }
    let octets = plain.as_deref().unwrap_or(octets);
    let mut archive = Archive::new(octets);
    // Some programs stop at the mark of the end and others do not, so what stands behind it is looked at, too.
    archive.set_ignore_zeros(true);
    let Ok(mut entries) = archive.entries() else { return walk.obstacle(name, Obstacle::Broken) };
    let mut end = 0;
    while let Some(entry) = contained(|| entries.next().transpose()).transpose() {
        let Ok(entry) = entry else {
            let rest =
                usize::try_from(end).ok().and_then(|end| octets.get(end.next_multiple_of(BLOCK_OCTETS)..));
            return if is_rubbish(rest.unwrap_or_default()) {
                ControlFlow::Continue(())
            } else {
                walk.obstacle(name, Obstacle::Broken)
            };
        };
        walk.count_entry(name)?;
        let from = usize::try_from(end).unwrap_or(usize::MAX);
        let to = usize::try_from(entry.raw_header_position()).unwrap_or(usize::MAX);
        let fields = octets.get(from..to).unwrap_or_default();
        // A sparse file is longer than what is kept of it.
        let is_sparse = entry.header().entry_type().is_gnu_sparse();
        let kept = if is_sparse { entry.header().entry_size().ok() } else { None };
        end = entry.raw_file_position().saturating_add(kept.unwrap_or_else(|| entry.size()));
        walk_entry(walk, name, entry, fields, octets.len(), depth)?;
    }
    ControlFlow::Continue(())
}

fn walk_entry<R: io::Read>(
    walk: &mut Walk<'_>,
    archive_name: &ItemName,
    mut entry: Entry<'_, R>,
    fields: &[u8],
    archive_octets: usize,
    depth: Depth,
) -> ControlFlow<()> {
    let name = archive_name.inside_file(&String::from_utf8_lossy(&entry.path_bytes()));
    let (header, size) = (entry.header(), entry.size());
    let kind = header.entry_type();
    // Programs that do not know of the longer header of POSIX believe the first one, and find other entries or another file.
    let is_contradicted = !kind.is_gnu_sparse()
        && (!header.entry_size().is_ok_and(|in_header| in_header == size) || are_contradicting(fields, size));
    let mut unpacked = Unpacked::read(walk, &name, archive_octets, &mut entry)?;
    // Fields for all entries, and those of another maker, which not everybody knows.
    let is_for_others = (kind.is_pax_global_extensions() || kind.as_byte() == FIELDS_OF_SOLARIS)
        && [SPARSE_FIELDS, SIZE_FIELD].iter().any(|field| memmem::find(&unpacked.octets, field).is_some());
    if is_contradicted || is_for_others {
        walk.obstacle(&name, Obstacle::Ambiguous)?;
    }
    let is_whole = u64::try_from(unpacked.octets.len()).is_ok_and(|octets| octets == size);
    if unpacked.defect.is_none() && !is_whole {
        unpacked.defect = Some(Obstacle::Broken);
    }
    unpacked.hand_over(walk, &name, depth)
}

/// Whether fields in front of an entry say that its octets are pieces of a file with holes, or that they are not so many. They
/// are searched and not parsed, since readers also disagree about where one field ends and the next begins.
fn are_contradicting(fields: &[u8], size: u64) -> bool {
    let sizes = memmem::find_iter(fields, SIZE_FIELD).filter_map(|at| {
        let value = fields.get(at.checked_add(SIZE_FIELD.len())?..)?;
        std::str::from_utf8(value.split(|octet| !octet.is_ascii_digit()).next()?).ok()
    });
    memmem::find(fields, SPARSE_FIELDS).is_some()
        || sizes.map(str::parse).any(|told: Result<u64, _>| told != Ok(size))
}

/// Whether this begins like the end of an archive and holds no header that some program might find.
fn is_rubbish(behind_entry: &[u8]) -> bool {
    let mut blocks = behind_entry.chunks(BLOCK_OCTETS);
    blocks.next().is_none_or(|block| block.iter().all(|octet| *octet == 0)) && !blocks.any(is_header)
}

const BLOCK_OCTETS: usize = 512;
/// Its place in a header.
const CHECKSUM: std::ops::Range<usize> = 148..156;
/// What octets of a block may sum up to, with or without a sign.
const SUMS: std::ops::Range<i64> = -70_000..140_000;
const MARK: &[u8] = b"ustar";
const MARK_AT: usize = 257;
/// Mode, owner, group, size and time.
const NUMBERS: [std::ops::Range<usize>; 5] = [100..108, 108..116, 116..124, 124..136, 136..148];
/// In the longer header of POSIX.
const SPARSE_FIELDS: &[u8] = b"GNU.sparse.";
const SIZE_FIELD: &[u8] = b" size=";
const FIELDS_OF_SOLARIS: u8 = b'X';
