//! Lengths, numbers and times that peers choose.

use std::thread;
use std::time::Duration;

use gatepost_tests::mail;

use super::arena::Arena;
use super::table::{Row, row, run};

pub const ROWS: &[Row] = &[
    row!(
        "CVE-2005-1513, CVE-2005-1514",
        "qmail on 64 bits",
        "Commands of gigabytes, with and without a space, led integers and indices astray.",
        a_line_without_end_takes_no_memory_and_ends_its_session,
    ),
    row!(
        "CVE-2005-1515, CVE-1999-0144, CVE-2020-28017",
        "qmail, Exim 4.94",
        "Recipients without number exhausted memory, or the integer that counted them.",
        recipients_are_counted_and_limited,
    ),
    row!(
        "CVE-1999-0284, CVE-1999-1012, CVE-2019-16928",
        "IMail, MDaemon, Exchange, Domino, Exim 4.92",
        "A long HELO or EHLO overflowed a buffer.",
        a_long_hello_is_refused,
    ),
    row!(
        "CVE-2006-0058",
        "sendmail 8.13.5",
        "A time-out in the middle of a mail jumped out of code that was changing what the next mail relied on.",
        a_time_out_within_a_mail_leaves_nothing_for_the_next,
    ),
];

#[test]
fn resources() {
    run(
        ROWS,
        Arena::open(
            "[limits]\nerrors = 200\nrecipients = 100\nmessage = \"1 MiB\"\ndata_idle_timeout = \"2s\"",
        ),
    );
}

fn a_line_without_end_takes_no_memory_and_ends_its_session(arena: &Arena) {
    for start in [&b""[..], b"MAIL FROM:<", b"RCPT ", b"AUTH PLAIN ", b"\x7f"] {
        let mut smtp = arena.smtp();
        smtp.send(start);
        let chunk = vec![b'A'; 256 * 1024];
        let mut sent = 0;
        // Twice the largest mail is drained, so that a peer hears why; but no gigabytes.
        while smtp.wire().try_send(&chunk).is_ok() {
            sent += chunk.len();
            assert!(sent < 512 << 20, "no end behind {}", start.escape_ascii());
        }
        let said = smtp.rest();
        assert!(!said.contains("250"), "{said:?}");
    }
}

fn recipients_are_counted_and_limited(arena: &Arena) {
    let mut smtp = arena.smtp();
    smtp.say("MAIL FROM:<someone@remote.example>").must("250 2.1.0");
    smtp.send("RCPT TO:<me@localhost>\r\n".repeat(1_000).as_bytes());
    let codes: Vec<u16> = (0..1_000).map_while(|_| smtp.try_reply().ok().map(|reply| reply.code)).collect();
    let accepted = codes.iter().filter(|code| **code == 250).count();
    assert!((1..=100).contains(&accepted), "{accepted} recipients");
    assert!(codes.iter().all(|code| matches!(code, 250 | 452 | 421)), "{codes:?}");
}

fn a_long_hello_is_refused(arena: &Arena) {
    let mut smtp = arena.smtp();
    for verb in ["HELO", "EHLO", "ehlo"] {
        for length in [256, 512, 1_024, 4_096, 65_536] {
            let reply = smtp.say(&format!("{verb} {}", "A".repeat(length)));
            assert!(matches!(reply.code, 500 | 501), "{verb} {length}: {reply:?}");
        }
        smtp.say(&format!("{verb} {}", "../A/".repeat(90))).must("501 5.");
    }
    smtp.quit();
}

fn a_time_out_within_a_mail_leaves_nothing_for_the_next(arena: &Arena) {
    let mut stalled: Vec<_> = [&b"Subject: half"[..], b"From: <", b"Subject: x\r\n\r\nx\r\n."]
        .into_iter()
        .map(|start| {
            let mut smtp = arena.smtp();
            smtp.begin_data("someone@remote.example", &["me@localhost"]);
            smtp.send(start);
            smtp
        })
        .collect();
    thread::sleep(Duration::from_millis(100));
    for smtp in &mut stalled {
        smtp.reply().must("421 4.4.2");
        assert_eq!(smtp.rest(), "");
    }
    let content = mail::small("after-the-time-out");
    mail::assert_same_octets(&arena.deliver(&content), &content);
}
