use proptest::prelude::*;

use super::*;

fn recipients(dropped: &Dropped) -> Vec<String> {
    dropped.envelope.recipients.iter().map(|recipient| recipient.path.to_string()).collect()
}

fn content(dropped: &Dropped) -> &str {
    std::str::from_utf8(&dropped.content).unwrap()
}

fn refused(file: &str) -> NotAMail {
    parse(file.as_bytes(), 100).unwrap_err()
}

#[test]
fn the_envelope_fields_go_before_the_header_and_are_not_sent() {
    let file = "x-sender: <>\nX-RECEIVER: a@example.org\nX-Receiver: <b@example.org>\nFrom: c@example.org\n\
                To: d@example.org\nBcc: e@example.org,\n f@example.org\nDate: x\nMessage-Id: <y@z>\n\nHi\n";
    let dropped = parse(file.as_bytes(), 100).unwrap();
    assert_eq!(dropped.envelope.reverse_path, ReversePath::Null);
    assert_eq!(recipients(&dropped), ["<a@example.org>", "<b@example.org>"]);
    assert_eq!(
        content(&dropped),
        "From: c@example.org\r\nTo: d@example.org\r\nDate: x\r\nMessage-Id: <y@z>\r\n\r\nHi\r\n"
    );
    assert!(!dropped.lacks_date && !dropped.lacks_message_id);
}

#[test]
fn without_them_the_header_names_sender_and_recipients() {
    let file = "From: \"Ann, of Accounts\" <ann@example.org>\r\nTo: Bob <bob@example.org>, c@example.org\r\n\
                Cc: Team: d@example.org, bob@example.org;\r\nBcc: e@example.org\r\n\r\nHi";
    let dropped = parse(file.as_bytes(), 100).unwrap();
    assert_eq!(dropped.envelope.reverse_path.to_string(), "<ann@example.org>");
    assert_eq!(
        recipients(&dropped),
        ["<bob@example.org>", "<c@example.org>", "<d@example.org>", "<e@example.org>"]
    );
    assert!(!content(&dropped).contains("Bcc") && content(&dropped).ends_with("\r\n\r\nHi\r\n"));
    assert!(dropped.lacks_date && dropped.lacks_message_id);
    let file = "Sender: s@example.org\nFrom: a@example.org, b@example.org\nTo: c@example.org\n\n";
    let dropped = parse(file.as_bytes(), 100).unwrap();
    assert_eq!(dropped.envelope.reverse_path.to_string(), "<s@example.org>");
}

#[test]
fn what_is_no_mail_is_told_by_its_line() {
    assert_eq!(refused("From: a@b\nTo: c@d\n\nx\ry\n"), NotAMail::Octet(4));
    assert_eq!(refused("From: a@b\nTo: c@d\0\n\n"), NotAMail::Octet(2));
    assert_eq!(refused("From a@b Mon Jan  1 00:00:00 2024\nTo: c@d\n\n"), NotAMail::NoField(1));
    assert_eq!(refused(" folded: first\n\n"), NotAMail::NoField(1));
    assert_eq!(refused("From: a@b\nTo : c@d\n\n"), NotAMail::NoField(2));
    assert_eq!(refused("From: a@b\n: c@d\n\n"), NotAMail::NoField(2));
    assert_eq!(refused("PK\u{3}\u{4}"), NotAMail::NoField(1));
    assert_eq!(refused(""), NotAMail::Count("From"));
    assert_eq!(parse(b"From: a@b\nTo: c@d\nSubject: \xff\n\n", 9), Err(NotAMail::HeaderCharset));
}

