//! Entries that some programs find and others do not.

use super::*;
use crate::scan::samples::{gzip, tar, xz};

/// One entry without a directory.
fn entry(name: &str, octets: &[u8]) -> Vec<u8> {
    let mut file = zip(&[(name, octets)]);
    file.truncate(memmem::find(&file, DIRECTORY_HEADER).unwrap());
    file
}

/// The archive with this in front, and all its offsets from the beginning of the file.
fn moved(front: &[u8], archive: &[u8]) -> Vec<u8> {
    let by = u32::try_from(front.len()).unwrap();
    let mut archive = archive.to_vec();
    let listed = memmem::find(&archive, DIRECTORY_HEADER).unwrap() + LISTED_HEADER_AT;
    let end = memmem::rfind(&archive, END_RECORD).unwrap() + END_RECORD_DIRECTORY_AT;
    for at in [listed, end] {
        let offset = u32_at(&archive, at).unwrap() + by;
        archive[at..at + 4].copy_from_slice(&offset.to_le_bytes());
    }
    [front, &archive].concat()
}

/// Octets that hardly any method makes smaller.
fn noise(seed: u32, octets: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    (0..octets).map(|_| next()).collect()
}

#[test]
fn an_entry_behind_the_mark_of_a_volume_is_told() {
    for mark in [VOLUME, DATA_DESCRIPTOR] {
        let found = Found::of(&[mark, &entry("a.com", &eicar())].concat());
        assert!(found.has(&eicar()));
        assert_eq!(found.obstacles, [Obstacle::Broken]);
        let honest = Found::of(&moved(mark, &zip(&[("a.txt", b"one")])));
        assert!(honest.has(b"one"));
        assert_eq!(honest.obstacles, []);
    }
}

#[test]
fn an_entry_behind_anything_and_without_a_directory_is_unpacked() {
    for front in [&b"MZ\x90\0 some program"[..], b"PK\x03\x04\0\0\0\0\0\0\0\0", &[7; 80_000]] {
        let file = [front, &entry("a.com", &eicar()), &entry("b.com", b"one more")].concat();
        let found = Found::of(&file);
        assert!(found.has(&eicar()) && found.has(b"one more"), "{}", front.len());
    }
}

#[test]
fn an_entry_of_which_the_size_follows_is_unpacked_without_a_directory() {
    for (method, octets) in [(CompressionMethod::Stored, eicar()), (CompressionMethod::Deflated, eicar())] {
        let mut file = zip_by(method, &[("a.com", &octets)]);
        file.truncate(memmem::find(&file, DIRECTORY_HEADER).unwrap());
        file[6] |= 8;
        file[14..26].fill(0);
        file.extend_from_slice(&[DATA_DESCRIPTOR, &[7; 12]].concat());
        assert!(Found::of(&[b"junk", &file[..]].concat()).has(&octets));
    }
}

#[test]
fn an_entry_in_front_of_all_that_the_directory_lists_is_an_obstacle() {
    for mark in [VOLUME, b"", b"junk"] {
        let front = [mark, &entry("a.com", &eicar())].concat();
        let found = Found::of(&moved(&front, &zip(&[("a.txt", b"harmless")])));
        assert!(found.has(b"harmless") && found.has(&eicar()));
        assert!(mark == b"junk" || found.obstacles == [Obstacle::Ambiguous], "{:?}", found.obstacles);
    }
}

#[test]
fn an_archive_far_in_front_of_another_or_of_a_false_end_is_unpacked() {
    let first = moved(b"junk", &zip(&[("a.com", &eicar())]));
    let far = [&first[..], &vec![0; END_RECORD_REACH + 4_000]].concat();
    let found = Found::of(&moved(&far, &zip(&[("a.txt", b"harmless")])));
    assert!(found.has(&eicar()) && found.has(b"harmless"));
    for ends in [1, 500] {
        let false_ends = [END_RECORD, &[0xff; 30]].concat().repeat(ends);
        let behind = [&first[..], &false_ends, &vec![b'z'; END_RECORD_REACH + 4_000]].concat();
        assert!(Found::of(&behind).has(&eicar()), "{ends}");
    }
}

#[test]
fn an_entry_behind_the_end_of_a_stream_is_an_obstacle() {
    let mut file = zip(&[("a.txt", b"harmless")]);
    let hidden = entry("a.com", &eicar());
    let directory = memmem::find(&file, DIRECTORY_HEADER).unwrap();
    let end = memmem::find(&file, END_RECORD).unwrap() + hidden.len();
    file.splice(directory..directory, hidden.iter().copied());
    let grown = u32::try_from(directory + hidden.len()).unwrap();
    file[end + 16..end + 20].copy_from_slice(&grown.to_le_bytes());
    for at in [18, directory + hidden.len() + 20] {
        let size = u32_at(&file, at).unwrap() + u32::try_from(hidden.len()).unwrap();
        file[at..at + 4].copy_from_slice(&size.to_le_bytes());
    }
    let found = Found::of(&file);
    assert_eq!(found.obstacles, [Obstacle::Ambiguous]);
    assert!(found.has(b"harmless"));
}

#[test]
fn archives_in_what_people_send_are_no_obstacle() {
    let documents: Vec<Vec<u8>> =
        (1..=12).map(|seed| zip(&[("word/document.xml", &noise(seed, 30_000)), ("b", b"two")])).collect();
    let names: Vec<String> = (0..documents.len()).map(|number| format!("{number}.docx")).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().zip(&documents).map(|(name, file)| (name.as_str(), &file[..])).collect();
    let program =
        [b"MZ PK\x03\x04 PK\x01\x02 PK\x05\x06 unpacks itself ".repeat(100), documents[0].clone()].concat();
    let stored = zip_by(CompressionMethod::Stored, &files);
    for (what, file) in [
        ("a program", program),
        ("tar", tar(&files)),
        ("stored", stored.clone()),
        ("deflated", zip(&files)),
        ("stored in stored", zip_by(CompressionMethod::Stored, &[("a.zip", &stored)])),
        ("tar in gzip", gzip(&tar(&files))),
        ("tar in xz", xz(&tar(&files))),
        ("text", b"starts with PK\x03\x04 and goes on with a name".repeat(50)),
        ("noise", noise(7, 400_000)),
    ] {
        let found = Found::of(&file);
        assert_eq!(found.obstacles, [], "{what}");
    }
}
