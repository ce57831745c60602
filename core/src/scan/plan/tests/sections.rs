//! Header sections that end in different places for different readers.

use crate::scan::Obstacle;
use crate::scan::samples::{Found, base64_lines, eicar, message, multipart};

const BASE64: &str = "Content-Transfer-Encoding: base64\r\n";

/// Base64 with a mark in front of each line that readers of base64 skip and readers of fields take for a field's.
fn with_colons(octets: &[u8]) -> String {
    let coded = String::from_utf8(base64_lines(octets)).unwrap();
    coded
        .as_bytes()
        .chunks(20)
        .map(|line| format!(":{}\r\n", String::from_utf8_lossy(line).replace("\r\n", "")))
        .collect()
}

#[test]
fn every_line_that_is_no_field_may_be_the_first_of_the_body() {
    let coded = String::from_utf8(base64_lines(&eicar())).unwrap();
    let colons = with_colons(&eicar());
    for (case, fields) in [
        ("a blank in a name", format!("{BASE64}food barn: \r\n{colons}")),
        ("the second stray line", format!("junk\r\n{BASE64}{coded}\r\n")),
        ("behind a From line", format!("From nobody\r\n{BASE64}junk junk\r\n{coded}\r\n")),
        ("a blank before the colon", format!("{BASE64}X : y\r\n{colons}")),
        ("an octet above 127 in a name", format!("{BASE64}caf\u{e9}s: y\r\n{colons}")),
        ("no name", format!("{BASE64}{colons}")),
        ("behind the second line of blanks", format!("X: y\r\n \r\n{BASE64}  \r\n{coded}\r\n")),
        ("two kinds of lines before it", format!("a\r\n b\r\nc d: e\r\n{BASE64}:f\r\nghi\r\n{coded}\r\n")),
    ] {
        let whole = message(&fields, b"hello");
        let part = multipart(&[(&fields, b"hello".to_vec())]);
        for mail in [whole, part] {
            let found = Found::of_message(&mail);
            assert!(found.decoded(&eicar()), "{case}");
        }
    }
}

#[test]
fn more_ends_of_an_encoded_body_than_are_followed_are_ambiguous() {
    let strays = "no field\r\n".repeat(100);
    let found = Found::of_message(&message(&format!("{BASE64}{strays}"), &base64_lines(b"octets")));
    assert_eq!(found.obstacles, [Obstacle::Ambiguous]);
    let raw = "\u{1} no field\r\n".repeat(100);
    assert_eq!(Found::of_message(&message(&raw, b"text")).obstacles, [Obstacle::Ambiguous]);
}

/// What mailers and scripts write that know the standard by hearsay.
#[test]
fn careless_headers_of_ordinary_mail_are_no_obstacle() {
    let prose = "Dear all,\r\nthe list: milk, bread\r\n  and more\r\n".repeat(200);
    let mails: [(&str, Vec<u8>); 6] = [
        ("a text right behind the fields", message(&prose, b"the end")),
        ("a part that is a text alone", multipart(&[(&prose, b"the end".to_vec())])),
        (
            "from a mailbox",
            [b"From ann Mon Nov 23 12:00:00 2026\r\n", &message(BASE64, &base64_lines(b"text"))[..]].concat(),
        ),
        ("blanks before colons", message("Date : today\r\nX-Mailer : old\r\n", b"text")),
        ("lines of blanks", message(&"X-Long: a\r\n \r\n b\r\n".repeat(50), b"text")),
        ("Japanese", message(&"\u{1b}$B$3$s\u{1b}(B\r\n".repeat(50), b"text")),
    ];
    for (case, mail) in mails {
        let found = Found::of_message(&mail);
        assert_eq!(found.obstacles, [], "{case}");
        assert!(found.items.len() <= 6, "{case}: {} items", found.items.len());
    }
}
