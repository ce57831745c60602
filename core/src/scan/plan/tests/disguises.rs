//! One virus, in all that mail programs take off and scanners overlook.

use crate::scan::Obstacle;
use crate::scan::samples::{
    Found, attachment, base64_lines, cms, eicar, message, multipart, seven_zip, tar, tnef, uuencode, xz, zip,
};

/// Each of these is read by some mail program and overlooked by some scanner.
#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn what_a_lax_reader_decodes_is_decoded() {
    let coded = String::from_utf8(base64_lines(&eicar())).unwrap();
    let wrapped = |head: &str, inner_fields: &str, delimiter: &str, end: &str| {
        let body = format!("{delimiter}\r\n{inner_fields}\r\n{coded}{end}");
        message(head, body.as_bytes())
    };
    let base64 = "Content-Transfer-Encoding: base64\r\n";
    let boundary = "Content-Type: multipart/mixed; boundary=b\r\n";
    let cases = [
        ("no closing delimiter", wrapped(boundary, base64, "--b", "")),
        ("text behind the boundary", wrapped(boundary, base64, "--b junk", "\r\n--b--\r\n")),
        (
            "boundary in a folded field",
            wrapped("Content-Type: multipart/mixed;\r\n\tboundary=b\r\n", base64, "--b", ""),
        ),
        (
            "second type counts",
            wrapped(&format!("Content-Type: text/plain\r\n{boundary}"), base64, "--b", ""),
        ),
        ("first type counts", wrapped(&format!("{boundary}Content-Type: text/plain\r\n"), base64, "--b", "")),
        (
            "second boundary counts",
            wrapped("Content-Type: multipart/mixed; boundary=a; boundary=b\r\n", base64, "--b", ""),
        ),
        ("blank before the colon", wrapped(boundary, "Content-Transfer-Encoding : base64\r\n", "--b", "")),
        (
            "comment behind the encoding",
            wrapped(boundary, "Content-Transfer-Encoding: BASE64 (x)\r\n", "--b", ""),
        ),
        (
            "comment before the encoding",
            wrapped(boundary, "Content-Transfer-Encoding: (x) base64\r\n", "--b", ""),
        ),
        ("encoding in quotes", wrapped(boundary, "Content-Transfer-Encoding: \"base64\"\r\n", "--b", "")),
        ("encoding behind a word", wrapped(boundary, "Content-Transfer-Encoding: x base64\r\n", "--b", "")),
        (
            "a message to some, a file to others",
            wrapped(&format!("Content-Type: message/rfc822\r\nContent-Type: a/b\r\n{base64}"), "", "", ""),
        ),
        (
            "parts to some, a file to others",
            wrapped(
                &format!("Content-Type: multipart/mixed; boundary=bb\r\nContent-Type: a/b\r\n{base64}"),
                "",
                "--bb\r\n\r\n--bb--",
                "",
            ),
        ),
        (
            "two encodings",
            wrapped(boundary, &format!("Content-Transfer-Encoding: 7bit\r\n{base64}"), "--b", ""),
        ),
        ("part in the epilogue", wrapped(boundary, base64, "--b\r\n\r\nhello\r\n--b--", "")),
        ("no multipart at all", wrapped(base64, "", "", "")),
        ("blanks end a part's header", wrapped(boundary, &format!("{base64} "), "--b", "")),
        ("a tab ends the message's header", wrapped(&format!("{base64}\t\r\n"), "", "", "")),
        (
            "blanks do not end the header",
            wrapped(boundary, &format!("X: y\r\n \r\n{base64}"), "--b", "\r\n--b--\r\n"),
        ),
        (
            "blanks end the header before another type",
            wrapped(&format!("{boundary} \r\nContent-Type: text/plain\r\n"), base64, "--b", ""),
        ),
        ("no line between header and body", wrapped(boundary, &format!("{base64}{coded}\r\n"), "--b", "")),
        (
            "an encoded multipart",
            message(
                &format!("{boundary}{base64}"),
                &base64_lines(format!("--b\r\n{base64}\r\n{coded}\r\n--b--\r\n").as_bytes()),
            ),
        ),
        (
            "a multipart that only says it is encoded",
            wrapped(&format!("{boundary}{base64}"), base64, "--b", "\r\n--b--\r\n"),
        ),
        (
            "a message that only says it is encoded",
            wrapped(&format!("Content-Type: message/rfc822\r\n{base64}"), "", base64.trim_end(), ""),
        ),
        (
            "boundary in single quotes",
            wrapped("Content-Type: multipart/mixed; boundary='b'\r\n", base64, "--b", ""),
        ),
        (
            "no semicolon before the boundary",
            wrapped("Content-Type: multipart/mixed boundary=b\r\n", base64, "--b", ""),
        ),
        (
            "comment before the boundary",
            wrapped("Content-Type: multipart/mixed; boundary=(x)b\r\n", base64, "--b", ""),
        ),
        (
            "backslash in the boundary",
            wrapped("Content-Type: multipart/mixed; boundary=\"b\\c\"\r\n", base64, "--b\\c", ""),
        ),
        (
            "boundary without closing quote",
            wrapped("Content-Type: multipart/mixed; boundary=\"b\r\n", base64, "--b", ""),
        ),
        ("no boundary", wrapped("Content-Type: multipart/mixed\r\n", base64, "--b", "")),
        (
            "another boundary",
            wrapped("Content-Type: multipart/mixed; boundary=c\r\n", base64, "--b", "\r\n--b--\r\n"),
        ),
        (
            "type in an encoded word",
            wrapped("Content-Type: =?us-ascii?Q?multipart/mixed;_boundary=3Db?=\r\n", base64, "--b", ""),
        ),
        (
            "boundary in an encoded word",
            wrapped("Content-Type: multipart/mixed; boundary=\"=?us-ascii?Q?b?=\"\r\n", base64, "--b", ""),
        ),
    ];
    for (case, message) in cases {
        assert!(Found::of_message(&message).decoded(&eicar()), "{case}");
    }
}

