use std::ops::ControlFlow;

use proptest::prelude::*;

use super::super::samples::{Found, attachment, base64_lines, eicar, encrypted, message, multipart, zip};
use super::*;

mod disguises;
mod messages;
mod sections;

/// Counts only, for messages of which nobody wants a copy.
#[derive(Default)]
struct Count {
    items: usize,
    obstacles: Vec<Obstacle>,
}

impl Visitor for Count {
    fn item(&mut self, _: &ItemName, _: &[u8]) -> ControlFlow<()> {
        self.items += 1;
        ControlFlow::Continue(())
    }

    fn obstacle(&mut self, _: &ItemName, obstacle: Obstacle) -> ControlFlow<()> {
        self.obstacles.push(obstacle);
        ControlFlow::Continue(())
    }
}

#[test]
fn every_part_of_a_multipart_is_an_item_with_its_way_in() {
    let archive = zip(&[("invoice.exe", b"MZ program")]);
    let found = Found::of_message(&attachment("invoice.zip", &archive));
    let names: Vec<&str> = found.items.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "message",
            "message (multipart/mixed) > part 1",
            "message (multipart/mixed) > part 2 (application/octet-stream invoice.zip)",
            "message (multipart/mixed) > part 2 (application/octet-stream invoice.zip) > invoice.exe",
        ]
    );
    assert!(found.has(b"MZ program"));
    assert_eq!(found.obstacles, []);
}

#[test]
fn a_quoted_printable_body_is_decoded() {
    let body = b"caf=C3=A9 soft=  \r\nbreak =zz =3";
    let found = Found::of_message(&message("Content-Transfer-Encoding: Quoted-Printable\r\n", body));
    assert!(found.decoded("café softbreak =zz =3".as_bytes()));
}

#[test]
fn nested_messages_are_walked_whether_encoded_or_not() {
    let inner = attachment("virus.com", &eicar());
    let plain = multipart(&[("Content-Type: message/rfc822\r\n", inner.clone())]);
    let coded = multipart(&[(
        "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n",
        base64_lines(&inner),
    )]);
    for message in [plain, coded] {
        assert!(Found::of_message(&message).has(&eicar()));
    }
}

#[test]
fn a_digest_holds_messages_without_saying_so() {
    let inner = message("Content-Transfer-Encoding: base64\r\n", &base64_lines(&eicar()));
    let body = [b"--d\r\n\r\n", &inner[..], b"\r\n--d--\r\n"].concat();
    let digest = message("Content-Type: multipart/digest; boundary=d\r\n", &body);
    assert!(Found::of_message(&digest).has(&eicar()));
}

#[test]
fn a_multipart_of_which_readers_guess_the_boundary_is_an_obstacle() {
    let body = b"--b\r\n\r\nhello\r\n--b--";
    for value in [
        "multipart/mixed",
        "multipart/mixed; boundary=\"\"",
        "=?us-ascii?Q?multipart/mixed;_boundary=3Db?=",
        "multipart/mixed; boundary=\"=?us-ascii?Q?b?=\"",
        "=?us-ascii?Q?multipart/mixed;_boundary=3Db?=; boundary=c",
    ] {
        let found = Found::of_message(&message(&format!("Content-Type: {value}\r\n"), body));
        assert_eq!(found.obstacles, [Obstacle::Ambiguous], "{value}");
    }
    for value in [
        "multipart/mixed; boundary=b",
        "multipart/mixed; boundary=\"b\"; charset=utf-8",
        "multipart/mixed; boundary*0=b; boundary*1=\"\"; name*=utf-8''boundary%2A",
        "application/pdf; name=\"=?utf-8?Q?multipart?=\"",
        "text/plain; name=\"multipart/mixed\"",
    ] {
        let found = Found::of_message(&message(&format!("Content-Type: {value}\r\n"), body));
        assert_eq!(found.obstacles, [], "{value}");
    }
}

#[test]
fn base64_with_noise_or_padding_in_the_middle_is_decoded() {
    let virus = eicar();
    let (head, tail) = virus.split_at(10);
    let padded = [base64_lines(head), base64_lines(tail)].concat();
    // Each is right for one kind of reader only.
    let coded = base64_lines(&virus);
    let (first, second) = coded.split_at(18);
    let joined = [first, b"=", second].concat();
    let placed = [b"!!!!".as_slice(), &coded, b"QUFB"].concat();
    let shifted = [b"AA!A".as_slice(), &coded].concat();
    let by_line = [b"A\r\n".as_slice(), &coded].concat();
    let noisy: Vec<u8> = base64_lines(&virus).iter().flat_map(|octet| [*octet, b'!', b' ']).collect();
    for body in [padded, noisy, joined, placed, shifted, by_line] {
        let found = Found::of_message(&message("Content-Transfer-Encoding: base64\r\n", &body));
        assert!(found.decoded(&virus));
    }
}

#[test]
fn a_boundary_that_is_not_utf8_still_divides() {
    let mut message = b"Content-Type: multipart/mixed; boundary=\"b\xff\"\r\n\r\n--b\xff\r\n".to_vec();
    message.extend_from_slice(b"Content-Transfer-Encoding: base64\r\n\r\n");
    message.extend_from_slice(&base64_lines(&eicar()));
    assert!(Found::of_message(&message).has(&eicar()));
}

