//! Tar archives, as some programs read them.

use super::*;

/// The archive with another checksum in its first header.
fn with_checksum(mut file: Vec<u8>, write: impl Fn(u32) -> [u8; 8]) -> Vec<u8> {
    file[148..156].fill(b' ');
    let sum = file[..512].iter().map(|octet| u32::from(*octet)).sum();
    file[148..156].copy_from_slice(&write(sum));
    file
}

fn text(text: &str) -> [u8; 8] {
    let mut field = [0; 8];
    field[..text.len()].copy_from_slice(text.as_bytes());
    field
}

/// An archive of one entry with these fields of POSIX in front.
fn with_fields(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    builder.append_pax_extensions(fields.iter().copied()).unwrap();
    let mut header = ::tar::Header::new_ustar();
    header.set_size(1_000);
    builder.append_data(&mut header, "a", &[7; 1_000][..]).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn a_checksum_of_a_header_is_read_as_any_program_writes_it() {
    let digits = |sum: u32| format!("{sum:o}");
    let base64 = |sum: u32| {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let digit = |bits: u32| char::from(alphabet[usize::try_from(bits & 63).unwrap()]);
        format!("+{}{}{}", digit(sum >> 12), digit(sum >> 6), digit(sum))
    };
    type Write<'a> = &'a dyn Fn(u32) -> [u8; 8];
    let writers: [Write<'_>; 7] = [
        &|sum| text(&digits(sum)),
        &|sum| text(&format!("+{sum:06o}")),
        &|sum| text(&format!(" +{sum:o} ")),
        &|sum| text(&format!("0o{sum:o}")),
        &|sum| text(&format!("0_{sum:o}")),
        &|sum| [&[0x80, 0, 0, 0][..], &sum.to_be_bytes()].concat().try_into().unwrap(),
        &|sum| text(&base64(sum)),
    ];
    for (number, write) in writers.into_iter().enumerate() {
        let found = Found::of(&with_checksum(tar(&[("a.gz", &gzip(&eicar())), ("b", b"second")]), write));
        assert!(found.has(&eicar()) && found.has(b"second"), "{number}");
        assert_eq!(found.obstacles, [], "{number}");
    }
}

#[test]
fn an_archive_behind_blocks_that_are_no_header_is_unpacked() {
    let with_mark = tar(&[("a.gz", &gzip(&eicar()))]);
    let mut without = with_mark.clone();
    without[257..265].fill(0);
    // The owner and the group are empty: another program writes numbers.
    without[108..124].copy_from_slice(b"0000000\x000000000\0");
    without[136..148].copy_from_slice(b"00000000000\0");
    let without = with_checksum(without, |sum| text(&format!("{sum:06o}")));
    for file in [with_mark, without] {
        for front in [vec![b'x'; 512], [[0; 512], [b'x'; 512]].concat(), vec![7; 512 * 40]] {
            let found = Found::of(&[&front[..], &file].concat());
            assert!(found.has(&eicar()), "{}", front.len());
            assert_eq!(found.obstacles, []);
        }
    }
}

#[test]
fn text_and_numbers_in_blocks_are_no_archive() {
    let table: Vec<u8> = (0..60_000_u32)
        .flat_map(|number| format!("{:07o} ", number.wrapping_mul(40_503)).into_bytes())
        .collect();
    let noise: Vec<u8> =
        (0..100_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for file in [table, noise, b"ustar ".repeat(2_000)] {
        let found = Found::of(&file);
        assert_eq!((found.items.len(), found.obstacles), (1, Vec::new()));
    }
}

#[test]
fn pieces_of_a_file_with_holes_are_told() {
    for fields in [
        &[("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.minor", b"0")][..],
        &[("comment", b"of two\nlines"), ("GNU.sparse.map", b"0,10")],
        &[("comment", b"x"), ("GNU.sparse.size", b"2000")],
    ] {
        let obstacles = Found::of(&with_fields(fields)).obstacles;
        assert!(obstacles.contains(&Obstacle::Ambiguous), "{obstacles:?}");
    }
    // Fields of all entries.
    let mut builder = ::tar::Builder::new(Vec::new());
    let mut header = ::tar::Header::new_ustar();
    header.set_entry_type(::tar::EntryType::XGlobalHeader);
    let fields = b"22 GNU.sparse.major=1\n";
    header.set_size(fields.len().try_into().unwrap());
    builder.append_data(&mut header, "g", &fields[..]).unwrap();
    assert!(Found::of(&builder.into_inner().unwrap()).obstacles.contains(&Obstacle::Ambiguous));
}

#[test]
fn fields_that_programs_write_are_no_obstacle() {
    for fields in [
        &[("mtime", &b"1700000000.123"[..]), ("path", "gr\u{fc}n.txt".as_bytes())][..],
        &[("size", b"1000"), ("ctime", b"1700000000"), ("dev", b"7")],
        &[("SCHILY.xattr.user.note", b"of two\nlines\n"), ("LIBARCHIVE.creationtime", b"1700000000")],
    ] {
        assert_eq!(Found::of(&with_fields(fields)).obstacles, []);
    }
}