/// Each of them is decoded, or told as something that programs would read differently.
#[test]
fn a_disguise_of_headers_is_seen_through_or_refused() {
    let coded = String::from_utf8(base64_lines(&eicar())).unwrap();
    let part = |fields: &str| multipart(&[(fields, coded.clone().into_bytes())]);
    let whole = |fields: &str, body: &str| [fields.as_bytes(), b"\r\n", body.as_bytes()].concat();
    let in_b = format!("--b\r\nContent-Transfer-Encoding: base64\r\n\r\n{coded}\r\n--b--\r\n");
    let cases = [
        ("NUL in the name of a field", part("Content-Transfer-\0Encoding: base64\r\n")),
        ("NUL in a value", part("Content-Transfer-Encoding: base\x0064\r\n")),
        ("CR for a line end", part("X: y\rContent-Transfer-Encoding: base64\r\n")),
        ("CR CR LF for an empty line", whole("Content-Transfer-Encoding: base64\r\n\r\r\nX: y\r\n", &coded)),
        ("encoded word in base64", part("Content-Transfer-Encoding: =?us-ascii?B?YmFzZTY0?=\r\n")),
        ("encoded word quoted", part("Content-Transfer-Encoding: =?us-ascii?Q?base=36=34?=\r\n")),
        ("comment inside the word", part("Content-Transfer-Encoding: base(x)64\r\n")),
        ("folded inside the word", part("Content-Transfer-Encoding: base\r\n 64\r\n")),
        ("a dash inside the word", part("Content-Transfer-Encoding: base-64\r\n")),
        ("an x in front", part("Content-Transfer-Encoding: x-base64\r\n")),
        ("a semicolon and more", part("Content-Transfer-Encoding: base64; x=y\r\n")),
        ("several words", part("Content-Transfer-Encoding: quoted-printable, base64\r\n")),
        ("mark in front of the first field", whole("\u{feff}Content-Transfer-Encoding: base64\r\n", &coded)),
        ("RFC 2231 pieces", whole("Content-Type: multipart/mixed; boundary*0=\"\"; boundary*1=b\r\n", &in_b)),
        (
            "RFC 2231 pieces reversed",
            whole("Content-Type: multipart/mixed; boundary*1=b; boundary*0=\"\"\r\n", &in_b),
        ),
        ("RFC 2231 percent", whole("Content-Type: multipart/mixed; boundary*=us-ascii''%62\r\n", &in_b)),
        (
            "RFC 2231 percent in a piece",
            whole("Content-Type: multipart/mixed; boundary*0*=us-ascii''%62\r\n", &in_b),
        ),
        (
            "RFC 2231 in a character set of its own, and a boundary without parts",
            whole(
                "Content-Type: multipart/mixed; boundary*=unicode_escape''%5Cx62\r\n",
                &format!("--\\x62\r\n\r\nhello\r\n{in_b}--\\x62--\r\n"),
            ),
        ),
        (
            "RFC 2231 percent without a character set",
            whole(
                "Content-Type: multipart/mixed; boundary (x) *0*=%62; boundary*1=\"\"\r\n",
                &format!("--%62\r\n\r\nhello\r\n{in_b}--%62--\r\n"),
            ),
        ),
        (
            "boundary with a blank in front",
            whole("Content-Type: multipart/mixed; boundary=\" b\"\r\n", &in_b),
        ),
        ("boundary with a blank behind", whole("Content-Type: multipart/mixed; boundary=\"b \"\r\n", &in_b)),
        ("tabs around the boundary", whole("Content-Type: multipart/mixed;\tboundary\t=\tb\r\n", &in_b)),
        ("comment in the type", whole("Content-Type: multi(x)part/mixed; boundary=b\r\n", &in_b)),
        ("type in quotes", whole("Content-Type: \"multipart/mixed\"; boundary=b\r\n", &in_b)),
        ("no subtype", whole("Content-Type: multipart; boundary=b\r\n", &in_b)),
        ("boundary before the type", whole("Content-Type: boundary=b; multipart/mixed\r\n", &in_b)),
        ("upper case", whole("CONTENT-TYPE: MULTIPART/MIXED; BOUNDARY=b\r\n", &in_b)),
        (
            "CR before the delimiter",
            whole("Content-Type: multipart/mixed; boundary=b\r\n", &in_b.replacen("--b", "x\r--b", 1)),
        ),
        (
            "LF alone",
            String::from_utf8(attachment("a", &eicar())).unwrap().replace("\r\n", "\n").into_bytes(),
        ),
    ];
    for (case, message) in cases {
        let found = Found::of_message(&message);
        let refused = found.obstacles.contains(&Obstacle::Ambiguous);
        assert!(found.decoded(&eicar()) || refused, "{case}: {:?}", found.obstacles);
    }
}