/// Parsers that build a tree of nested messages overflow the stack on this, at the latest when they drop it.
#[test]
fn ten_thousand_levels_cost_neither_stack_nor_memory() {
    let levels = 10_000;
    let multiparts: Vec<u8> = (0..levels)
        .map(|level| format!("Content-Type: multipart/mixed; boundary=b{level}x\r\n\r\n--b{level}x\r\n"))
        .collect::<String>()
        .into_bytes();
    let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(levels).into_bytes();
    let same_boundary =
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n".repeat(levels).into_bytes();
    // A quarter of the stack that a thread gets by default.
    let walker = std::thread::Builder::new().stack_size(512 * 1024);
    let walked = walker.spawn(move || {
        [multiparts, messages, same_boundary].map(|message| {
            let mut count = Count::default();
            walk_message(&message, &mut count);
            count
        })
    });
    let [multiparts, messages, same_boundary] = walked.unwrap().join().unwrap();
    assert_eq!(multiparts.obstacles, [Obstacle::TooDeep]);
    assert_eq!(messages.obstacles, [Obstacle::TooDeep]);
    // The first level's delimiter is everybody's: ten thousand parts beside each other, and the count of parts ends it.
    assert_eq!(same_boundary.obstacles, [Obstacle::TooManyParts]);
    assert!(multiparts.items <= DEPTH_MAX && messages.items <= DEPTH_MAX && same_boundary.items <= PARTS_MAX);
}

#[test]
fn a_virus_beside_a_part_nested_too_deeply_is_still_an_item() {
    let deep = "Content-Type: message/rfc822\r\n\r\n".repeat(DEPTH_MAX + 5);
    let coded = "Content-Transfer-Encoding: base64\r\n";
    let found = Found::of_message(&multipart(&[(&deep, Vec::new()), (coded, base64_lines(&eicar()))]));
    assert_eq!(found.obstacles, [Obstacle::TooDeep]);
    assert!(found.has(&eicar()));
}

#[test]
fn too_many_parts_end_the_walk() {
    let body = "--b\r\n\r\nx\r\n".repeat(100_000);
    let mut count = Count::default();
    walk_message(&message("Content-Type: multipart/mixed; boundary=b\r\n", body.as_bytes()), &mut count);
    assert_eq!(count.obstacles, [Obstacle::TooManyParts]);
    assert_eq!(count.items, PARTS_MAX);
}

#[test]
fn the_same_octets_under_many_boundaries_are_bounded() {
    // Every boundary begins like every delimiter, so each would make parts of the whole body again.
    let boundaries: String = (1..200).map(|n| format!("; boundary={}", "b".repeat(n % 60 + 1))).collect();
    let inner = format!("--{}\r\n\r\n{}\r\n", "b".repeat(70), "x".repeat(64 * 1024)).repeat(40);
    let mut count = Count::default();
    walk_message(
        &message(&format!("Content-Type: multipart/mixed{boundaries}\r\n"), inner.as_bytes()),
        &mut count,
    );
    // All of them make the same parts, each of which is walked once.
    assert!(count.items <= 2 * 41);
    assert_eq!(count.obstacles, []);
}

#[test]
fn every_pass_over_a_body_is_counted() {
    let body = "text\r\n".repeat(1_000);
    let message = message("Content-Type: multipart/mixed; boundary=b\r\n", body.as_bytes());
    let mut count = Count::default();
    let mut walk = Walk::new(&mut count);
    assert!(walk.entity(&ItemName::root("message"), &message, Assumed::Text, Depth::default()).is_continue());
    assert!(walk.walked_octets >= message.len() + body.len());
}

#[test]
fn an_endless_header_section_is_an_obstacle() {
    let long = "X-Filler: 0123456789\r\n".repeat(500_000);
    let typed = format!("Content-Type: text/plain;\r\n{}\r\nbody", " a=b;\r\n".repeat(10_000));
    for message in [long, typed] {
        let found = Found::of_message(message.as_bytes());
        assert_eq!(found.obstacles, [Obstacle::HeadersTooLong]);
        assert_eq!(found.items.len(), 1);
    }
}

#[test]
fn a_fragment_of_a_message_is_an_obstacle() {
    let fields = "Content-Type: message/partial; id=x; number=1; total=2\r\n";
    assert_eq!(Found::of_message(&message(fields, b"half a virus")).obstacles, [Obstacle::Fragment]);
}

#[test]
fn a_file_is_walked_as_it_is() {
    assert!(Found::of(&zip(&[("a.com", &eicar())])).has(&eicar()));
    let locked = Found::of(&encrypted(zip(&[("a.com", &eicar())])));
    assert_eq!(locked.obstacles, [Obstacle::Encrypted]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_octets_are_walked_within_the_limits(octets in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let mut count = Count::default();
        walk_message(&octets, &mut count);
        walk_file(&octets, &mut count);
        prop_assert!(count.items <= 2 * (PARTS_MAX + ENTRIES_MAX + 1));
    }

    #[test]
    fn any_lines_of_mime_are_walked_and_every_octet_reaches_the_engine(
        lines in prop::collection::vec(
            prop::sample::select(vec![
                "Content-Type: multipart/mixed; boundary=b", "Content-Type: multipart/digest; boundary=\"b b\"",
                "Content-Type: message/rfc822", "Content-Transfer-Encoding: base64", "content-type:", "",
                "--b", "--b--", "--b b", " folded", "text", "UEsDBAoAAAAA", "=", "=3D", "PK\x03\x04", "PK\x05\x06",
            ]),
            0..60,
        ),
        line_end in prop::sample::select(vec!["\r\n", "\n"]),
    ) {
        let message = lines.join(line_end);
        let found = Found::of_message(message.as_bytes());
        prop_assert!(found.has(message.as_bytes()));
        // A part is an item for each of nine ends of its header section and 25 ways to decode it.
        prop_assert!(found.items.len() <= 9 * 25 * PARTS_MAX + 1);
    }
}