#[test]
fn an_envelope_that_is_not_clear_is_refused() {
    let cases = [
        ("X-Receiver: a@b\nFrom: c@d\n\n", NotAMail::Count("X-Sender")),
        ("X-Sender: a@b\nX-Sender: a@b\nX-Receiver: c@d\nFrom: c@d\n\n", NotAMail::Count("X-Sender")),
        ("X-Sender: a@b\nFrom: c@d\nTo: e@f\n\n", NotAMail::NoRecipient),
        ("X-Sender: a@b\nX-Receiver: c@d, e@f\nFrom: c@d\n\n", NotAMail::Address("X-Receiver")),
        ("X-Sender: a@b\nX-Receiver: <>\nFrom: c@d\n\n", NotAMail::Address("X-Receiver")),
        ("X-Sender: a@b\nX-Receiver: c@d\n\n", NotAMail::Count("From")),
        ("From: a@b, c@d\nTo: e@f\n\n", NotAMail::Address("From")),
        ("From: a@b\nFrom: a@b\nTo: e@f\n\n", NotAMail::Count("From")),
        ("From: a@b\n\nTo: c@d\n", NotAMail::NoRecipient),
        ("From: a@b\nTo: undisclosed-recipients:;\n\n", NotAMail::NoRecipient),
        ("From: a@b\nTo: c@d, nobody\n\n", NotAMail::Address("To")),
        ("From: a@b\nTo: c@d e@f\n\n", NotAMail::Address("To")),
        ("From: a@b\nTo: c@d\nResent-To: e@f\n\n", NotAMail::Resent),
    ];
    for (file, why) in cases {
        assert_eq!(parse(file.as_bytes(), 100), Err(why), "{file:?}");
    }
    let many = "From: a@b\nTo: 1@b, 2@b, 3@b, 2@b\n\n";
    assert_eq!(parse(many.as_bytes(), 2), Err(NotAMail::Recipients(2)));
    assert_eq!(recipients(&parse(many.as_bytes(), 3).unwrap()).len(), 3);
    let looping = "Received: x\n".repeat(101) + "From: a@b\nTo: c@d\n\n";
    assert_eq!(refused(&looping), NotAMail::Loop);
}

#[test]
fn what_the_mail_needs_of_its_way_is_told() {
    let plain = parse(b"From: a@b\nTo: c@d\n\nplain", 9).unwrap().envelope.params;
    assert_eq!((plain.body, plain.smtputf8), (BodyKind::SevenBit, false));
    let eight = parse("From: a@b\nTo: c@d\n\nümlaut".as_bytes(), 9).unwrap().envelope.params;
    assert_eq!((eight.body, eight.smtputf8), (BodyKind::EightBitMime, false));
    let utf8 = parse("From: jürgen@b\nTo: c@d\n\nplain".as_bytes(), 9).unwrap().envelope;
    assert_eq!((utf8.params.body, utf8.params.smtputf8), (BodyKind::EightBitMime, true));
    assert_eq!(utf8.reverse_path.to_string(), "<jürgen@b>");
}

proptest! {
    #[test]
    fn whatever_is_dropped_becomes_crlf_lines_without_its_envelope_or_is_refused(
        lines in prop::collection::vec(
            prop_oneof![
                Just("From: a@example.org"), Just("To: b@example.org"), Just("X-Sender: <>"), Just("X-Receiver: c@d"),
                Just("bcc: x@y"), Just(" folded"), Just(""), Just("Subject: s"), Just("no field"), Just("t\r"),
            ],
            0..12,
        ),
    ) {
        if let Ok(dropped) = parse(lines.join("\n").as_bytes(), 10) {
            let text = content(&dropped);
            prop_assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
            prop_assert_eq!(text.matches('\r').count(), text.matches("\r\n").count());
            let (header, _body) = text.split_once("\r\n\r\n").unwrap();
            for line in header.lines() {
                let name = line.split(':').next().unwrap().to_ascii_lowercase();
                prop_assert!(!["x-sender", "x-receiver", "bcc"].contains(&name.as_str()), "{header}");
            }
            prop_assert!(!recipients(&dropped).is_empty());
        }
    }

    #[test]
    fn no_file_makes_the_reader_panic(file in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&file, 10);
    }
}
