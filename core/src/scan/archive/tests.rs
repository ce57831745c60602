use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::scan::plan::{Visitor, walk_file};
use crate::scan::samples::{Found, bzip2, eicar, gzip, lzma, seven_zip, tar, xz, zip};

type Pack = fn(&[u8]) -> Vec<u8>;

/// Each way to pack one file.
const PACKERS: [(&str, Pack); 7] = [
    ("gzip", gzip),
    ("bzip2", bzip2),
    ("xz", xz),
    ("lzma", lzma),
    ("tar", |octets| tar(&[("directory/file", octets)])),
    ("7z", |octets| seven_zip(&[("first", b"one"), ("file", octets)])),
    ("zip", |octets| zip(&[("file", octets)])),
];

#[test]
fn every_format_is_unpacked_in_every_other() {
    for (outer, pack_outer) in PACKERS {
        for (inner, pack_inner) in PACKERS {
            let found = Found::of(&pack_outer(&pack_inner(&eicar())));
            assert!(found.has(&eicar()), "{inner} in {outer}");
            assert_eq!(found.obstacles, [], "{inner} in {outer}");
        }
    }
}

#[test]
fn what_is_cut_is_an_obstacle_and_what_came_before_is_looked_at() {
    let content: Vec<u8> =
        (0..200_000_u32).flat_map(|number| (number.wrapping_mul(number) % 251).to_le_bytes()).collect();
    for (name, pack) in PACKERS {
        let whole = pack(&content);
        let found = Found::of(&whole[..whole.len() * 2 / 3]);
        assert!(found.obstacles.contains(&Obstacle::Broken), "{name}: {:?}", found.obstacles);
    }
    let cut = gzip(&content);
    let found = Found::of(&cut[..cut.len() - 1]);
    assert!(found.has(&content));
}

#[test]
fn a_bomb_of_any_format_is_told_and_costs_no_more_than_its_share() {
    let zeros = vec![0; RATIO_FREE_OCTETS + 100_000];
    for (name, pack) in PACKERS.into_iter().filter(|(name, _)| *name != "tar") {
        let found = Found::of(&pack(&zeros));
        assert_eq!(found.obstacles, [Obstacle::TooLarge], "{name}");
        let longest = found.items.iter().map(|(_, item)| item.len()).max().unwrap();
        assert_eq!(longest, RATIO_FREE_OCTETS + 1, "{name}");
    }
}

/// A walk for which there is no time left.
#[derive(Default)]
struct Late(Found);

impl Visitor for Late {
    fn item(&mut self, name: &ItemName, octets: &[u8]) -> ControlFlow<()> {
        self.0.item(name, octets)
    }

    fn obstacle(&mut self, name: &ItemName, obstacle: Obstacle) -> ControlFlow<()> {
        self.0.obstacle(name, obstacle)
    }

    fn due(&self) -> Option<Instant> {
        Some(Instant::now())
    }
}

#[test]
fn no_archive_is_read_beyond_the_deadline() {
    for file in [zip(&[("a", b"one")]), seven_zip(&[("a", b"one")])] {
        let mut late = Late::default();
        walk_file(&file, &mut late);
        assert_eq!(late.0.items.len(), 1);
        assert_eq!(late.0.obstacles, [Obstacle::Broken]);
    }
}

#[test]
fn archives_nested_too_deeply_are_an_obstacle() {
    let mut file = eicar();
    for _ in 0..ARCHIVE_DEPTH_MAX {
        file = gzip(&file);
    }
    assert!(Found::of(&file).has(&eicar()));
    assert_eq!(Found::of(&xz(&file)).obstacles, [Obstacle::TooDeep]);
}

#[test]
fn streams_behind_each_other_are_one_file() {
    for (name, pack) in PACKERS.into_iter().take(3) {
        let (head, tail) = (pack(b"one half, "), pack(b"and the other"));
        let found = Found::of(&[head, tail].concat());
        assert!(found.has(b"one half, and the other"), "{name}");
        assert_eq!(found.obstacles, [], "{name}");
    }
}

#[test]
fn a_file_of_two_formats_is_unpacked_as_both() {
    let packed = gzip(b"for one program");
    let file = [&packed, &zip(&[("a", b"for another")])[..]].concat();
    let found = Found::of(&file);
    assert!(found.has(b"for one program") && found.has(b"for another"));
}

#[test]
fn a_7z_archive_behind_a_program_is_found() {
    let program =
        [b"MZ ", &[0x90; 5_000][..], b"7z\xbc\xaf\x27\x1c is the mark", &seven_zip(&[("a", &eicar())])]
            .concat();
    let found = Found::of(&program);
    assert!(found.has(&eicar()));
    assert_eq!(found.obstacles, []);
    assert_eq!(Found::of(b"MZ 7z\xbc\xaf\x27\x1c is the mark").obstacles, []);
}

#[test]
fn a_7z_archive_behind_any_number_of_marks_is_found() {
    let marks = b"7z\xbc\xaf\x27\x1c is the mark".repeat(20_000);
    assert!(Found::of(&[b"MZ ", &marks[..], &seven_zip(&[("a", &eicar())])].concat()).has(&eicar()));
}

