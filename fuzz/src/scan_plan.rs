//! What the scanner is given to look at: bounded whatever the message is, and complete where it is an honest one.

use std::ops::ControlFlow;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use gatepost_core::scan::ItemName;
use gatepost_core::scan::plan::{ENTRIES_MAX, ITEM_OCTETS_MAX, PARTS_MAX, Visitor, walk_file, walk_message};
use gatepost_core::scan::verdict::Obstacle;

use crate::input::Input;

/// Any octets, as a message or as a file: bounded items, octets and names.
pub fn check_hostile(octets: &[u8]) {
    let mut input = Input::new(octets);
    let is_file = input.octet() % 2 == 1;
    let octets = input.rest();
    let mut seen = Seen::default();
    if is_file {
        walk_file(octets, &mut seen)
    } else {
        walk_message(octets, &mut seen)
    }
    assert!(seen.items >= 1, "the whole is looked at first");
    // A part is one item for each way to decode it, and an entry one; an archive in front of an archive counts as an entry.
    assert!(seen.items <= 2 + DECODINGS_MAX * PARTS_MAX + ENTRIES_MAX, "{} items", seen.items);
    // One item may be unpacked before it is found to be too much.
    assert!(seen.octets <= octets.len() + ITEM_OCTETS_MAX, "{} octets", seen.octets);
    let obstacles_max = 2 * seen.items + DECODINGS_MAX * PARTS_MAX + ENTRIES_MAX;
    assert!(seen.obstacles <= obstacles_max, "{} obstacles", seen.obstacles);
}

/// A message that is made after the book: every leaf is seen decoded, nothing is in the way.
pub fn check_honest(octets: &[u8]) {
    let mut input = Input::new(octets);
    let mut leaves = Vec::new();
    let message = entity(&mut input, 0, &mut leaves);
    let mut seen = Seen { wanted: leaves, ..Seen::default() };
    walk_message(&message, &mut seen);
    let missed: Vec<_> = seen.wanted.iter().map(|leaf| leaf.escape_ascii().to_string()).collect();
    assert!(missed.is_empty(), "not seen: {missed:?} in {}", message.escape_ascii());
    assert_eq!(seen.obstacles, 0, "nothing hides anything: {}", message.escape_ascii());
}

#[derive(Default)]
struct Seen {
    items: usize,
    octets: usize,
    obstacles: usize,
    wanted: Vec<Vec<u8>>,
}

// === impl Seen ===

impl Visitor for Seen {
    fn item(&mut self, name: &ItemName, octets: &[u8]) -> ControlFlow<()> {
        check_name(name);
        self.items += 1;
        self.octets += octets.len();
        // The line end before a delimiter stays with the part: some readers take it for content.
        let is_seen =
            |leaf: &Vec<u8>| octets.strip_prefix(&leaf[..]).is_some_and(|rest| rest.trim_ascii().is_empty());
        self.wanted.retain(|leaf| !is_seen(leaf));
        ControlFlow::Continue(())
    }

    fn obstacle(&mut self, name: &ItemName, _: Obstacle) -> ControlFlow<()> {
        check_name(name);
        self.obstacles += 1;
        ControlFlow::Continue(())
    }
}

fn check_name(name: &ItemName) {
    let text = name.as_str();
    assert!(text.chars().count() <= 401 && !text.chars().any(char::is_control), "{text:?}");
}

/// A header section and a body, as the input wants them; `leaves` collects what must be seen.
fn entity(input: &mut Input<'_>, depth: usize, leaves: &mut Vec<Vec<u8>>) -> Vec<u8> {
    let choice = input.octet();
    match choice % 8 {
        0 | 1 if depth < DEPTH => multipart(choice, input, depth, leaves),
        2 if depth < DEPTH => {
            let inner = entity(input, depth + 1, leaves);
            [b"Content-Type: message/rfc822\r\n\r\n", &inner[..]].concat()
        }
        _ => leaf(choice, input, leaves),
    }
}

fn multipart(choice: u8, input: &mut Input<'_>, depth: usize, leaves: &mut Vec<Vec<u8>>) -> Vec<u8> {
    let boundary = format!("=_{depth}_{}", leaves.len());
    let kind = ["mixed", "alternative", "related", "signed"][usize::from(choice / 8 % 4)];
    let mut octets = format!(
        "MIME-Version: 1.0\r\nContent-Type: multipart/{kind};\r\n\tboundary=\"{boundary}\"\r\n\r\npreamble\r\n"
    )
    .into_bytes();
    for _ in 0..1 + input.octet() % 4 {
        octets.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        octets.extend_from_slice(&entity(input, depth + 1, leaves));
        octets.extend_from_slice(b"\r\n");
    }
    octets.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    octets
}

fn leaf(choice: u8, input: &mut Input<'_>, leaves: &mut Vec<Vec<u8>>) -> Vec<u8> {
    // Behind this octet nothing begins that would be opened: it is too large for the properties of LZMA, whose header has no
    // mark and any octet below it in front. What is opened wherever it stands is left out below.
    // And it is too short for a second block of a tar archive, of which the first may be anything.
    let content = [b"\xE1", input.octets()].concat();
    let content = &content[..content.len().min(LEAF_OCTETS_MAX)];
    let (encoding, coded, content) = match choice / 8 % 3 {
        0 => ("base64", base64_lines(content), content.to_vec()),
        1 => ("quoted-printable", quoted_printable(content), content.to_vec()),
        _ => {
            let text: Vec<u8> = content.iter().map(|octet| b'a' + octet % 26).collect();
            ("8bit", text.clone(), text)
        }
    };
    // An archive by chance may be broken, and a message ambiguous: that would be an obstacle by right.
    let has = |word: &[u8]| content.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word));
    if has(b"PK") || has(b"begin") || has(b"content-t") {
        return b"Content-Type: text/plain\r\n\r\nneither archives nor messages here".to_vec();
    }
    leaves.push(content);
    let head =
        format!("Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n");
    [head.as_bytes(), &coded].concat()
}

fn base64_lines(octets: &[u8]) -> Vec<u8> {
    BASE64_STANDARD.encode(octets).as_bytes().chunks(76).collect::<Vec<_>>().join(&b"\r\n"[..])
}

/// RFC 2045 section 6.7 with every octet quoted that may be.
fn quoted_printable(octets: &[u8]) -> Vec<u8> {
    let lines: Vec<String> = octets
        .chunks(20)
        .map(|line| {
            line.iter()
                .map(|octet| {
                    if octet.is_ascii_alphanumeric() {
                        char::from(*octet).to_string()
                    } else {
                        format!("={octet:02X}")
                    }
                })
                .collect()
        })
        .collect();
    lines.join("=\r\n").into_bytes()
}

const DEPTH: usize = 4;
const LEAF_OCTETS_MAX: usize = 1_023;
/// Sixteen ways to read base64, the octets as they are and eight ways to read quoted-printable, for each of nine ends of a
/// header section.
const DECODINGS_MAX: usize = 9 * 25;
