use proptest::prelude::*;

use super::super::samples::{Found, attachment, cms, eicar};
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

proptest! {
    #[test]
    fn a_mangled_cover_is_walked(place in any::<prop::sample::Index>(), octets in prop::collection::vec(any::<u8>(), 1..8)) {
        let mut file = cms(2, &attachment("a", b"content"));
        let at = place.index(file.len() - octets.len());
        file[at..at + octets.len()].copy_from_slice(&octets);
        prop_assert!(!Found::of(&file).items.is_empty());
    }
}
