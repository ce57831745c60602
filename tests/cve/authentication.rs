//! AUTH, and the passwords of POP3.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use gatepost_tests::pop3::Pop3;
use gatepost_tests::scram::{self, Binding};
use gatepost_tests::smtp::{Smtp, plain_response};
use gatepost_tests::user::User;

use super::arena::Arena;
use super::table::{Row, row, run};

pub const ROWS: &[Row] = &[
    row!(
        "CVE-2018-6789",
        "Exim 4.90",
        "Base64 whose length was no multiple of four wrote one octet behind its buffer.",
        base64_of_every_length_is_whole_or_refused,
    ),
    row!(
        "CVE-2011-1720",
        "Postfix 2.8",
        "After one mechanism had failed, the next went on with its state, in memory that was free by then.",
        each_attempt_begins_with_nothing,
    ),
    row!(
        "CVE-2023-42114, CVE-2023-42116, CVE-2020-12783",
        "Exim 4.96, 4.93",
        "Lengths and offsets in NTLM messages were believed.",
        ntlm_is_no_mechanism,
    ),
    row!(
        "CVE-2023-42115",
        "Exim 4.96",
        "EXTERNAL with too many fields wrote behind an array.",
        external_is_no_mechanism_where_nobody_has_a_certificate,
    ),
    row!(
        "CVE-2020-28023",
        "Exim 4.94",
        "AUTH without a mechanism read in front of its buffer, and showed what stood there.",
        auth_without_a_mechanism_is_refused,
    ),
    row!(
        "CVE-2000-0990",
        "cmd5checkpw 0.21",
        "An unknown user crashed the password check.",
        an_unknown_user_is_a_wrong_password,
    ),
    row!(
        "CVE-2026-27651",
        "nginx 1.29",
        "A second attempt with CRAM-MD5 or APOP read through a null pointer.",
        cram_md5_and_apop_are_refused_however_often,
    ),
    row!(
        "CVE-1999-0006, CVE-1999-0822",
        "qpopper 2.4, 3.0",
        "Long arguments of PASS and AUTH overflowed buffers.",
        long_lines_of_pop3_are_refused,
    ),
];

#[test]
fn authentication() {
    run(ROWS, Arena::open("[limits]\nerrors = 200"));
}

fn base64_of_every_length_is_whole_or_refused(arena: &Arena) {
    let mut smtp = arena.server.smtp_in_tls();
    for length in (1..=9).chain(1_019..=1_027).chain(8_189..=8_195).filter(|length| length % 4 != 0) {
        smtp.say(&format!("AUTH PLAIN {}", "A".repeat(length))).must("501 5.5.2");
        // Three failed exchanges end a session.
        smtp = arena.server.smtp_in_tls();
        smtp.say("AUTH LOGIN").must("334");
        smtp.say(&"B".repeat(length)).must("501 5.5.2");
    }
}

fn each_attempt_begins_with_nothing(arena: &Arena) {
    let you = arena.you();
    let mut smtp = arena.server.smtp_in_tls();
    let first = scram::Client::new(&you.name, "wrong", &Binding::None);
    smtp.say(&format!("AUTH SCRAM-SHA-256 {}", BASE64.encode(first.first_message()))).must("334");
    smtp.say("*").must("501");
    // A PLAIN response is nothing to LOGIN, and the name of the first attempt is forgotten.
    smtp.say("AUTH LOGIN").must("334");
    smtp.say(&BASE64.encode(&you.name)).must("334");
    smtp.say("*").must("501");
    smtp.say(&format!("AUTH LOGIN {}", BASE64.encode("nobody@localhost"))).must("334");
    smtp.say(&BASE64.encode(&you.password)).must("535 5.7.8");
    smtp.say("MAIL FROM:<you@localhost>").must("530 5.7.0");
    smtp.quit();
    let mut smtp = arena.server.smtp_in_tls();
    smtp.say("AUTH PLAIN").must("334");
    smtp.say("*").must("501");
    smtp.auth(you);
    smtp.quit();
}