#[test]
fn a_tar_archive_with_two_sizes_of_one_entry_is_an_obstacle() {
    let mut builder = ::tar::Builder::new(Vec::new());
    builder.append_pax_extensions([("size", &b"3"[..])]).unwrap();
    let octets = vec![7; 1_000];
    let mut header = ::tar::Header::new_ustar();
    header.set_size(1_000);
    builder.append_data(&mut header, "a", &octets[..]).unwrap();
    let found = Found::of(&builder.into_inner().unwrap());
    assert!(found.obstacles.contains(&Obstacle::Ambiguous), "{:?}", found.obstacles);
}

#[test]
fn what_stands_behind_the_end_of_a_tar_archive_is_looked_at() {
    let second = zip(&[("b", b"inside the second")]);
    let file = [tar(&[("a", b"first")]), tar(&[("b.zip", &second)])].concat();
    let found = Found::of(&file);
    assert!(found.has(b"inside the second"));
    assert_eq!(found.obstacles, []);
    let rubbish = [tar(&[("a", b"first")]), vec![0x55; 5_000]].concat();
    assert_eq!(Found::of(&rubbish).obstacles, []);
}

/// By a program for which an octet is from -128 to 127; any other reads it all the same.
#[test]
fn a_tar_archive_with_signed_checksums_is_unpacked_with_or_without_its_mark() {
    for has_mark in [true, false] {
        let mut file = tar(&[("plain", b"first"), ("gr\u{fc}n", b"second")]);
        let second = 1024..1536;
        if !has_mark {
            file[second.start + 257..second.start + 265].fill(0);
        }
        file[second.start + 148..second.start + 156].fill(b' ');
        let sum: i64 = file[second.clone()].iter().map(|octet| i64::from(octet.cast_signed())).sum();
        let digits = format!("{sum:06o}\0 ");
        file[second.start + 148..second.start + 156].copy_from_slice(digits.as_bytes());
        let found = Found::of(&file);
        assert!(found.has(b"first") && found.has(b"second"), "{has_mark}: {:?}", found.obstacles);
        assert_eq!(found.obstacles, []);
        assert!(Found::of(&file[second.start..]).has(b"second"), "{has_mark}");
    }
}

#[test]
fn what_stands_behind_a_sparse_file_is_told() {
    let mut sparse = ::tar::Header::new_gnu();
    sparse.set_entry_type(::tar::EntryType::GNUSparse);
    sparse.as_gnu_mut().unwrap().realsize = *b"00000020000\0";
    sparse.set_size(0);
    sparse.set_cksum();
    let mut odd = tar(&[("hidden", b"inside")]);
    odd.truncate(1024);
    // No header: what a lax program makes of it nobody knows.
    let file = [sparse.as_bytes(), &b"not a header".repeat(43)[..512], &odd].concat();
    assert!(Found::of(&file).obstacles.contains(&Obstacle::Broken));
}

#[test]
fn lzma_with_odd_properties_is_unpacked() {
    for (lc, lp, pb) in [(0, 0, 0), (4, 0, 4), (0, 4, 2), (3, 1, 0)] {
        let mut options = lzma_rust2::LzmaOptions::with_preset(1);
        (options.lc, options.lp, options.pb) = (lc, lp, pb);
        let mut writer = lzma_rust2::LzmaWriter::new_use_header(Vec::new(), &options, None).unwrap();
        std::io::Write::write_all(&mut writer, &eicar()).unwrap();
        let file = writer.finish().unwrap();
        assert_ne!(file[0], 0x5d);
        let found = Found::of(&file);
        assert!(found.has(&eicar()), "{lc} {lp} {pb}");
        assert_eq!(found.obstacles, []);
    }
    let icon = [&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &[7; 100]].concat();
    assert_eq!(Found::of(&icon).obstacles, []);
}

/// Claims of a few octets that would take gigabytes.
#[test]
fn a_size_that_a_header_claims_is_not_reserved() {
    let mut sparse = ::tar::Header::new_gnu();
    sparse.set_entry_type(::tar::EntryType::GNUSparse);
    sparse.as_gnu_mut().unwrap().realsize = *b"77777777777\0";
    sparse.set_size(0);
    sparse.set_cksum();
    let found = Found::of(sparse.as_bytes());
    assert_eq!(found.obstacles.len(), 1);
    assert!(found.items.iter().all(|(_, item)| item.len() <= ENTRY_OCTETS_MAX + 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_mangled_file_of_any_format_is_walked_without_a_panic(
        format in 0..PACKERS.len(),
        place in any::<prop::sample::Index>(),
        octets in prop::collection::vec(any::<u8>(), 1..8),
    ) {
        let mut file = PACKERS[format].1(&PACKERS[(format + 1) % PACKERS.len()].1(b"one one one one two"));
        let at = place.index(file.len() - octets.len());
        file[at..at + octets.len()].copy_from_slice(&octets);
        prop_assert!(!Found::of(&file).items.is_empty());
    }
}

mod streams;
mod tars;
