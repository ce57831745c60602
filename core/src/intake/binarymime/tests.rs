use proptest::prelude::*;

use super::*;

fn multipart(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut message = b"From: a@example.org\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: binary\r\n\
        Content-Type: multipart/mixed;\r\n boundary=\"=_limit\"\r\n\r\npreamble\r\n"
        .to_vec();
    for part in parts {
        message.extend_from_slice(b"--=_limit\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: BINARY\r\nX-Kept: yes\r\n\r\n");
        message.extend_from_slice(part);
        message.extend_from_slice(b"\r\n");
    }
    message.extend_from_slice(b"--=_limit--\r\nepilogue\r\n");
    message
}

fn contents(message: &[u8]) -> Vec<Vec<u8>> {
    let parsed = MessageParser::default().parse(message).unwrap();
    parsed.parts.iter().filter(|part| !part.is_multipart()).map(|part| part.contents().to_vec()).collect()
}

proptest! {
    #[test]
    fn decoded_parts_are_what_was_sent(parts in prop::collection::vec(prop::collection::vec(
        prop_oneof![4 => any::<u8>(), 1 => Just(b'\r'), 1 => Just(b'\n'), 1 => Just(b'-')], 0..200), 1..5)) {
        let message = multipart(&parts);
        let lines = reencode(&message).unwrap();
        prop_assert!(are_lines(&lines));
        prop_assert_eq!(contents(&lines), parts);
        prop_assert_eq!(memmem::find_iter(&lines, b"X-Kept: yes\r\n").count(), memmem::find_iter(&message, b"X-Kept: yes\r\n").count());
        prop_assert!(memmem::find(&lines.to_ascii_lowercase(), b"binary").is_none());
        prop_assert_eq!(reencode(&lines), Ok(lines.clone()), "what is lines already is left alone");
    }

    #[test]
    fn any_octets_become_lines_or_are_refused(octets: Vec<u8>) {
        if let Ok(lines) = reencode(&octets) {
            prop_assert!(are_lines(&lines));
        }
    }
}

proptest! {
    #[test]
    fn seven_bits_hold_what_eight_have_held(texts in prop::collection::vec("[ -~\u{e4}]{0,20}", 1..4)) {
        let parts: Vec<_> = texts.iter().map(|text| text.clone().into_bytes()).collect();
        let message = reencode(&String::from_utf8(multipart(&parts)).unwrap().replace("BINARY", "8BIT").into_bytes()).unwrap();
        let seven_bit = reencode_to_seven_bit(&message).unwrap();
        prop_assert!(seven_bit.is_ascii() && are_lines(&seven_bit));
        prop_assert_eq!(contents(&seven_bit), parts);
        let text = String::from_utf8(seven_bit).unwrap().to_ascii_lowercase();
        prop_assert!(!text.contains("8bit") && !text.contains("binary"));
    }
}

#[test]
fn what_is_signed_or_in_a_header_keeps_its_eight_bits() {
    let signed = "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\u{e4}\r\n--b--\r\n";
    let header = "Subject: \u{e4}\r\n\r\ntext\r\n";
    for message in [signed, header] {
        assert_eq!(reencode_to_seven_bit(message.as_bytes()), Err(BinaryMimeError::Inconvertible));
    }
    let ascii = signed.replace('\u{e4}', "a");
    assert_eq!(reencode_to_seven_bit(ascii.as_bytes()), Ok(ascii.into_bytes()));
}

#[test]
fn a_plain_message_becomes_a_mime_message() {
    let lines = reencode(b"Subject: x\r\n\r\nbare\nline\0").unwrap();
    assert_eq!(
        String::from_utf8(lines).unwrap(),
        "Subject: x\r\nContent-Transfer-Encoding: base64\r\nMIME-Version: 1.0\r\n\r\nYmFyZQpsaW5lAA==\r\n"
    );
}

#[test]
fn a_message_within_a_message_is_taken_apart() {
    let inner = multipart(&[b"\0\n\r".to_vec()]);
    let mut outer =
        b"MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\n"
            .to_vec();
    outer.extend_from_slice(&inner);
    let lines = String::from_utf8(reencode(&outer).unwrap()).unwrap();
    assert!(lines.contains("message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n"));
    assert!(lines.contains("Content-Transfer-Encoding: base64\r\n\r\nAAoN\r\n--=_limit--\r\n"));
}

#[test]
fn a_boundary_that_readers_may_see_differently_is_refused() {
    let unclosed = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n".as_slice();
    let longer =
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--bc\r\n--b--\r\n".as_slice();
    let twice = b"Content-Type: text/plain\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\n".as_slice();
    let encoded =
        b"Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n\r\n--b--\r\n"
            .as_slice();
    for message in [unclosed, longer, twice, encoded] {
        assert_eq!(reencode(message), Err(BinaryMimeError::Inconvertible));
    }
}

#[test]
fn a_header_that_is_not_lines_is_refused() {
    assert_eq!(reencode(b"Subject: a\nb\r\n\r\nbody\r\n"), Err(BinaryMimeError::Inconvertible));
}

#[test]
fn nesting_is_bounded() {
    let deep = b"Content-Type: message/rfc822\r\n\r\n".repeat(DEPTH_MAX + 1);
    assert_eq!(reencode(&deep), Err(BinaryMimeError::TooDeep));
}
