//! Verbs that servers speak among themselves, or that nobody should.

use super::arena::Arena;
use super::table::{Row, row, run};

pub const ROWS: &[Row] = &[
    row!(
        "CVE-2003-0714, MS03-046",
        "Exchange 5.5, 2000",
        "XEXCH50 was taken from strangers, and its declared size allocated and read with a sign.",
        xexch50_of_a_stranger_is_refused_whatever_its_size,
    ),
    row!(
        "CVE-2005-0560, MS05-021",
        "Exchange 2000, 2003",
        "X-LINK2STATE was taken from strangers; a chunk out of order and over 520 octets overflowed the heap.",
        link_state_of_a_stranger_is_refused_in_and_out_of_order,
    ),
    row!(
        "CVE-1999-0945, KB188341",
        "Exchange 5.0, 5.5",
        "Certain sequences of AUTH or XAUTH commands overflowed a buffer and stopped the service.",
        xauth_is_no_verb_and_auth_is_bounded,
    ),
    row!(
        "CVE-1999-0095, CVE-1999-0145",
        "sendmail",
        "DEBUG and WIZ, left switched on, gave strangers commands as root.",
        debug_and_wiz_are_no_verbs,
    ),
    row!(
        "CVE-2025-26794",
        "Exim 4.98",
        "The argument of ETRN was put into an SQL statement.",
        etrn_of_a_stranger_is_refused_before_its_argument,
    ),
    row!(
        "CVE-2002-0698, MS02-037",
        "Exchange 5.5",
        "A long host name put into the reply to EHLO overflowed a buffer.",
        the_reply_to_ehlo_says_the_same_to_every_name,
    ),
];

#[test]
fn verbs() {
    run(ROWS, Arena::open("[limits]\nerrors = 200"));
}

fn xexch50_of_a_stranger_is_refused_whatever_its_size(arena: &Arena) {
    let mut smtp = arena.smtp();
    assert!(!smtp.say("EHLO scanner.example").lines.iter().any(|line| line.contains("XEXCH50")));
    for line in XEXCH50 {
        smtp.say(line).must("504 5.7.0 Need to authenticate first");
    }
    smtp.begin("someone@remote.example", &["me@localhost"]);
    for line in XEXCH50 {
        smtp.say(line).must("504 5.7.0 Need to authenticate first");
    }
    // The public exploit sends its octets without waiting for the 354: here they are one line, and too long.
    let mut octets = b"XEXCH50 33554432 2\r\n".to_vec();
    octets.resize(44_000, b'A');
    octets.extend_from_slice(b"\r\nNOOP\r\n");
    smtp.send(&octets);
    smtp.reply().must("504 5.7.0 Need to authenticate first");
    smtp.reply().must("500 5.5.2");
    smtp.reply().must("250 2.0.0");
}

const XEXCH50: [&str; 8] = [
    "XEXCH50 2 2",
    "xexch50 -1 2",
    "XEXCH50 33554432 2",
    "XEXCH50 4294967296 2",
    "XEXCH50 99999999999999999999 2",
    "XEXCH50 0x10 2",
    "XEXCH50 2336 3 4",
    "XEXCH50",
];

fn link_state_of_a_stranger_is_refused_in_and_out_of_order(arena: &Arena) {
    let mut smtp = arena.smtp();
    let data = "A".repeat(900);
    for line in [
        format!("X-LINK2STATE CHUNK={data}"),
        format!("X-LINK2STATE LAST CHUNK={{00000384}}{data}"),
        "X-LINK2STATE FIRST CHUNK={0000000A}0123456789".to_owned(),
        format!("X-LINK2STATE NEXT CHUNK={{FFFFFFFF}}{data}"),
        "X-LINK2STATE".to_owned(),
    ] {
        smtp.say(&line).must("504 5.7.0");
    }
    smtp.say(&format!("X-LINK2STATE FIRST CHUNK={}", "A".repeat(2_000))).must("500 5.5.2");
    smtp.quit();
}

fn xauth_is_no_verb_and_auth_is_bounded(arena: &Arena) {
    let mut smtp = arena.server.smtp_in_tls();
    let long = "A".repeat(20_000);
    for verb in ["XAUTH", "AUTHINFO"] {
        for argument in ["", "LOGIN", &long[..400]] {
            smtp.say(&format!("{verb} {argument}")).must("500 5.5.1");
        }
        smtp.say(&format!("{verb} {long}")).must("500 5.5.2");
    }
    smtp.say(&format!("AUTH {}", &long[..8_000])).must("5");
    smtp.say(&format!("AUTH LOGIN {long}")).must("500 5.5.");
    smtp.say("AUTH LOGIN").must("334");
    smtp.say(&long).must("500 5.5.6");
    smtp.say("NOOP").must("250 2.0.0");
}

fn debug_and_wiz_are_no_verbs(arena: &Arena) {
    let mut smtp = arena.smtp();
    for line in ["DEBUG", "debug 1", "WIZ", "KILL", "SHOWQ", "VERB", "ONEX"] {
        smtp.say(line).must("500 5.5.1");
    }
    // What followed DEBUG made a program the recipient.
    smtp.say("MAIL FROM:</dev/null>").must("501 5.");
    smtp.say("RCPT TO:<\"|sed '1,/^$/d' | sh\">").must("503 5.5.1");
    smtp.quit();
}

fn etrn_of_a_stranger_is_refused_before_its_argument(arena: &Arena) {
    let mut smtp = arena.smtp();
    assert!(!smtp.say("EHLO client.example").offers("ETRN"));
    let answers =
        ["ETRN remote.example", "ETRN #',1); DROP TABLE tbl; /*", "ETRN @x\"--", "ETRN", "ATRN a,b", "TURN"]
            .map(|line| smtp.say(line).lines[0].split(" [").next().unwrap_or_default().to_owned());
    assert!(
        answers[..4].iter().all(|answer| *answer == answers[0] && answer.starts_with("5.7.0")),
        "{answers:?}"
    );
    smtp.quit();
}

fn the_reply_to_ehlo_says_the_same_to_every_name(arena: &Arena) {
    let mut smtp = arena.smtp();
    let usual = smtp.say("EHLO client.example");
    let label = "a".repeat(63);
    let long = [label.as_str(), &label, &label, &label[..61]].join(".");
    assert_eq!(smtp.say(&format!("EHLO {long}")), usual);
    for reply in [usual, smtp.say(&format!("HELO {long}"))] {
        assert!(reply.lines.iter().all(|line| line.len() < 100 && !line.contains("aaa")), "{reply:?}");
    }
    smtp.say(&format!("EHLO {long}.{label}")).must("501 5.");
    smtp.quit();
}