/// To a strict reader this is one part with a line of junk in it, to a lax one two parts.
#[test]
fn a_delimiter_to_some_readers_alone_hides_nothing_from_the_others() {
    let coded = String::from_utf8(base64_lines(&eicar())).unwrap();
    let (head, tail) = coded.split_at(40);
    let body =
        format!("--.\r\nContent-Transfer-Encoding: base64\r\n\r\n{head}\r\n--.!!\r\n{tail}\r\n--.--\r\n");
    let found =
        Found::of_message(&message("Content-Type: multipart/mixed; boundary=\".\"\r\n", body.as_bytes()));
    assert!(found.decoded(&eicar()));
    let nested =
        "--b\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n\r\nhi\r\n--bb--\r\n--b--\r\n";
    let found =
        Found::of_message(&message("Content-Type: multipart/mixed; boundary=b\r\n", nested.as_bytes()));
    assert_eq!(found.obstacles, []);
}

#[test]
fn base64_that_is_odd_in_two_ways_is_read_in_each_combination() {
    let virus = eicar();
    let coded = String::from_utf8(base64_lines(&virus)).unwrap();
    let (head, tail) = coded.split_at(18);
    let url = |text: &str| text.replace('+', "-").replace('/', "_");
    let cases = [
        format!("{}={}", url(head), url(tail)),
        format!("A\r\n{}", url(&coded)),
        format!("!!!!{head}={tail}"),
        format!("AAA!{}", url(&coded)),
    ];
    for body in cases {
        let found = Found::of_message(&message("Content-Transfer-Encoding: base64\r\n", body.as_bytes()));
        assert!(found.decoded(&virus), "{body}");
    }
}

