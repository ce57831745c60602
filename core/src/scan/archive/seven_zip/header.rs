//! How long an archive's packed list of entries says to be.
//!
//! The reader has one limit for the list and for the dictionary with which it is packed. Programs declare dictionaries of many
//! megabytes for a list of a few octets; a list of many megabytes would be unpacked to gigabytes of entries.

use crate::scan::reader::Reader;

/// The declared length of the list, where it is packed as all programs do it: in one piece, by one method. `None` for anything
/// else, and where the list is not packed.
pub(super) fn packed_list_octets(archive: &[u8]) -> Option<u64> {
    let fields = archive.get(12..START_OCTETS)?;
    let offset = u64::from_le_bytes(*fields.first_chunk()?);
    let from = usize::try_from(offset).ok()?.checked_add(START_OCTETS)?;
    let mut header = Reader(archive.get(from..)?);
    header.expect(&[ENCODED_HEADER, PACK_INFO])?;
    header.number()?;
    header.expect(&[1, SIZE])?;
    header.number()?;
    header.skip_checksum()?;
    header.expect(&[END, UNPACK_INFO, FOLDER, 1, 0, 1])?;
    // Of one method: the length of its name, no streams but one, and properties.
    let flags = header.octet()?;
    if flags & !ID_OCTETS != HAS_PROPERTIES {
        return None;
    }
    header.take(usize::from(flags & ID_OCTETS))?;
    let properties = usize::try_from(header.number()?).ok()?;
    header.take(properties)?;
    header.expect(&[UNPACK_SIZE])?;
    header.number()
}

// === impl Reader ===

impl Reader<'_> {
    fn octet(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn expect(&mut self, octets: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(octets)?;
        Some(())
    }

    /// As many of the first octet's upper bits as are set tell how many octets follow, the lowest first; the rest of the first
    /// stands above them.
    fn number(&mut self) -> Option<u64> {
        let first = self.octet()?;
        let following = usize::try_from(first.leading_ones()).ok()?;
        let mut octets = [0; 8];
        octets.get_mut(..following)?.copy_from_slice(self.take(following)?);
        if let Some(above) = octets.get_mut(following) {
            *above = first & u8::MAX.checked_shr(first.leading_ones().saturating_add(1)).unwrap_or(0);
        }
        Some(u64::from_le_bytes(octets))
    }

    fn skip_checksum(&mut self) -> Option<()> {
        if self.0.starts_with(&[CHECKSUM, 1]) {
            self.take(6)?;
        }
        Some(())
    }
}

/// The mark, the version and where the list is.
const START_OCTETS: usize = 32;
/// Names of properties, as the format's description has them.
const END: u8 = 0x00;
const PACK_INFO: u8 = 0x06;
const UNPACK_INFO: u8 = 0x07;
const SIZE: u8 = 0x09;
const CHECKSUM: u8 = 0x0a;
const FOLDER: u8 = 0x0b;
const UNPACK_SIZE: u8 = 0x0c;
const ENCODED_HEADER: u8 = 0x17;
/// In the octet in front of a method's name.
const ID_OCTETS: u8 = 0x0f;
const HAS_PROPERTIES: u8 = 0x20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Obstacle;
    use crate::scan::samples::{Found, eicar, seven_zip};

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for (octets, number) in [
            (&[0x7f][..], 0x7f),
            (&[0x80, 0xff], 0xff),
            (&[0xbf, 0xff], 0x3fff),
            (&[0xc1, 0x02, 0x03], 0x0001_0302),
            (&[0xff, 1, 2, 3, 4, 5, 6, 7, 8], 0x0807_0605_0403_0201),
        ] {
            assert_eq!(Reader(octets).number(), Some(number), "{octets:?}");
        }
        assert_eq!(Reader(&[0xff, 1]).number(), None);
    }

    /// An archive whose list is packed with this dictionary.
    fn archive_with_dictionary(octets: u32) -> Vec<u8> {
        let names: Vec<String> = (0..500).map(|number| format!("directory/file-{number}.txt")).collect();
        let mut entries: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
        let virus = eicar();
        entries.push(("virus.com", &virus));
        let mut archive = seven_zip(&entries);
        let from = list_at(&archive);
        assert_eq!(archive[from], ENCODED_HEADER, "the list is packed");
        let method = memchr::memmem::find(&archive[from..], &[0x23, 3, 1, 1, 5, 0x5d]).unwrap();
        let dictionary = from + method + 6;
        archive[dictionary..dictionary + 4].copy_from_slice(&octets.to_le_bytes());
        seal(&mut archive);
        archive
    }

    fn list_at(archive: &[u8]) -> usize {
        START_OCTETS + usize::try_from(u64::from_le_bytes(archive[12..20].try_into().unwrap())).unwrap()
    }

    fn seal(archive: &mut [u8]) {
        for (checksum, part) in [(28, list_at(archive)..archive.len()), (8, 12..32)] {
            let mut crc = flate2::Crc::new();
            crc.update(&archive[part]);
            archive[checksum..checksum + 4].copy_from_slice(&crc.sum().to_le_bytes());
        }
    }

    #[test]
    fn a_large_dictionary_for_a_short_list_is_no_obstacle() {
        let archive = archive_with_dictionary(64 << 20);
        assert!(packed_list_octets(&archive).is_some_and(|octets| (1_000..1 << 20).contains(&octets)));
        let found = Found::of(&archive);
        assert_eq!(found.obstacles, []);
        assert!(found.has(&eicar()));
    }

    #[test]
    fn a_large_dictionary_for_a_long_list_is_an_obstacle() {
        let mut archive = archive_with_dictionary(64 << 20);
        let from = list_at(&archive);
        // The declared length stands behind its name.
        let size =
            from + memchr::memmem::find(&archive[from..], &[0x5d, 0, 0, 0, 4, UNPACK_SIZE]).unwrap() + 6;
        assert!((0xc0..0xe0).contains(&archive[size]), "three octets");
        let more = [&[0xe0, 0, 0, 0x40][..], &archive[size + 3..]].concat();
        archive.truncate(size);
        archive.extend_from_slice(&more);
        let list_octets = u64::try_from(archive.len() - from).unwrap();
        archive[20..28].copy_from_slice(&list_octets.to_le_bytes());
        seal(&mut archive);
        assert_eq!(packed_list_octets(&archive), Some(0x40_0000));
        assert_eq!(Found::of(&archive).obstacles, [Obstacle::TooLarge]);
    }
}
