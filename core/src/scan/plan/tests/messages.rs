//! Messages that nothing calls one, or that have parts for some readers alone.

use crate::scan::Obstacle;
use crate::scan::samples::{Found, attachment, base64_lines, eicar, message, multipart};

/// What a program saves or opens by its name is a message whatever its type says, and whatever it begins with.
#[test]
fn a_file_that_is_a_message_is_opened_as_one_under_any_type_and_any_first_field() {
    let (virus, inner) = (eicar(), attachment("virus.com", &eicar()));
    let odd = [&b"X-Odd-First: x\r\n"[..], &inner].concat();
    let behind = |first: &str| [first.as_bytes(), &inner].concat();
    for (case, file) in [
        ("usual", inner.clone()),
        ("odd first field", odd),
        ("behind a line of blanks", behind("X-Odd-First: x\r\n \r\n")),
        ("behind a field without name", behind(": x\r\n")),
        ("behind the rest of a field", behind(" x\r\n")),
        ("behind a line that is no field", behind("junk\r\n")),
        ("behind a line of a mailbox", behind("From a@b Mon Nov 23 12:00:00 2026\r\n")),
        ("behind empty lines", behind("\r\n\n")),
        ("behind many fields", behind(&format!("X: {}\r\n", "y".repeat(70)).repeat(1_200))),
    ] {
        for media in ["text/plain; name=mail.eml", "text/x-mail", "application/octet-stream"] {
            let fields = format!("Content-Type: {media}\r\n");
            let part = format!("{fields}Content-Transfer-Encoding: base64\r\n");
            let coded = multipart(&[(part.as_str(), base64_lines(&file))]);
            let open = multipart(&[(fields.as_str(), file.clone())]);
            for message in [coded, open] {
                let found = Found::of_message(&message);
                assert!(found.has(&virus), "{case}, {media}");
                assert_eq!(found.obstacles, [], "{case}, {media}");
            }
        }
    }
    let text = b"Note: this is a text.\r\nIt says Content-Type: in passing.\r\n";
    let found = Found::of_message(&message("Content-Type: text/plain\r\n", text));
    assert_eq!(found.items.len(), 2);
}

#[test]
fn lines_that_end_in_cr_alone_hide_neither_messages_nor_parts() {
    let inner = String::from_utf8(attachment("virus.com", &eicar())).unwrap();
    let returns = inner.replace("\r\n", "\r");
    let delimiters = inner.replace("--frontier\r\n", "--frontier\r");
    let parts = inner
        .split_once("\r\n\r\n")
        .map(|(head, body)| format!("{head}\r\n\r\n{}", body.replace("\r\n", "\r")));
    let guessed = parts.clone().unwrap().replace("; boundary=\"frontier\"", "");
    for (case, file) in
        [("all", returns), ("delimiters", delimiters), ("body", parts.unwrap()), ("no boundary", guessed)]
    {
        for mail in [file.clone().into_bytes(), attachment("note.eml", file.as_bytes())] {
            let found = Found::of_message(&mail);
            assert!(found.obstacles.contains(&Obstacle::Ambiguous), "{case}: {:?}", found.obstacles);
        }
    }
}

#[test]
fn every_type_of_message_may_be_opened_as_one() {
    let inner = message("Content-Transfer-Encoding: base64\r\n", &base64_lines(&eicar()));
    for first in ["", ": x\r\n", " x\r\n", "\r\n"] {
        let inner = [first.as_bytes(), &inner].concat();
        for media in ["message/x-foo", "message/rfc822", "message/delivery-status"] {
            let mail = multipart(&[(&format!("Content-Type: {media}\r\n"), inner.clone())]);
            assert!(Found::of_message(&mail).decoded(&eicar()), "{media} behind {first:?}");
        }
    }
    let report =
        b"Reporting-MTA: dns; mx.example.org\r\n\r\nFinal-Recipient: rfc822;a@b\r\nStatus: 5.1.1\r\n";
    let mail = multipart(&[("Content-Type: message/delivery-status\r\n", report.to_vec())]);
    assert_eq!(Found::of_message(&mail).obstacles, []);
}

/// A program that speaks HTTP, a capture of its talk, a log, and a text of an old Macintosh.
#[test]
fn what_only_holds_the_name_of_a_field_is_no_message() {
    let talk = "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace\r\n\r\n--x\r\n";
    let program = format!("MZ\0\u{1}\n{talk}");
    let log = "12:00:01 Connected: yes\n".repeat(100_000);
    let text = format!("A text\rof lines\r\rContent-Type: multipart/mixed\r{}", "--\r".repeat(9));
    for octets in [program, log, text] {
        let found = Found::of_message(&attachment("file", octets.as_bytes()));
        assert_eq!(found.obstacles, [], "{octets:.10}");
    }
}
