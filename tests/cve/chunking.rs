//! Where a body begins and ends.

use gatepost_tests::mail;

use super::arena::Arena;
use super::table::{Row, row, run};

pub const ROWS: &[Row] = &[
    row!(
        "CVE-2002-0055, MS02-012",
        "Windows 2000 SMTP",
        "A malformed BDAT stopped the service.",
        a_malformed_bdat_ends_its_session_alone,
    ),
    row!(
        "CVE-2017-16943",
        "Exim 4.88, 4.89",
        "Binary nonsense behind a BDAT was read into memory that was free by then.",
        nonsense_behind_a_chunk_is_refused_line_by_line,
    ),
    row!(
        "CVE-2017-16944",
        "Exim 4.88, 4.89",
        "A dot within a chunk was taken for the end of the mail, and the reader never came back.",
        a_dot_within_a_chunk_is_content,
    ),
    row!(
        "CVE-2020-28019",
        "Exim 4.94",
        "Behind a BDAT error the reader for chunks stayed in place and called itself without end.",
        a_refused_chunk_leaves_nothing_behind_for_the_next_body,
    ),
    row!(
        "CVE-2020-28024",
        "Exim 4.94",
        "The end of the connection was pushed back as if it were an octet, in front of the buffer.",
        a_connection_may_end_behind_any_octet,
    ),
    row!(
        "CVE-2023-51764, CVE-2023-51765, CVE-2023-51766, CVE-2023-51747, CVE-2024-27305",
        "Postfix, sendmail, Exim, James, aiosmtpd",
        "A line ended by a bare LF or CR around the dot ended the mail, and commands of its text were executed.",
        a_mail_ends_at_crlf_dot_crlf_alone,
    ),
];

#[test]
fn bodies_and_chunks() {
    run(ROWS, Arena::open(""));
}

const SMUGGLED: &[u8] =
    b"MAIL FROM:<evil@remote.example>\r\nRCPT TO:<me@localhost>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n";

fn a_malformed_bdat_ends_its_session_alone(arena: &Arena) {
    for argument in [
        "",
        " ",
        " LAST",
        " -1",
        " -1 LAST",
        " +5",
        " 0x5",
        " 5x",
        " 5 LAST LAST",
        " 5 FIRST",
        " 1e3",
        " 5,5",
        " 18446744073709551616 LAST",
        " 99999999999999999999999999999999",
        " %n%n",
        " \u{7f}",
    ] {
        let mut smtp = arena.smtp();
        smtp.begin("someone@remote.example", &["me@localhost"]);
        smtp.send(&[format!("BDAT{argument}\r\n").as_bytes(), SMUGGLED].concat());
        smtp.reply().must("501 5.5.4");
        assert_eq!(smtp.rest(), "", "closed behind BDAT{argument:?}");
    }
}

fn nonsense_behind_a_chunk_is_refused_line_by_line(arena: &Arena) {
    let mut smtp = arena.smtp();
    smtp.begin("someone@remote.example", &["me@localhost"]);
    smtp.bdat(b"0123456789", false).must("250 2.0.0");
    smtp.send(&[b"p".repeat(30_000).as_slice(), b"\r\n"].concat());
    smtp.reply().must("500 5.5.2");
    smtp.send(b"BDAT \x7f\x80\xff\r\n");
    smtp.reply().must("501 5.5.4");
    assert_eq!(smtp.rest(), "");
}

fn a_dot_within_a_chunk_is_content(arena: &Arena) {
    let content = [b"Subject: dots\r\n\r\n.\r\n..\r\n.\r\n".as_slice(), SMUGGLED].concat();
    let (first, second) = content.split_at(18);
    let mut smtp = arena.smtp();
    smtp.begin("someone@remote.example", &["you@localhost"]);
    smtp.bdat(first, false).must("250 2.0.0");
    smtp.bdat(second, true).must("250 2.0.0");
    smtp.quit();
    arena.expect_mail();
    mail::assert_same_octets(mail::below_trace(&arena.collect()), &content);
}

fn a_refused_chunk_leaves_nothing_behind_for_the_next_body(arena: &Arena) {
    let mut smtp = arena.smtp();
    smtp.bdat(SMUGGLED, true).must("503 5.5.1");
    smtp.say("MAIL FROM:<someone@remote.example>").must("250 2.1.0");
    smtp.bdat(SMUGGLED, false).must("503 5.5.1");
    smtp.say("RSET").must("250 2.0.0");
    let content = mail::small("behind-a-refused-chunk");
    smtp.mail("someone@remote.example", &["you@localhost"], &content).must("250 2.0.0");
    smtp.quit();
    arena.expect_mail();
    mail::assert_same_octets(mail::below_trace(&arena.collect()), &content);
}

fn a_connection_may_end_behind_any_octet(arena: &Arena) {
    let octets = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<me@localhost>\r\nBDAT 12 LAST\r\nSubject: x\r";
    for at in 1..=octets.len() {
        let mut smtp = arena.smtp();
        smtp.send(&octets[..at]);
        smtp.wire().finish_sending();
        let said = smtp.rest();
        assert!(!said.contains("354") && !said.contains("2.0.0"), "cut at {at}: {said:?}");
    }
}

/// Every published variant, split everywhere, is in `tests/smuggling`.
fn a_mail_ends_at_crlf_dot_crlf_alone(arena: &Arena) {
    for end in [&b"\n.\n"[..], b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\r\n\0.\r\n"] {
        let mut smtp = arena.smtp();
        smtp.begin_data("someone@remote.example", &["me@localhost"]);
        smtp.send(&[b"Subject: outer\r\n\r\nx", end, SMUGGLED].concat());
        smtp.reply().must("554 5.6.0");
        assert_eq!(smtp.rest(), "", "closed behind {}", end.escape_ascii());
    }
}
