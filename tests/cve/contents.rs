//! What stands in a mail: it is looked into, and otherwise carried as it came.

use std::time::{Duration, Instant};

use gatepost_tests::mail;

use super::arena::Arena;
use super::table::{Row, row, run};

pub const ROWS: &[Row] = &[
    row!(
        "CVE-2002-1337",
        "sendmail 8.12.7",
        "An address field of many angle brackets overflowed a static buffer while it was made pretty.",
        address_fields_are_carried_as_they_came,
    ),
    row!(
        "CVE-2004-0400",
        "Exim 4.32",
        "White space behind the colon of a header field overflowed the stack where headers were checked.",
        white_space_in_headers_is_carried_as_it_came,
    ),
    row!(
        "CVE-2020-28025",
        "Exim 4.94",
        "A body hash in a DKIM signature was compared over the length of the other, and memory leaked into the log.",
        hashes_in_signatures_are_carried_as_they_came,
    ),
    row!(
        "CVE-2010-4344",
        "Exim 4.69",
        "The headers of a mail refused for its size overflowed the buffer of the log line about it.",
        a_mail_refused_for_its_size_may_have_any_header,
    ),
    row!(
        "CVE-2020-28020",
        "Exim 4.91",
        "Continuation lines carried the length of a header past the largest integer.",
        a_header_section_has_a_limit_however_it_is_folded,
    ),
    row!(
        "CVE-2006-1173, CVE-2026-26312",
        "sendmail 8.13.6, Stalwart",
        "Deeply nested parts exhausted stack or memory.",
        nesting_beyond_the_limit_is_refused,
    ),
    row!(
        "CVE-2024-39929",
        "Exim 4.97",
        "A file name over several lines was not put together, and passed the check of attachments.",
        an_attachment_is_scanned_whatever_its_name_looks_like,
    ),
    row!(
        "CVE-2019-12625",
        "ClamAV 0.101.2",
        "A zip archive whose files shared their data kept the scanner busy for hours.",
        archives_that_unpack_beyond_reason_are_refused_soon,
    ),
    row!(
        "CVE-2006-0002, CVE-2009-0098, CVE-2006-0027, MS06-003, MS09-003, MS06-019",
        "Exchange 2000 to 2007",
        "Wrong lengths in TNEF and doubled properties in calendars were believed while mail was converted.",
        broken_tnef_is_refused_and_calendars_are_carried_as_they_came,
    ),
];

#[test]
fn contents() {
    run(ROWS, Arena::open("[limits]\nmessage = \"4 MiB\""));
}

fn address_fields_are_carried_as_they_came(arena: &Arena) {
    for address in [
        "<>".repeat(400),
        "(".repeat(400) + &")".repeat(400),
        "<".repeat(800),
        format!("{}@b", "<><>(".repeat(300)),
    ] {
        let content =
            format!("From: {address}\r\nTo: {address}\r\nReply-To: {address}\r\n\r\nx\r\n").into_bytes();
        mail::assert_same_octets(&arena.deliver(&content), &content);
    }
}

fn white_space_in_headers_is_carried_as_it_came(arena: &Arena) {
    let blank = " ".repeat(5_000);
    let content =
        format!("From:{blank}a@b.example\r\nTo:{blank}\r\n\t{blank}x\r\nSubject :{blank}\r\n\r\nx\r\n")
            .into_bytes();
    mail::assert_same_octets(&arena.deliver(&content), &content);
}

fn hashes_in_signatures_are_carried_as_they_came(arena: &Arena) {
    for hash in ["", "=", "AA==", &"A".repeat(4_000)] {
        let content = format!(
            "DKIM-Signature: v=1; a=rsa-sha256; d=b.example; s=x; h=From; bh={hash}; b={hash}\r\nFrom: a@b.example\r\n\r\nx\r\n"
        )
        .into_bytes();
        mail::assert_same_octets(&arena.deliver(&content), &content);
    }
}

fn a_mail_refused_for_its_size_may_have_any_header(arena: &Arena) {
    let mut content = Vec::new();
    for number in 0..50 {
        content.extend_from_slice(format!("Header{number:04}: {}\r\n", "HeaderX".repeat(1_500)).as_bytes());
    }
    content.extend_from_slice(b"\r\n");
    content.resize(5 * 1024 * 1024, b'x');
    let mut smtp = arena.smtp();
    for _ in 0..2 {
        smtp.mail("someone@remote.example", &["me@localhost"], &content).must("552 5.3.4");
    }
    smtp.quit();
}

fn a_header_section_has_a_limit_however_it_is_folded(arena: &Arena) {
    let mut smtp = arena.smtp();
    for line in ["X: x\r\n", " folded on\r\n", "\t\r\n"] {
        let header =
            [b"Subject: long\r\n".as_slice(), &line.repeat(2 * 1024 * 1024 / line.len()).into_bytes()]
                .concat();
        let content = [header.as_slice(), b"\r\nx\r\n"].concat();
        let reply = smtp.mail("someone@remote.example", &["me@localhost"], &content);
        assert!(matches!(reply.code, 552 | 554), "{line:?}: {reply:?}");
    }
    smtp.quit();
}

