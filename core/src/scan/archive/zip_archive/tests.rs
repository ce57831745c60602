use proptest::prelude::*;
use zip::CompressionMethod;

use super::*;
use crate::scan::archive::RATIO_FREE_OCTETS;
use crate::scan::plan::ARCHIVE_DEPTH_MAX;
use crate::scan::samples::{self, Found, eicar, encrypted, zip, zip_by};

#[test]
fn entries_are_unpacked_stored_or_deflated() {
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let found = Found::of(&zip_by(method, &[("a/b.txt", b"one"), ("c", b"two")]));
        assert!(found.has(b"one") && found.has(b"two"));
        assert_eq!(found.obstacles, []);
    }
}

#[test]
fn an_archive_behind_a_program_is_found() {
    let file = [b"MZ unpacks itself ".repeat(100), zip(&[("a", b"inside")])].concat();
    let found = Found::of(&file);
    assert!(found.has(b"inside"));
    assert_eq!(found.obstacles, []);
}

#[test]
fn an_archive_is_found_whatever_stands_behind_it() {
    for front in [&b""[..], b"MZ unpacks itself "] {
        let file = [front, &zip(&[("a", b"inside")]), &[b'x'; END_RECORD_REACH + 10]].concat();
        let found = Found::of(&file);
        assert!(found.has(b"inside") || found.obstacles == [Obstacle::Broken], "{:?}", found.obstacles);
        if !front.is_empty() {
            assert!(found.has(b"inside") && found.obstacles.is_empty());
        }
    }
    // Its mark alone is an accident.
    let mark = [&b"text PK\x05\x06 and more"[..], &[b'x'; END_RECORD_REACH]].concat();
    assert_eq!((Found::of(&mark).items.len(), Found::of(&mark).obstacles), (1, Vec::new()));
}

/// Readers disagree about which of two archives in one file counts.
#[test]
fn both_of_two_archives_in_one_file_are_unpacked() {
    let file = [zip(&[("a", b"first")]), zip(&[("b", b"second")])].concat();
    let found = Found::of(&file);
    assert!(found.has(b"first") && found.has(b"second"));
}

#[test]
fn archives_in_archives_are_unpacked_down_to_the_limit() {
    let mut file = b"core".to_vec();
    for _ in 0..ARCHIVE_DEPTH_MAX {
        file = zip(&[("x.zip", &file)]);
    }
    assert!(Found::of(&file).has(b"core"));
    let deeper = Found::of(&zip(&[("x.zip", &file)]));
    assert!(!deeper.has(b"core"));
    assert_eq!(deeper.obstacles, [Obstacle::TooDeep]);
}

#[test]
fn an_encrypted_entry_is_told_and_the_others_are_looked_at() {
    let mut file = encrypted(zip(&[("locked", b"secret"), ("open", b"plain")]));
    for (mark, flag_at) in [(LOCAL_HEADER, 6), (DIRECTORY_HEADER, 8)] {
        let second = memmem::find_iter(&file, mark).nth(1).unwrap();
        file[second + flag_at] &= !1;
    }
    let found = Found::of(&file);
    assert!(found.has(b"plain"));
    assert_eq!(found.obstacles, [Obstacle::Encrypted]);
}

#[test]
fn an_entry_out_of_all_proportion_is_a_bomb_and_is_cut() {
    let found = Found::of(&zip(&[("zeros", &vec![0; 20 * 1024 * 1024])]));
    assert_eq!(found.obstacles, [Obstacle::TooLarge]);
    let longest = found.items.iter().map(|(_, item)| item.len()).max().unwrap();
    assert_eq!(longest, RATIO_FREE_OCTETS + 1);
}

#[test]
fn small_files_may_be_as_compressible_as_they_like() {
    let found = Found::of(&zip(&[("zeros", &vec![0; 1024 * 1024])]));
    assert_eq!(found.obstacles, []);
}

#[test]
fn a_size_that_an_entry_declares_is_not_believed() {
    let mut file = zip(&[("a", &vec![7; 100_000])]);
    let entry = memmem::find(&file, DIRECTORY_HEADER).unwrap();
    file[entry + 24..entry + 28].copy_from_slice(&u32::MAX.to_le_bytes());
    let found = Found::of(&file);
    assert!(found.items.iter().all(|(_, item)| item.len() <= 100_000));
}

