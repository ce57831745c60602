//! What stands between the angle brackets, and behind them.

use std::fs;

use gatepost_tests::mail;
use gatepost_tests::server::files_below;

use super::arena::Arena;
use super::table::{Row, row, run};

pub const ROWS: &[Row] = &[
    row!(
        "CVE-2003-0540, CVE-2003-0468",
        "Postfix 1.1",
        "`<.!>` locked the address resolver up, and a bang path with a port had bounces scan other hosts.",
        bang_paths_and_empty_parts_are_no_mailboxes,
    ),
    row!(
        "CVE-2003-0161",
        "sendmail 8.12.8",
        "An octet 0xFF in an address was taken for the end of input, and switched a length check off.",
        octets_beyond_ascii_are_utf_8_or_nothing,
    ),
    row!(
        "CVE-2006-4379",
        "Ipswitch IMail 2006",
        "A long source route between `@` and `:` overflowed the stack.",
        source_routes_are_read_within_the_limits_and_dropped,
    ),
    row!(
        "CVE-2000-0452",
        "Lotus Domino 5.0.1",
        "A long MAIL FROM overflowed a buffer.",
        mailboxes_over_their_limits_are_refused,
    ),
    row!(
        "CVE-2000-1047",
        "Lotus Domino 5.0.4",
        "A long ENVID overflowed a buffer.",
        envid_and_orcpt_over_their_limits_are_refused,
    ),
    row!(
        "CVE-2020-28022",
        "Exim 4.94",
        "Parameters of MAIL and RCPT were split in place, in front of the buffer where nothing stood left of them.",
        parameters_that_are_none_are_refused,
    ),
    row!(
        "CVE-2020-28021",
        "Exim 4.94",
        "A line feed encoded in AUTH= was written into the spool file as a line of its own.",
        an_encoded_line_feed_in_auth_writes_no_line,
    ),
    row!(
        "CVE-2020-28026",
        "Exim 4.94",
        "A line feed encoded in ORCPT was written into the spool file as a line of its own.",
        an_encoded_line_feed_in_orcpt_writes_no_line,
    ),
    row!(
        "CVE-1999-0682, MS99-027",
        "Exchange 5.5",
        "An address of another domain, encapsulated in one of ours, was relayed.",
        encapsulated_addresses_are_relayed_for_nobody,
    ),
    row!(
        "CVE-1999-0512",
        "many",
        "Source routes, percent signs, bangs and quotes led around the check of who may relay.",
        no_spelling_of_a_remote_recipient_is_relayed,
    ),
    row!(
        "CVE-2015-7611",
        "Apache James 2.3.2",
        "A user's name was the name of a folder as well, and `..` in it led to files that a shell would read.",
        no_address_is_the_name_of_a_file,
    ),
];

#[test]
fn addresses_and_parameters() {
    run(ROWS, Arena::open("[limits]\nerrors = 200"));
}

fn bang_paths_and_empty_parts_are_no_mailboxes(arena: &Arena) {
    let mut smtp = arena.smtp();
    for path in
        [".!", ".!@localhost", "me@.!", "@", "@localhost", "me@", "..@localhost", "[127.0.0.1]:22!@localhost"]
    {
        let reply = smtp.say(&format!("MAIL FROM:<{path}>"));
        assert!(matches!(reply.code, 501 | 553), "{path}: {reply:?}");
    }
    smtp.say("MAIL FROM:<someone@remote.example>").must("250 2.1.0");
    for path in [".!", "!@localhost", "<127.0.0.1>:22!x@localhost", "[127.0.0.1]:22!@localhost"] {
        let reply = smtp.say(&format!("RCPT TO:<{path}>"));
        assert!(matches!(reply.code, 501 | 550 | 553), "{path}: {reply:?}");
    }
    smtp.quit();
}

fn octets_beyond_ascii_are_utf_8_or_nothing(arena: &Arena) {
    let mut smtp = arena.smtp();
    for path in [
        &b"\xff\xff\\\xff\\\xff@b.example"[..],
        b"a@\xff",
        b"\xff",
        b"\xc3\x28@b.example",
        b"\xed\xa0\x80@b.example",
    ] {
        smtp.send(&[b"MAIL FROM:<", path, b">\r\n"].concat());
        let reply = smtp.reply();
        assert!(matches!(reply.code, 501 | 553), "{}: {reply:?}", path.escape_ascii());
    }
    smtp.quit();
}

