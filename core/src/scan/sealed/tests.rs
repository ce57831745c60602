use proptest::prelude::*;

use super::super::samples::{Found, attachment, ber, cms, eicar};
use super::*;

#[test]
fn a_signed_message_is_looked_into() {
    let signed = [b"Content-Type: text/plain\r\n", &attachment("virus.com", &eicar())[..]].concat();
    let found = Found::of(&cms(2, &signed));
    assert!(found.has(&eicar()));
    assert_eq!(found.obstacles, []);
}

#[test]
fn a_signed_file_is_an_item() {
    assert!(Found::of(&cms(2, &eicar())).has(&eicar()));
}

#[test]
fn an_encrypted_message_is_told() {
    for kind in [3, 6] {
        assert_eq!(Found::of(&cms(kind, b"")).obstacles, [Obstacle::Encrypted]);
    }
}

#[test]
fn an_office_document_with_a_password_is_told() {
    let file = [OLE, &[0; 600], ENCRYPTED_PACKAGE].concat();
    assert_eq!(Found::of(&file).obstacles, [Obstacle::Encrypted]);
    assert_eq!(Found::of(&[OLE, &[0; 600]].concat()).obstacles, []);
}

/// A CMS message of the kind that this identifier names, with these elements.
fn cover(identifier: &[u8], elements: &[Vec<u8>]) -> Vec<u8> {
    ber(0x30, &[ber(6, identifier), ber(0xa0, &ber(0x30, &elements.concat()))].concat())
}

/// The type of data, and what follows in one sequence.
fn typed(behind: &[u8]) -> Vec<u8> {
    ber(0x30, &[&ber(6, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1]), behind].concat())
}

#[test]
fn pieces_behind_pieces_in_pieces_are_joined() {
    let virus = eicar();
    let (head, tail) = virus.split_at(20);
    let pieces = ber(0x24, &[ber(0x24, &ber(0x24, &ber(4, head))), ber(0x24, &[]), ber(4, tail)].concat());
    let signed = cover(SIGNED_DATA, &[ber(2, &[1]), ber(0x31, &[]), typed(&ber(0xa0, &pieces))]);
    assert!(Found::of(&signed).has(&virus));
}

#[test]
fn a_content_that_an_indefinite_length_hides_is_an_obstacle() {
    let content = typed(&ber(0xa0, &ber(4, &eicar())));
    let signed = cover(SIGNED_DATA, &[ber(2, &[1]), vec![0x31, 0x80, 0, 0], content.clone()]);
    assert_eq!(Found::of(&signed).obstacles, [Obstacle::Broken]);
    let algorithm = [&[0x30, 0x80][..], &ber(6, &[42]), &[0, 0]].concat();
    let compressed = cover(COMPRESSED_DATA, &[ber(2, &[0]), algorithm, content]);
    assert_eq!(Found::of(&compressed).obstacles, [Obstacle::Broken]);
}

#[test]
fn a_signature_beside_what_it_signs_is_none() {
    for detached in [typed(&[]), [&[0x30, 0x80][..], &ber(6, &[42]), &[0, 0]].concat()] {
        let signed = cover(SIGNED_DATA, &[ber(2, &[1]), ber(0x31, &[]), detached]);
        assert_eq!(Found::of(&signed).obstacles, []);
    }
}

#[test]
fn data_without_a_cover_or_with_a_digest_is_looked_into() {
    let bare = ber(0x30, &[ber(6, DATA), ber(0xa0, &ber(4, &eicar()))].concat());
    let content = typed(&ber(0xa0, &ber(0x24, &ber(4, &eicar()))));
    let digested = cover(DIGESTED_DATA, &[ber(2, &[0]), typed(&[5, 0]), content, ber(4, &[7; 32])]);
    for file in [bare, digested] {
        let found = Found::of(&file);
        assert!(found.has(&eicar()));
        assert_eq!(found.obstacles, []);
    }
    assert_eq!(
        Found::of(&ber(0x30, &[ber(6, DATA), ber(4, &eicar())].concat())).obstacles,
        [Obstacle::Broken]
    );
}

#[test]
fn a_cover_of_an_unknown_kind_is_an_obstacle_and_other_files_in_der_are_not() {
    let authenticated = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x02";
    assert_eq!(Found::of(&cover(authenticated, &[ber(2, &[0])])).obstacles, [Obstacle::Broken]);
    assert_eq!(Found::of(&cover(SIGNED_AND_ENVELOPED_DATA, &[])).obstacles, [Obstacle::Encrypted]);
    // A key with its algorithm, a certificate, a file of keys.
    let algorithm = ber(0x30, &ber(6, b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"));
    let key = ber(0x30, &[algorithm.clone(), ber(3, &[0; 60])].concat());
    let certificate = ber(0x30, &[ber(0x30, &ber(2, &[1])), algorithm, ber(3, &[0; 60])].concat());
    let keys = ber(0x30, &[ber(2, &[3]), typed(&ber(0xa0, &ber(4, &[0x30, 0])))].concat());
    for file in [key, certificate, keys, cover(&[0x2a, 3, 4], &[ber(2, &[0])])] {
        assert_eq!(Found::of(&file).obstacles, []);
    }
}

#[test]
fn a_content_behind_an_algorithm_that_looks_like_one_is_decompressed() {
    let zlib = |octets: &[u8]| {
        let mut encoder = flate2::read::ZlibEncoder::new(octets, flate2::Compression::fast());
        let mut packed = Vec::new();
        std::io::Read::read_to_end(&mut encoder, &mut packed).unwrap();
        typed(&ber(0xa0, &ber(4, &packed)))
    };
    for algorithm in [typed(&[]), typed(&[5, 0]), zlib(b"harmless")] {
        let file = cover(COMPRESSED_DATA, &[ber(2, &[0]), algorithm, zlib(&eicar())]);
        let found = Found::of(&file);
        assert!(found.has(&eicar()));
        assert_eq!(found.obstacles, []);
    }
}

proptest! {
    #[test]
    fn a_mangled_cover_is_walked(place in any::<prop::sample::Index>(), octets in prop::collection::vec(any::<u8>(), 1..8)) {
        let mut file = cms(2, &attachment("a", b"content"));
        let at = place.index(file.len() - octets.len());
        file[at..at + octets.len()].copy_from_slice(&octets);
        prop_assert!(!Found::of(&file).items.is_empty());
    }
}
