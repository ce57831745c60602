//! Files of one stream or several, as some programs read them.

use super::*;

/// As a program with this dictionary and size in its header writes it.
fn lzma_of(dictionary: u32, size: u64, octets: &[u8]) -> Vec<u8> {
    let mut file = lzma(octets);
    file[1..5].copy_from_slice(&dictionary.to_le_bytes());
    file[5..13].copy_from_slice(&size.to_le_bytes());
    file
}

#[test]
fn lzma_is_unpacked_whatever_dictionary_its_header_asks_for() {
    let content = [&b"something in front of it ".repeat(3)[..], &eicar()].concat();
    for dictionary in [1, 2, 3, 2_048, 3 << 20, 1 << 31, 3 << 30, u32::MAX] {
        let found = Found::of(&lzma_of(dictionary, u64::MAX, &content));
        assert!(found.has(&content), "{dictionary}");
        assert_eq!(found.obstacles, [], "{dictionary}");
    }
}

#[test]
fn lzma_of_an_impossible_size_is_looked_into_and_told() {
    for size in [1 << 37, 1 << 40, 1 << 55] {
        let found = Found::of(&lzma_of(4_096, size, &eicar()));
        assert!(found.decoded(&eicar()), "{size}");
        assert_eq!(found.obstacles, [Obstacle::Broken]);
    }
}

#[test]
fn streams_of_lzma_and_xz_behind_lzma_are_one_file() {
    let first = lzma_of(4_096, u64::MAX, b"one half, ");
    for second in [lzma(b"and the other"), xz(b"and the other"), lzma_of(1, u64::MAX, b"and the other")] {
        let found = Found::of(&[&first[..], &second].concat());
        assert!(found.has(b"one half, and the other"));
        assert_eq!(found.obstacles, []);
    }
    let three = [&first[..], &lzma(b"and "), &lzma(b"more")].concat();
    assert!(Found::of(&three).has(b"one half, and more"));
}

#[test]
fn a_mark_of_the_end_behind_lzma_of_known_size_does_not_hide_the_next_stream() {
    let file = [&lzma_of(4_096, 10, b"one half, ")[..], &lzma(b"and the other")].concat();
    assert!(Found::of(&file).has(b"one half, and the other"));
}

#[test]
fn what_stands_behind_a_stream_and_is_none_is_left_out() {
    for pack in [lzma, gzip, bzip2] {
        let file =
            [&pack(b"content")[..], b"\0\0 signature: \x1f\x8b\x08, \x1f\x8b\x08\xff and ", &[0x5d; 90]]
                .concat();
        let found = Found::of(&file);
        assert!(found.has(b"content"));
        assert_eq!(found.obstacles, []);
    }
}

/// A shortcut of Windows, a font, a bitmap, numbers of four octets: what looks like properties, a dictionary and a size.
#[test]
fn files_that_look_like_lzma_by_accident_are_no_obstacle() {
    let shortcut = [b"L\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46".as_slice(), &[7; 200]].concat();
    let font = [b"\0\x01\0\0\0\x0c\0\x80\0\x03\0\x40OS/2".as_slice(), &[9; 200]].concat();
    let bitmap = [b"BM\x36\0\x01\0\0\0\0\0\x36\0\0\0\x28\0\0\0".as_slice(), &[0xaa; 400]].concat();
    let numbers: Vec<u8> = [7_u8].into_iter().chain((1..400_u32).flat_map(u32::to_le_bytes)).collect();
    let sparse = [&[3, 1, 0, 0, 0, 200, 0, 0, 0, 0, 0, 0, 0][..], &[0; 60], &[0xd7; 900]].concat();
    for file in [shortcut, font, bitmap, numbers, sparse] {
        assert_eq!(Found::of(&file).obstacles, [], "{}", file[..16].escape_ascii());
    }
}

#[test]
fn members_of_gzip_and_bzip2_behind_nuls_are_one_file() {
    for pack in [gzip, bzip2] {
        for nuls in [1, 8, 5_000] {
            let file = [&pack(b"one half, ")[..], &vec![0; nuls], &pack(b"and the other")].concat();
            let found = Found::of(&file);
            assert!(found.has(b"one half, and the other"), "{nuls}");
            assert_eq!(found.obstacles, []);
        }
    }
}

#[test]
fn a_member_of_gzip_behind_anything_is_unpacked() {
    let file =
        [&gzip(b"one half, ")[..], b"\0\0no mark, \x1f\x8b\x08 a mark\0", &gzip(b"and the other")].concat();
    assert!(Found::of(&file).has(b"one half, and the other"));
}

#[test]
fn marks_of_gzip_without_number_are_tried_a_few_times_and_told() {
    let marks = b"\x1f\x8b\x08\x08\0\0\0\0\0\0name\0\xff".repeat(5_000);
    let found = Found::of(&[&gzip(b"content")[..], b"-", &marks].concat());
    assert!(found.has(b"content"));
    assert_eq!(found.obstacles.len(), 1);
}