fn source_routes_are_read_within_the_limits_and_dropped(arena: &Arena) {
    let mut smtp = arena.smtp();
    smtp.say("MAIL FROM:<someone@remote.example>").must("250 2.1.0");
    smtp.say("RCPT TO:<@one.example,@two.example:me@localhost>").must("250 2.1.5");
    for length in [256, 512, 5_000] {
        let reply = smtp.say(&format!("RCPT TO:<@{}:me@localhost>", "A".repeat(length)));
        assert!(matches!(reply.code, 500 | 501 | 553), "{length}: {reply:?}");
    }
    smtp.quit();
}

fn mailboxes_over_their_limits_are_refused(arena: &Arena) {
    let mut smtp = arena.smtp();
    let domain = [["d".repeat(63).as_str(); 4].join("."), "example".to_owned()].join(".");
    for mailbox in [
        format!("{}@b.example", "l".repeat(65)),
        format!("{}@b.example", "l".repeat(600)),
        format!("a@{domain}"),
        format!("a@{}.example", "d".repeat(64)),
        format!("\"{}\"@b.example", "q".repeat(70)),
        "x".repeat(60_000),
    ] {
        for command in ["MAIL FROM", "RCPT TO"] {
            let reply = smtp.say(&format!("{command}:<{mailbox}>"));
            assert!(matches!(reply.code, 500 | 501 | 503 | 553), "{mailbox}: {reply:?}");
        }
    }
    smtp.quit();
}

fn envid_and_orcpt_over_their_limits_are_refused(arena: &Arena) {
    let mut smtp = arena.smtp();
    smtp.say(&format!("MAIL FROM:<a@b.example> ENVID={}", "e".repeat(101))).must("501 5.5.4");
    smtp.say(&format!("MAIL FROM:<a@b.example> ENVID={}", "e".repeat(4_000))).must("500 5.5.2");
    smtp.say(&format!("MAIL FROM:<a@b.example> ENVID={}", "e".repeat(100))).must("250 2.1.0");
    smtp.say(&format!("RCPT TO:<me@localhost> ORCPT=rfc822;{}", "o".repeat(501))).must("501 5.5.4");
    smtp.say(&format!("RCPT TO:<me@localhost> ORCPT=rfc822;{}", "o".repeat(4_000))).must("500 5.5.2");
    smtp.quit();
}

fn parameters_that_are_none_are_refused(arena: &Arena) {
    let mut smtp = arena.smtp();
    let parameters = [
        "=",
        "=x",
        "SIZE=",
        "BODY=",
        "RET=",
        "AUTH=",
        "-x",
        "SIZE=1=2",
        "SIZE=1 SIZE=1",
        "NOTIFY=NEVER",
        "\u{1}=x",
    ];
    for parameter in parameters {
        let reply = smtp.say(&format!("MAIL FROM:<a@b.example> {parameter}"));
        assert!(matches!(reply.code, 501 | 555), "{parameter}: {reply:?}");
    }
    let spaces = smtp.say(&format!("MAIL FROM:<>{}", " ".repeat(400)));
    assert!(matches!(spaces.code, 250 | 501), "{spaces:?}");
    smtp.say("RSET").must("250 2.0.0");
    smtp.say("MAIL FROM:<a@b.example>").must("250 2.1.0");
    for parameter in ["=", "NOTIFY=", "NOTIFY=NEVER,DELAY", "ORCPT=", "ORCPT=;", "ORCPT=rfc822", "SIZE=1"] {
        let reply = smtp.say(&format!("RCPT TO:<me@localhost> {parameter}"));
        assert!(matches!(reply.code, 501 | 555), "{parameter}: {reply:?}");
    }
    smtp.quit();
}

