use proptest::prelude::*;

use super::super::plan::{Visitor, walk_file};
use super::super::samples::{Found, base64_lines, eicar, uuencode};
use super::*;

fn y_encode(octets: &[u8]) -> Vec<u8> {
    let mut text = format!("=ybegin line=128 size={} name=my file.com\r\n", octets.len()).into_bytes();
    for line in octets.chunks(100) {
        for octet in line {
            match octet.wrapping_add(42) {
                critical @ (0 | b'\n' | b'\r' | b'=') => text.extend([b'=', critical.wrapping_add(64)]),
                plain => text.push(plain),
            }
        }
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"=yend size=1\r\n");
    text
}

#[test]
fn a_file_in_a_text_is_an_item_with_its_name() {
    let text = [b"Hello,\r\n\r\n", &uuencode("virus.com", &eicar())[..], b"\r\nBye\r\n"].concat();
    let found = Found::of(&text);
    assert_eq!(found.items[1], ("file > virus.com".to_owned(), eicar()));
    let found = Found::of(&[b"Hello,\r\n", &y_encode(&eicar())[..]].concat());
    assert_eq!(found.items[1], ("file > my file.com".to_owned(), eicar()));
    for head in ["begin-base64 644 a.com", "begin-base64 100644 a.com", "begin-base64-encoded 644 YS5jb20="] {
        let coded = [head.as_bytes(), b"\n", &base64_lines(&eicar())[..], b"\n====\n"].concat();
        assert!(Found::of(&coded).has(&eicar()), "{head}");
    }
}

#[test]
fn what_a_lax_reader_decodes_is_decoded() {
    let plain = String::from_utf8(uuencode("a.com", &eicar())).unwrap();
    for (case, text) in [
        ("no mode", plain.replace("begin 644 a.com", "begin  a.com")),
        ("an empty line", plain.replace("a.com\r\n", "a.com\r\n\r\n")),
        ("no end", plain.replace("`\r\nend", "")),
        ("LF alone", plain.replace("\r\n", "\n")),
        ("blanks for zeros that were lost", plain.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")),
        ("a mode of one digit", plain.replace("644", "1")),
        ("a mode of six digits", plain.replace("644", "100644")),
        ("a line of nothing first", plain.replace("begin 644 a.com\r\n", "begin a.com\r\n`\r\n")),
        (
            "junk behind the lines",
            plain
                .replace("644 ", "")
                .replace("\r\n", "  zz\r\n")
                .replace("com  zz", "com")
                .replace("end  zz", "end"),
        ),
        ("a tab in the first line", plain.replace("begin 644", "begin\t644")),
        ("an encoded name", plain.replace("begin 644 a.com", "begin-encoded 644 YS5jb20=")),
        ("another one begins inside", plain.replace("a.com\r\n", "a.com\r\nbegin 644 b\r\n")),
    ] {
        assert!(Found::of(text.as_bytes()).has(&eicar()), "{case}");
    }
}

#[test]
fn prose_and_programs_that_begin_are_no_files() {
    for text in
        ["begin with the first\r\nand end\r\n", "begin\n  x := 1;\nend", "begin  transaction\nselect 1;\nend"]
    {
        assert_eq!(Found::of(text.as_bytes()).items.len(), 1, "{text}");
    }
    // What may be a mode is decoded, and any number of them tells nothing.
    let steps = "begin 1 of the steps\nand go on\n".repeat(OVERLAPS_MAX * 3);
    assert_eq!(Found::of(steps.as_bytes()).obstacles, []);
}

#[test]
fn a_part_of_a_yenc_file_is_a_fragment() {
    let text = String::from_utf8_lossy(&y_encode(b"half")).replace("=ybegin", "=ybegin part=1 total=2");
    assert_eq!(Found::of(text.as_bytes()).obstacles, [Obstacle::Fragment]);
}

/// Each of them reaches to the end of the text.
#[test]
fn files_without_an_end_do_not_multiply_the_work() {
    let text = "begin 644 a\r\n".repeat(9_000) + &"#0V%T\r\n".repeat(10_000);
    let found = Found::of(text.as_bytes());
    assert_eq!(found.obstacles, [Obstacle::Ambiguous]);
    assert!(found.items.len() <= OVERLAPS_MAX + 2);
}

/// Each of these would be searched to its end at every `begin`, for hours.
#[test]
fn a_text_of_begins_is_gone_over_once() {
    let len = 2 * 1024 * 1024;
    let blank = "\n".repeat(NEAR_OCTETS * 100);
    for (case, text) in [
        ("no line", "begin".repeat(len / 5)),
        ("lines without LF", "\rbegin x".repeat(len / 8)),
        ("lines without LF before blank ones", "\rbegin x".repeat(len / 8) + &blank + "x\n"),
        ("files without LF", "\nbegin 644".to_owned() + &"\rbegin x".repeat(len / 8)),
    ] {
        let began = std::time::Instant::now();
        assert!(Found::of(text.as_bytes()).items.len() <= OVERLAPS_MAX + 2, "{case}");
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "{case}");
    }
}

/// Ends the walk at the first question whether it is time, and counts these.
struct Late(usize);

impl Visitor for Late {
    fn item(&mut self, _: &ItemName, _: &[u8]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn obstacle(&mut self, _: &ItemName, _: Obstacle) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn hold(&mut self, _: usize) -> ControlFlow<()> {
        self.0 += 1;
        ControlFlow::Break(())
    }
}

#[test]
fn no_file_is_looked_for_beyond_the_deadline() {
    let mut late = Late(0);
    walk_file(b"begin with the first\nbegin with the next\n", &mut late);
    assert_eq!(late.0, 1);
}

#[test]
fn a_file_without_mode_is_found_behind_any_blank_lines() {
    let plain = String::from_utf8(uuencode("a.com", &eicar())).unwrap().replace("begin 644", "begin");
    for blank in (NEAR_OCTETS - 100..NEAR_OCTETS + 3).chain([20 * NEAR_OCTETS]) {
        let text = plain.replace("a.com\r\n", &format!("a.com\r\n{}", "\n".repeat(blank)));
        assert!(Found::of(text.as_bytes()).has(&eicar()), "{blank}");
    }
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded(octets in prop::collection::vec(any::<u8>(), 1..300)) {
        prop_assert!(Found::of(&uuencode("a", &octets)).has(&octets));
        prop_assert!(Found::of(&y_encode(&octets)).has(&octets));
    }
}