#[test]
fn a_directory_with_too_many_entries_is_refused_before_it_is_read() {
    let headers = [DIRECTORY_HEADER, &[0; 42]].concat().repeat(ENTRIES_MAX + 1);
    let file = [LOCAL_HEADER, &headers, END_RECORD, &[0; 18]].concat();
    let found = Found::of(&file);
    assert_eq!(found.obstacles, [Obstacle::TooManyEntries]);
    assert_eq!(found.items.len(), 1);
}

/// The reader tries one end record after the other, and searches for the directory that each points to.
#[test]
fn a_file_full_of_end_records_is_read_a_few_times_and_no_more() {
    let filler = vec![0; 4 * 1024 * 1024];
    let end = [END_RECORD, &[0, 0, 0, 0, 1, 0, 1, 0, 46, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
    let file = [LOCAL_HEADER, &filler, &end.repeat(2_000)].concat();
    let mut metered = Metered::new(&file, None);
    assert!(ZipArchive::new(&mut metered).is_err());
    assert_eq!(metered.octets_left(), 0);
    let found = Found::of(&file);
    assert_eq!(found.obstacles, [Obstacle::Broken]);
}

/// Thousands of entries that share the same packed octets.
#[test]
fn entries_that_overlap_are_read_a_few_times_and_no_more() {
    let octets = vec![7; 1024 * 1024];
    let honest = zip_by(CompressionMethod::Stored, &[("0000", &octets)]);
    let directory = memmem::find(&honest, DIRECTORY_HEADER).unwrap();
    let end = memmem::rfind(&honest, END_RECORD).unwrap();
    let header = &honest[directory..end];
    let name = memmem::find(header, b"0000").unwrap();
    let entries: u16 = 5_000;
    let mut file = honest[..directory].to_vec();
    for number in 0..entries {
        let mut header = header.to_vec();
        header[name..name + 4].copy_from_slice(format!("{number:04}").as_bytes());
        file.extend_from_slice(&header);
    }
    let size = u32::try_from(file.len() - directory).unwrap();
    let mut end = honest[end..].to_vec();
    end[8..10].copy_from_slice(&entries.to_le_bytes());
    end[10..12].copy_from_slice(&entries.to_le_bytes());
    end[12..16].copy_from_slice(&size.to_le_bytes());
    file.extend_from_slice(&end);
    let found = Found::of(&file);
    assert!(found.items.iter().map(|(_, item)| item.len()).sum::<usize>() < 10 * 1024 * 1024);
    assert!(found.has(&octets));
    assert!(found.obstacles.contains(&Obstacle::Broken));
}

#[test]
fn a_zip64_end_record_cannot_ask_for_memory() {
    let mut end_64 = [END_RECORD_64, &44_u64.to_le_bytes()].concat();
    end_64.resize(END_RECORD_64_ENTRIES_AT, 0);
    end_64.extend_from_slice(&40_000_000_u64.to_le_bytes());
    end_64.resize(56, 0);
    let found = Found::of(&[LOCAL_HEADER, &[0; 100], &end_64, END_RECORD, &[0xff; 18]].concat());
    assert_eq!(found.obstacles, [Obstacle::TooManyEntries]);
}

/// The reader keeps one of two entries with the same name, and a mail program may open the other.
#[test]
fn two_entries_of_one_name_are_an_obstacle() {
    let mut file = zip(&[("aaaa", b"harmless"), ("bbbb", b"harmful!")]);
    let places: Vec<usize> = memmem::find_iter(&file, b"bbbb").collect();
    for place in places {
        file[place..place + 4].copy_from_slice(b"aaaa");
    }
    assert!(Found::of(&file).obstacles.contains(&Obstacle::Ambiguous));
}

#[test]
fn an_empty_end_record_does_not_hide_an_archive() {
    let file = [&zip(&[("a", b"hidden")])[..], END_RECORD, &[0; 18]].concat();
    let found = Found::of(&file);
    assert!(found.has(b"hidden") || found.obstacles.contains(&Obstacle::Ambiguous));
}

#[test]
fn a_damaged_archive_is_told_and_what_can_be_read_is_looked_at() {
    let good = zip_by(CompressionMethod::Stored, &[("a", b"wrong checksum")]);
    let mut wrong = good.clone();
    let at = memmem::find(&wrong, b"wrong").unwrap();
    wrong[at] = b'W';
    let found = Found::of(&wrong);
    assert!(found.has(b"Wrong checksum"));
    assert_eq!(found.obstacles, [Obstacle::Broken]);
    assert_eq!(Found::of(&good[..good.len() - 30]).obstacles, [Obstacle::Broken]);
}

#[test]
fn a_text_that_mentions_the_end_mark_is_no_archive() {
    let found = Found::of(b"the end of central directory begins with PK\x05\x06, followed by 18 octets.");
    assert_eq!(found.items.len(), 1);
    assert_eq!(found.obstacles, []);
}

/// Programs that read from front to back believe the header in front of an entry, the others the directory.
#[test]
fn an_entry_of_which_two_headers_tell_different_things_is_an_obstacle() {
    let honest = zip_by(CompressionMethod::Stored, &[("aaaa", b"harmless"), ("b", b"other")]);
    assert_eq!(Found::of(&honest).obstacles, []);
    let directory = memmem::find(&honest, DIRECTORY_HEADER).unwrap();
    // In the entry's header: flags, method, packed size, name. In the directory: the size of a stored entry.
    for (at, octets) in [
        (6, &[1_u8, 0][..]),
        (8, &[8, 0]),
        (18, &[7, 0, 0, 0]),
        (30, b"bbbb"),
        (directory + 24, &[7, 0, 0, 0]),
    ] {
        let mut file = honest.clone();
        file[at..at + octets.len()].copy_from_slice(octets);
        let obstacles = Found::of(&file).obstacles;
        assert!(obstacles.contains(&Obstacle::Ambiguous), "{at}: {obstacles:?}");
    }
}

#[test]
fn an_entry_that_no_directory_lists_is_an_obstacle() {
    let hidden = zip_by(CompressionMethod::Stored, &[("hidden", &eicar())]);
    let entry = &hidden[..memmem::find(&hidden, DIRECTORY_HEADER).unwrap()];
    let mut file = zip_by(CompressionMethod::Stored, &[("a", b"one")]);
    let directory = memmem::find(&file, DIRECTORY_HEADER).unwrap();
    let end = memmem::find(&file, END_RECORD).unwrap();
    let moved = u32::try_from(directory + entry.len()).unwrap();
    file[end + 16..end + 20].copy_from_slice(&moved.to_le_bytes());
    file.splice(directory..directory, entry.iter().copied());
    let found = Found::of(&file);
    assert_eq!(found.obstacles, [Obstacle::Ambiguous]);
    assert!(found.has(b"one"));
}

#[test]
fn entries_of_other_methods_are_unpacked_by_the_same_means_as_files() {
    let content = b"packed in another way ".repeat(20);
    let mut lzma = vec![9, 20, 5, 0];
    lzma.extend_from_slice(&samples::lzma(&content)[..5]);
    lzma.extend_from_slice(&samples::lzma(&content)[13..]);
    let methods = [(12, samples::bzip2(&content)), (95, samples::xz(&content)), (14, lzma)];
    for (method, packed) in methods {
        let mut file = zip_by(CompressionMethod::Stored, &[("a", &packed)]);
        for (mark, method_at, size_at) in [(LOCAL_HEADER, 8, 22), (DIRECTORY_HEADER, 10, 24)] {
            let at = memmem::find(&file, mark).unwrap();
            file[at + method_at..at + method_at + 2].copy_from_slice(&u16::to_le_bytes(method));
            file[at + size_at..at + size_at + 4].copy_from_slice(&440_u32.to_le_bytes());
        }
        let found = Found::of(&file);
        assert_eq!(found.obstacles, [], "{method}");
        assert!(found.has(&content), "{method}");
    }
}

mod hidden;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_mangled_archive_is_walked_without_a_panic(
        place in any::<prop::sample::Index>(),
        octets in prop::collection::vec(any::<u8>(), 1..8),
    ) {
        let mut file = zip(&[("a", b"one one one one"), ("b", &zip(&[("c", b"two")]))]);
        let at = place.index(file.len() - octets.len());
        file[at..at + octets.len()].copy_from_slice(&octets);
        prop_assert!(!Found::of(&file).items.is_empty());
    }
}
