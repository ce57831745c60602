use proptest::prelude::*;

use super::super::samples::{Found, eicar, tnef, zip};
use super::*;

/// A list of properties: their kind and identity, and what follows.
fn properties(list: &[(u16, u16, Vec<u8>)]) -> Vec<u8> {
    let mut octets = u32::try_from(list.len()).unwrap().to_le_bytes().to_vec();
    for (kind, id, rest) in list {
        octets.extend_from_slice(&kind.to_le_bytes());
        octets.extend_from_slice(&id.to_le_bytes());
        octets.extend_from_slice(rest);
    }
    octets
}

/// One value with its length and padding.
fn value(octets: &[u8]) -> Vec<u8> {
    let mut value =
        [&1_u32.to_le_bytes(), &u32::try_from(octets.len()).unwrap().to_le_bytes(), octets].concat();
    value.resize(value.len().next_multiple_of(4), 0);
    value
}

#[test]
fn an_attachment_is_an_item_with_its_name_and_is_looked_into() {
    let found = Found::of(&tnef("a.zip", &zip(&[("virus.com", &eicar())]), &properties(&[])));
    assert_eq!(found.items.last().unwrap(), &("file > a.zip > virus.com".to_owned(), eicar()));
    assert_eq!(found.obstacles, []);
}

#[test]
fn embedded_objects_and_bodies_are_found_among_properties() {
    let inner = tnef("inner.com", &eicar(), &properties(&[]));
    let named = [vec![0; 16], vec![1, 0, 0, 0], vec![2, 0, 0, 0, b'x', 0, 0, 0], vec![1, 0, 0, 0]].concat();
    let object = value(&[&[9; 16][..], &inner].concat());
    let list = properties(&[
        (0x0003, 0x8001, named),
        (0x0040, 0x0039, vec![0; 8]),
        (0x1003, 0x6000, [&2_u32.to_le_bytes()[..], &[0; 8]].concat()),
        (0x000d, PR_ATTACH_DATA, object),
        (0x0102, PR_BODY_HTML, value(b"<html>hello</html>")),
    ]);
    let found = Found::of(&tnef("a", b"x", &list));
    assert!(found.has(&eicar()));
    assert!(found.has(b"<html>hello</html>"));
    assert_eq!(found.obstacles, []);
}

/// The example of [MS-OXRTFCP] 4.1.1.
#[test]
fn compressed_rtf_is_decompressed() {
    let packed = [
        0x2d, 0, 0, 0, 0x2b, 0, 0, 0, 0x4c, 0x5a, 0x46, 0x75, 0xf1, 0xc5, 0xc7, 0xa7, 0x03, 0, 0x0a, 0, 0x72,
        0x63, 0x70, 0x67, 0x31, 0x32, 0x35, 0x42, 0x32, 0x0a, 0xf3, 0x20, 0x68, 0x65, 0x6c, 0x09, 0, 0x20,
        0x62, 0x77, 0x05, 0xb0, 0x6c, 0x64, 0x7d, 0x0a, 0x80, 0x0f, 0xa0,
    ];
    let list = properties(&[(0x0102, PR_RTF_COMPRESSED, value(&packed))]);
    let found = Found::of(&tnef("a", b"x", &list));
    assert!(found.has(b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"));
}

#[test]
fn a_length_beyond_the_end_is_an_obstacle_and_the_rest_is_looked_at() {
    let whole = tnef("a.com", &eicar(), &properties(&[]));
    let found = Found::of(&whole[..whole.len() - 6]);
    assert_eq!(found.obstacles, [Obstacle::Broken]);
    assert!(found.has(&eicar()[..eicar().len() - 4]));
    let endless =
        [&1_u32.to_le_bytes()[..], &[0x02, 0x01, 0x01, 0x37], &u32::MAX.to_le_bytes(), &[0xff; 4]].concat();
    assert_eq!(Found::of(&tnef("a", b"x", &endless)).obstacles, [Obstacle::Broken]);
}

#[test]
fn rtf_is_decompressed_up_to_a_limit() {
    // Every reference is to the first seventeen octets of the dictionary.
    let packed = [&b"12345678LZFu1234"[..], &[0xff, 0, 15].repeat(2), &[0, 15].repeat(13)].concat();
    let whole = rtf::decompress(&packed, usize::MAX).unwrap();
    assert!(whole.len() > packed.len());
    assert_eq!(rtf::decompress(&packed, whole.len()).unwrap(), whole);
    assert_eq!(rtf::decompress(&packed, whole.len() - 1), Err(Obstacle::TooLarge));
}

#[test]
fn a_property_of_too_many_values_is_an_obstacle() {
    for (count, obstacles) in [(ENTRIES_MAX, &[][..]), (ENTRIES_MAX + 1, &[Obstacle::Broken])] {
        let empty = [u32::try_from(count).unwrap().to_le_bytes().to_vec(), vec![0; 4 * count]].concat();
        let list = properties(&[(0x1102, 0x6000, empty)]);
        assert_eq!(Found::of(&tnef("a", b"x", &list)).obstacles, obstacles);
    }
}

proptest! {
    #[test]
    fn any_octets_behind_the_mark_are_walked(octets in prop::collection::vec(any::<u8>(), 0..300), at in 0_usize..200) {
        let list = properties(&[(0x0102, PR_RTF_COMPRESSED, value(b"0123456789abcdef"))]);
        let mut file = tnef("a", b"content", &list);
        let at = at.min(file.len());
        file.splice(at.., octets.iter().copied());
        prop_assert!(!Found::of(&file).items.is_empty());
        prop_assert!(rtf::decompress(&[&b"12345678LZFu1234"[..], &octets].concat(), 3_000).unwrap().len() <= 9 * octets.len());
    }
}