fn an_encoded_line_feed_in_auth_writes_no_line(arena: &Arena) {
    let mut smtp = arena.server.smtp_as(arena.you());
    for value in ["x+0Ainjected", "x@b.example+0D+0Ainjected:+20line", "<>+0Ainjected"] {
        smtp.say(&format!("MAIL FROM:<you@localhost> AUTH={value}")).must("501 5.5.4");
    }
    smtp.say("MAIL FROM:<you@localhost> AUTH=you@localhost").must("250 2.1.0");
    smtp.quit();
}

fn an_encoded_line_feed_in_orcpt_writes_no_line(arena: &Arena) {
    let content = mail::small("orcpt");
    let mut smtp = arena.smtp();
    smtp.say("MAIL FROM:<a@b.example> ENVID=x+0D+0Ainjected:+20line").must("5");
    smtp.say("MAIL FROM:<a@b.example>").must("250 2.1.0");
    let reply = smtp.say("RCPT TO:<you@localhost> ORCPT=rfc822;x+0D+0Ainjected:+20line");
    assert!(matches!(reply.code, 250 | 501), "{reply:?}");
    if reply.code == 501 {
        smtp.say("RCPT TO:<you@localhost>").must("250 2.1.5");
    }
    smtp.say("DATA").must("354");
    smtp.send(&gatepost_tests::smtp::stuffed(&content));
    smtp.reply().must("250 2.0.0");
    smtp.quit();
    arena.expect_mail();
    let stored = arena.collect();
    mail::assert_same_octets(mail::below_trace(&stored), &content);
    assert_eq!(mail::field(&stored, "injected"), None);
}

fn encapsulated_addresses_are_relayed_for_nobody(arena: &Arena) {
    let mut smtp = arena.smtp();
    smtp.say("MAIL FROM:<someone@remote.example>").must("250 2.1.0");
    for recipient in [
        "IMCEASMTP-victim+40other+2Eexample@localhost",
        "imceaex-_O=ORG_OU=SITE_CN=RECIPIENTS_CN=ME@localhost",
        "SMTP:victim@other.example",
    ] {
        let reply = smtp.say(&format!("RCPT TO:<{recipient}>"));
        assert!(matches!(reply.code, 501 | 550 | 553), "{recipient}: {reply:?}");
    }
    smtp.quit();
}

fn no_spelling_of_a_remote_recipient_is_relayed(arena: &Arena) {
    for as_user in [false, true] {
        let mut smtp = if as_user { arena.server.smtp_as(arena.you()) } else { arena.smtp() };
        smtp.say("MAIL FROM:<you@localhost>").must("250 2.1.0");
        for recipient in [
            "victim@other.example",
            "@localhost:victim@other.example",
            "victim%other.example@localhost",
            "victim%other.example@[127.0.0.1]",
            "other.example!victim@localhost",
            "other.example!victim",
            "\"victim@other.example\"@localhost",
            "\"victim%other.example\"",
            "victim@other.example@localhost",
            "victim@localhost@other.example",
            "me@localhost.",
            "me@localhost.other.example",
            "me@[127.0.0.1]",
        ] {
            let reply = smtp.say(&format!("RCPT TO:<{recipient}>"));
            assert!(matches!(reply.code, 501 | 550 | 553), "{recipient}: {reply:?}");
        }
        smtp.quit();
    }
}

fn no_address_is_the_name_of_a_file(arena: &Arena) {
    let files = || files_below(arena.server.folder()).len();
    let before = files();
    let mut smtp = arena.smtp();
    smtp.say("MAIL FROM:<../../etc/cron.d/x@remote.example>").must("501 5.");
    smtp.say("MAIL FROM:</../x@remote.example>").must("501 5.");
    smtp.say("MAIL FROM:<\"../../x\"@remote.example>").must("250 2.1.0");
    for recipient in [
        "\"../../../etc/cron.d/x\"@localhost",
        "/etc/passwd@localhost",
        "\"me@localhost/../x\"@localhost",
        "me/../x@localhost",
    ] {
        let reply = smtp.say(&format!("RCPT TO:<{recipient}>"));
        assert!(matches!(reply.code, 501 | 550 | 553), "{recipient}: {reply:?}");
    }
    smtp.quit();
    // The event log may begin a new file of its own.
    assert!(files() <= before + 1, "{:?}", files_below(arena.server.folder()));
    assert!(fs::metadata("/etc/cron.d/x").is_err());
}
