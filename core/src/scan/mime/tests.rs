use proptest::prelude::*;

use super::super::samples::base64_lines;
use super::*;

proptest! {
    #[test]
    fn base64_decodes_to_what_was_encoded(octets in prop::collection::vec(any::<u8>(), 0..500)) {
        prop_assert_eq!(decode_base64(&base64_lines(&octets)), octets);
    }

    #[test]
    fn quoted_printable_decodes_to_what_was_encoded(octets in prop::collection::vec(any::<u8>(), 0..500)) {
        let coded: String = octets.iter().map(|octet| format!("={octet:02X}=\r\n")).collect();
        prop_assert_eq!(Quoted::STANDARD.decode(coded.as_bytes()), octets);
    }

    #[test]
    fn quoted_printable_that_readers_disagree_about_has_a_reading_for_each(
        octets in prop::collection::vec(prop::sample::select(&b"=\n\x01ab \t"[..]), 1..200),
    ) {
        // As it stood in a mailbox with LF lines, by a writer that doubles `=` and pads its lines.
        let coded: String = octets
            .iter()
            .map(|octet| match octet {
                b'=' => "==".to_owned(),
                b'\n' => " \r\n".to_owned(),
                octet => format!("={octet:02X}"),
            })
            .collect();
        let body = format!("=00{coded}=00");
        let wanted = [b"\0", &octets[..], b"\0"].concat();
        let readings = Quoted::others(body.as_bytes());
        let seen = std::iter::once(Quoted::STANDARD).chain(readings).any(|reading| reading.decode(body.as_bytes()) == wanted);
        prop_assert!(seen);
    }

    #[test]
    fn a_text_in_quoted_printable_has_one_reading(lines in prop::collection::vec("[a-z\u{e4}]{0,60}[ =]?", 0..20)) {
        let text = lines.join("\r\n").replace('=', "=3D").replace('\u{e4}', "=C3=A4=\r\n");
        prop_assert_eq!(Quoted::others(text.as_bytes()), []);
    }

    #[test]
    fn ordinary_base64_has_one_reading(octets in prop::collection::vec(any::<u8>(), 0..500)) {
        prop_assert_eq!(Base64::others(&base64_lines(&octets)), []);
    }

    #[test]
    fn the_other_alphabet_of_base64_is_known(octets in prop::collection::vec(any::<u8>(), 0..500)) {
        let url: Vec<u8> = base64_lines(&octets)
            .into_iter()
            .map(|octet| match octet { b'+' => b'-', b'/' => b'_', octet => octet })
            .collect();
        let readings = Base64::others(&url);
            let seen = std::iter::once(Base64::STANDARD).chain(readings).any(|reading| reading.decode(&url) == octets);
            prop_assert!(seen);
    }

    #[test]
    fn decoding_never_grows(octets in prop::collection::vec(any::<u8>(), 0..500)) {
        for encoding in [TransferEncoding::Base64(Base64::STANDARD), TransferEncoding::Identity, TransferEncoding::QuotedPrintable(Quoted::STANDARD)] {
            prop_assert!(decode(&octets, encoding).len() <= octets.len());
        }
    }

    #[test]
    fn parts_are_the_pieces_between_the_delimiters(
        pieces in prop::collection::vec("[a-z]{1,20}", 1..10),
        blanks in 0_usize..3,
    ) {
        let delimiter = format!("--b{}\r\n", " ".repeat(blanks));
        let body: String = pieces.iter().map(|piece| format!("{delimiter}{piece}\r\n")).collect();
        let parts: Vec<String> = Parts::lax(format!("preamble\r\n{body}--b--\r\n").as_bytes(), b"b")
            .map(|part| String::from_utf8_lossy(part.trim_ascii()).into_owned())
            .collect();
        prop_assert_eq!(parts, pieces);
    }
}

#[test]
fn a_delimiter_stands_at_the_beginning_of_a_line() {
    let body = b"--b\r\none --b two\r\n--b--";
    let parts: Vec<&[u8]> = Parts::lax(body, b"b").collect();
    assert_eq!(parts, [b"one --b two\r\n"]);
}

#[test]
fn the_header_section_ends_at_the_first_empty_line() {
    let readings =
        Entity::readings(b"Subject: x\r\nContent-Type: Text/HTML\r\n\r\nContent-Type: image/png\r\n\r\nbody");
    let [entity] = &readings.unwrap()[..] else { panic!("one reading") };
    assert_eq!(entity.media_types.len(), 1);
    assert!(entity.media_types[0].is("text", "html"));
    assert_eq!(entity.body, b"Content-Type: image/png\r\n\r\nbody");
}

#[test]
fn an_entity_without_fields_is_all_body_as_it_stands() {
    let readings = Entity::readings(b"\r\nbody").unwrap();
    let [entity] = &readings[..] else { panic!("one reading") };
    assert!(entity.media_types.is_empty());
    assert_eq!(entity.encodings, [TransferEncoding::Identity]);
    assert_eq!(entity.body, b"body");
}

#[test]
fn a_file_is_called_as_its_disposition_says_and_nothing_in_that_changes_what_it_is() {
    let entity = |disposition: &str| {
        let fields =
            format!("Content-Disposition: {disposition}\r\nContent-Type: a/b; name=\"typed.exe\"\r\n\r\n");
        let readings = Entity::readings(fields.as_bytes()).unwrap();
        assert!(readings[0].media_types[0].is("a", "b"), "{disposition}");
        readings[0].file_name.clone().unwrap()
    };
    assert_eq!(entity("attachment;\r\n filename=\"caf\u{e9}.exe\""), "caf\u{e9}.exe");
    assert_eq!(entity("attachment; filename*=utf-8''caf%C3%A9.exe"), "caf\u{e9}.exe");
    for without in
        ["attachment", "attachment; filename=\" \"", &format!("x; filename=\"{}\"", "x".repeat(5000))]
    {
        assert_eq!(entity(without), "typed.exe");
    }
    assert!(!entity("attachment; filename=\"open").is_empty());
}