/// The tar header stands in its place only where a line end is LF, or `==` one octet.
#[test]
fn an_archive_in_quoted_printable_is_opened_under_each_reading() {
    let archive = tar(&[("x\ny=z.com", &eicar())]);
    let coded = |octet: &u8, line_end: &str, equals: &str| match octet {
        b'\n' => line_end.to_owned(),
        b'=' => equals.to_owned(),
        octet => format!("={octet:02X}=\r\n"),
    };
    for (case, line_end, equals) in [
        ("LF for a line end", "\r\n", "=3D"),
        ("one for two", "=0A", "=="),
        ("blanks before a line end", "  \r\n", "=3D"),
        ("all of it", " \r\n", "=="),
    ] {
        let body: String = archive.iter().map(|octet| coded(octet, line_end, equals)).collect();
        let fields = "Content-Type: application/x-tar\r\nContent-Transfer-Encoding: quoted-printable\r\n";
        let found = Found::of_message(&multipart(&[(fields, body.into_bytes())]));
        assert!(found.has(&eicar()), "{case}");
    }
}

#[test]
fn every_container_is_opened_wherever_it_stands() {
    let virus = eicar();
    let inner = attachment("virus.com", &virus);
    let containers = [
        ("tar in xz", xz(&tar(&[("a.com", &virus)]))),
        ("zip in 7z", seven_zip(&[("a.zip", &zip(&[("a.com", &virus)]))])),
        ("TNEF", tnef("a.com", &virus, &[0; 4])),
        ("message in zip", zip(&[("mail.eml", &inner)])),
        ("message in TNEF", tnef("mail.eml", &inner, &[0; 4])),
        ("signed", cms(2, &inner)),
        ("uuencode in zip", zip(&[("a.txt", &uuencode("a.com", &virus))])),
        ("zip in uuencode", uuencode("a.zip", &zip(&[("a.com", &virus)]))),
        ("a message that no one calls one", inner.clone()),
    ];
    for (case, octets) in containers {
        let found = Found::of_message(&attachment("file", &octets));
        assert!(found.has(&virus), "{case}");
        assert_eq!(found.obstacles, [], "{case}");
        let forwarded = multipart(&[("Content-Type: message/global\r\n", attachment("file", &octets))]);
        assert!(Found::of_message(&forwarded).has(&virus), "{case}, forwarded");
    }
}

#[test]
fn a_header_that_goes_on_behind_a_line_of_blanks_may_end_before_a_stray_line() {
    let body = [&b"no field\r\n"[..], &base64_lines(&eicar())].concat();
    let head = "Subject: x\r\n \r\nContent-Transfer-Encoding: base64\r\n";
    let mail = [head.as_bytes(), &body, b"\r\n\r\nend"].concat();
    assert!(Found::of_message(&mail).decoded(&eicar()));
}

#[test]
fn uuencode_is_found_in_any_text_and_between_the_parts() {
    let text = uuencode("a.com", &eicar());
    let quoted = String::from_utf8(text.clone()).unwrap().replace('=', "=3D").into_bytes();
    let preamble = [&text[..], b"\r\n--b\r\n\r\nhi\r\n--b--\r\n"].concat();
    for (case, message) in [
        ("plain", message("", &text)),
        ("by its own encoding", message("Content-Transfer-Encoding: x-uuencode\r\n", &text)),
        ("quoted", message("Content-Transfer-Encoding: quoted-printable\r\n", &quoted)),
        ("in base64", message("Content-Transfer-Encoding: base64\r\n", &base64_lines(&text))),
        ("before the parts", message("Content-Type: multipart/mixed; boundary=b\r\n", &preamble)),
    ] {
        assert!(Found::of_message(&message).has(&eicar()), "{case}");
    }
}

#[test]
fn what_is_not_all_there_or_locked_is_told() {
    for (fields, obstacle) in [
        ("message/partial; id=x; number=1; total=2", Obstacle::Fragment),
        ("message/(x)partial; id=x; number=1; total=2", Obstacle::Fragment),
        ("message/external-body; access-type=URL; URL=\"http://example.org/\"", Obstacle::External),
        ("multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b", Obstacle::Encrypted),
    ] {
        let found = Found::of_message(&message(&format!("Content-Type: {fields}\r\n"), b"half"));
        assert_eq!(found.obstacles, [obstacle], "{fields}");
    }
    let sealed = attachment("smime.p7m", &cms(3, b"secret"));
    assert_eq!(Found::of_message(&sealed).obstacles, [Obstacle::Encrypted]);
}