fn nesting_beyond_the_limit_is_refused(arena: &Arena) {
    let parts: String = (0..3_000)
        .map(|level| format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n"))
        .collect();
    let forwarded = "Content-Type: message/rfc822\r\n\r\n".repeat(3_000);
    let same = format!("{}x\r\n", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n".repeat(3_000));
    let wide =
        format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--b\r\n\r\nx\r\n".repeat(20_000));
    for content in [parts, forwarded, same, wide] {
        let start = Instant::now();
        let mut smtp = arena.smtp();
        let reply = smtp.mail(
            "someone@remote.example",
            &["me@localhost"],
            format!("MIME-Version: 1.0\r\n{content}").as_bytes(),
        );
        assert!((550..560).contains(&reply.code), "{:?}: {reply:?}", &content[..60]);
        assert!(start.elapsed() < SCAN, "{:?}", start.elapsed());
    }
}

fn an_attachment_is_scanned_whatever_its_name_looks_like(arena: &Arena) {
    let attachment = |disposition: &str| {
        format!(
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
             Content-Type: application/octet-stream\r\nContent-Disposition: attachment;{disposition}\r\n\r\n{}\r\n--b--\r\n",
            mail::eicar()
        )
    };
    let mut smtp = arena.smtp();
    for disposition in [
        " filename*0=\"in\";\r\n filename*1=\"voice.e\";\r\n filename*2=\"xe\"",
        "\r\n filename*0*=UTF-8''invoice%2E;\r\n\tfilename*1*=exe",
        "\r\n\tfilename=\r\n \"invoice.exe\"",
        " filename=",
        " filename=\"unclosed",
    ] {
        let reply =
            smtp.mail("someone@remote.example", &["me@localhost"], attachment(disposition).as_bytes());
        assert!(reply.is("554 5.7.1"), "{disposition}: {reply:?}");
    }
    smtp.quit();
}

fn archives_that_unpack_beyond_reason_are_refused_soon(arena: &Arena) {
    let zeros = mail::zip("zeros", &vec![0; 48 * 1024 * 1024]);
    let nested = (0..8).fold(zeros.clone(), |inside, level| mail::zip(&format!("{level}.zip"), &inside));
    for archive in [zeros.clone(), nested, with_shared_data(&zeros, 2_000)] {
        let start = Instant::now();
        let mut smtp = arena.smtp();
        let content = mail::with_attachment("bomb", "a.zip", &archive);
        let reply = smtp.mail("someone@remote.example", &["me@localhost"], &content);
        assert!((550..560).contains(&reply.code), "{reply:?}");
        assert!(start.elapsed() < SCAN, "{:?}", start.elapsed());
    }
}

/// A zip archive of one file (APPNOTE 4.3) whose directory names that file many times.
fn with_shared_data(archive: &[u8], times: u16) -> Vec<u8> {
    let position =
        |signature: &[u8]| archive.windows(4).rposition(|window| window == signature).expect("a zip");
    let (directory, end) = (position(b"PK\x01\x02"), position(b"PK\x05\x06"));
    let mut octets = archive[..directory].to_vec();
    let entry = &archive[directory..end];
    for _ in 0..times {
        octets.extend_from_slice(entry);
    }
    let mut end = archive[end..].to_vec();
    end[8..10].copy_from_slice(&times.to_le_bytes());
    end[10..12].copy_from_slice(&times.to_le_bytes());
    let length = u32::try_from(entry.len()).expect("small") * u32::from(times);
    end[12..16].copy_from_slice(&length.to_le_bytes());
    octets.extend_from_slice(&end);
    octets
}

fn broken_tnef_is_refused_and_calendars_are_carried_as_they_came(arena: &Arena) {
    let tnef =
        [b"\x78\x9f\x3e\x22\x01\x00\x01\x90\x08\x00".as_slice(), &[0xff; 4], b"\x04\x00", &[0x41; 600]]
            .concat();
    let content = mail::with_attachment("tnef", "winmail.dat", &tnef);
    let reply = arena.smtp().mail("someone@remote.example", &["me@localhost"], &content);
    assert_eq!(reply.code, 554, "{reply:?}");
    let event =
        format!("BEGIN:VEVENT\r\nX-MICROSOFT-CDO-MODPROPS:{}\r\nEND:VEVENT\r\n", "BEGIN,".repeat(100));
    let content = format!(
        "MIME-Version: 1.0\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\n{event}{event}END:VCALENDAR\r\n"
    )
    .into_bytes();
    mail::assert_same_octets(&arena.deliver(&content), &content);
}

/// As long as a session waits for a verdict.
const SCAN: Duration = Duration::from_secs(20);