fn ntlm_is_no_mechanism(arena: &Arena) {
    // The first message, with flags, lengths and offsets that point far behind it.
    let message = [b"NTLMSSP\0\x01\0\0\0\x07\x82\x08\xa2".as_slice(), &[0xff; 24]].concat();
    let mut smtp = arena.server.smtp_in_tls();
    for mechanism in ["NTLM", "SPA", "GSS-SPNEGO"] {
        smtp.say(&format!("AUTH {mechanism}")).must("504 5.5.4");
        smtp.say(&format!("AUTH {mechanism} {}", BASE64.encode(&message))).must("504 5.5.4");
    }
    smtp.quit();
}

fn external_is_no_mechanism_where_nobody_has_a_certificate(arena: &Arena) {
    let fields = BASE64.encode("\0a".repeat(500));
    let mut smtp = arena.server.smtp_in_tls();
    for response in ["", "=", "bWVAbG9jYWxob3N0", &fields] {
        smtp.say(&format!("AUTH EXTERNAL {response}")).must("50");
        smtp.say("MAIL FROM:<me@localhost> AUTH=me@localhost").must("530 5.7.0");
    }
    // PLAIN has three fields, and neither more nor fewer.
    let mut smtp = arena.server.smtp_in_tls();
    let reply = smtp.say(&format!("AUTH PLAIN {fields}"));
    assert!(matches!(reply.code, 501 | 535), "{reply:?}");
}

fn auth_without_a_mechanism_is_refused(arena: &Arena) {
    let mut smtp = arena.server.smtp_in_tls();
    for argument in ["", " ", "  ", " \t", " =", "  PLAIN", " -", " *"] {
        let reply = smtp.say(&format!("AUTH{argument}"));
        assert!(matches!(reply.code, 500 | 501 | 504), "{argument:?}: {reply:?}");
        assert!(reply.lines.iter().all(|line| line.is_ascii() && line.len() < 100), "{reply:?}");
    }
    smtp.quit();
}

fn an_unknown_user_is_a_wrong_password(arena: &Arena) {
    let unknown = User::random("nobody@localhost");
    let mut smtp = arena.server.smtp_in_tls();
    for name in ["nobody@localhost", "", "me@localhost\u{1}", "' OR 1=1 --"] {
        smtp.say(&format!("AUTH PLAIN {}", plain_response("", name, &unknown.password))).must("53");
        smtp = arena.server.smtp_in_tls();
    }
    smtp.auth_scram(&unknown, &Binding::None).must("535 5.7.8");
    smtp.quit();
}

fn cram_md5_and_apop_are_refused_however_often(arena: &Arena) {
    let mut smtp = Smtp::connect_tls(arena.server.ports.implicit, arena.server.trust());
    smtp.say("EHLO client.example").must("250");
    let mut pop3 = Pop3::connect_tls(arena.server.ports.pop3s, arena.server.trust());
    for _ in 0..3 {
        smtp.say("AUTH CRAM-MD5").must("504 5.5.4");
        let answer = pop3.say("APOP me@localhost c4c9334bac560ecc979e58001b3e22fb");
        assert!(answer.starts_with("-ERR"), "{answer}");
    }
    pop3.login(arena.you());
    pop3.quit();
    smtp.quit();
}

fn long_lines_of_pop3_are_refused(arena: &Arena) {
    let long = "x".repeat(70_000);
    for line in [format!("PASS {long}"), format!("AUTH {long}"), format!("USER {long}"), long] {
        let mut pop3 = Pop3::connect_tls(arena.server.ports.pop3s, arena.server.trust());
        pop3.must("USER you@localhost");
        let answer = pop3.say(&line);
        assert!(answer.starts_with("-ERR"), "{answer}");
    }
    let mut pop3 = arena.server.pop3_as(arena.you());
    assert!(pop3.say(&format!("TOP {} {}", u64::MAX, i64::MIN)).starts_with("-ERR"));
    pop3.quit();
}
