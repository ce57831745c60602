//! 7z archives, also behind a program that unpacks them. Read by the sevenz-rust2 crate on this thread alone.

mod header;

use std::io;
use std::ops::ControlFlow;

use memchr::memmem;
use sevenz_rust2::{Archive, ArchiveEntry, BlockDecoder, EncoderMethod, Error, Password};

use super::source::Metered;
use super::{DICTIONARY_KIB_MAX, Unpacked, contained};
use crate::scan::item::ItemName;
use crate::scan::plan::{Depth, ENTRIES_MAX, Walk};
use crate::scan::verdict::Obstacle;

/// Where an archive begins. Inside a file, only with the right checksum: programs that read archives contain the mark, too.
pub(super) fn find(octets: &[u8]) -> Option<usize> {
    memmem::find_iter(octets, SIGNATURE).find(|at| {
        let header = octets.get(at.saturating_add(SIGNATURE.len())..).unwrap_or_default();
        *at == 0 || has_checksum(header)
    })
}

/// Hands every entry to the walk. `depth` counts this archive.
pub(super) fn walk(walk: &mut Walk<'_>, name: &ItemName, octets: &[u8], depth: Depth) -> ControlFlow<()> {
    let password = Password::empty();
    let mut source = Metered::new(octets, walk.due());
    let list_kib_max = match header::packed_list_octets(octets) {
        Some(octets) if octets <= LIST_OCTETS_MAX => LIST_DICTIONARY_KIB_MAX,
        _ => LIST_KIB_MAX,
    };
    let opened = contained(|| Ok(Archive::read_with_memory_limit(&mut source, &password, list_kib_max)));
    let archive = match opened {
        Ok(Ok(archive)) => archive,
        Ok(Err(error)) => return walk.obstacle(name, obstacle_of(&error)),
        Err(_) => return walk.obstacle(name, Obstacle::Broken),
    };
    if archive.files.len() > ENTRIES_MAX {
        return walk.obstacle(name, Obstacle::TooManyEntries);
    }
    for (index, block) in archive.blocks.iter().enumerate() {
        if block.coders.iter().any(|coder| coder.encoder_method_id() == EncoderMethod::ID_AES256_SHA256) {
            walk.obstacle(name, Obstacle::Encrypted)?;
            continue;
        }
        let mut flow = ControlFlow::Continue(());
        let unpacked = contained(|| {
            let kib_max = usize::try_from(DICTIONARY_KIB_MAX).unwrap_or(usize::MAX);
            let decoder =
                BlockDecoder::new_with_memory_limit(1, kib_max, index, &archive, &password, &mut source);
            Ok(decoder.for_each_entries(&mut |entry, content| {
                let went_on = walk_entry(walk, name, entry, content, octets.len(), depth);
                let goes_on = matches!(went_on, ControlFlow::Continue(Next::Entry));
                flow = went_on.map_continue(|_| ());
                Ok(goes_on)
            }))
        });
        flow?;
        match unpacked {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => walk.obstacle(name, obstacle_of(&error))?,
            Err(_) => walk.obstacle(name, Obstacle::Broken)?,
        }
    }
    ControlFlow::Continue(())
}

/// What comes after an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Entry,
    /// The rest of the block would have to be unpacked behind something that is too large or broken.
    Block,
}

fn walk_entry(
    walk: &mut Walk<'_>,
    archive_name: &ItemName,
    entry: &ArchiveEntry,
    content: &mut dyn io::Read,
    archive_octets: usize,
    depth: Depth,
) -> ControlFlow<(), Next> {
    walk.count_entry(archive_name)?;
    let name = archive_name.inside_file(&entry.name);
    // Entries are packed together, so that only all of them have a packed size.
    let unpacked = Unpacked::read(walk, &name, archive_octets, content)?;
    unpacked.hand_over(walk, &name, depth)?;
    ControlFlow::Continue(if unpacked.defect.is_none() { Next::Entry } else { Next::Block })
}

fn obstacle_of(error: &Error) -> Obstacle {
    match error {
        Error::PasswordRequired | Error::MaybeBadPassword(_) => Obstacle::Encrypted,
        Error::UnsupportedCompressionMethod(method) if method.contains("AES") => Obstacle::Encrypted,
        Error::MaxMemLimited { .. } => Obstacle::TooLarge,
        Error::Io(error, _) => super::obstacle_of(error),
        _ => Obstacle::Broken,
    }
}

/// Two octets of version, the checksum of the twenty octets behind it, and those.
fn has_checksum(header: &[u8]) -> bool {
    let told = header.get(2..).and_then(|rest| rest.split_first_chunk());
    let Some((told, rest)) = told else { return false };
    let Some(fields) = rest.get(..20) else { return false };
    let mut crc = flate2::Crc::new();
    crc.update(fields);
    crc.sum() == u32::from_le_bytes(*told)
}

const SIGNATURE: &[u8] = b"7z\xbc\xaf\x27\x1c";
/// Of the list of entries. What the reader makes of it takes some 150 times as much where it is hostile; the ten thousand
/// entries that there may be have some 150 octets each.
const LIST_OCTETS_MAX: u64 = 2 * 1024 * 1024;
const LIST_KIB_MAX: usize = 2 * 1024;
/// Where the list is known to be short.
const LIST_DICTIONARY_KIB_MAX: usize = 65 * 1024 + 256;
