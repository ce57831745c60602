//! Gatepost before a server whose verbs between servers are open to everybody (MS03-046, MS05-021).

use gatepost_tests::exchange::Exchange;
use gatepost_tests::mail;
use gatepost_tests::pass_through::before;
use gatepost_tests::server::Server;
use gatepost_tests::smtp::Smtp;
use gatepost_tests::wire::Wire;

fn shielded() -> (Exchange, Server) {
    let exchange = Exchange::start_vulnerable();
    let server = before(exchange.address).start();
    (exchange, server)
}

fn assert_unharmed(exchange: &Exchange) {
    assert!(!exchange.has_heard_servers(), "{:?}", exchange.heard());
    assert!(!exchange.has_crashed());
    assert_eq!(exchange.allocated(), 0);
}

#[test]
fn the_public_check_finds_nothing_behind_and_mail_goes_on() {
    let (exchange, server) = shielded();
    let mut smtp = Smtp::connect(server.ports.open);
    let hello = smtp.say("EHLO scanner.example");
    let between_servers = ["XEXCH50", "X-LINK2STATE", "X-EXPS", "ATRN", "TURN", "ETRN"];
    let is_one =
        |line: &String| between_servers.iter().any(|keyword| line.to_ascii_uppercase().starts_with(keyword));
    assert!(!hello.lines.iter().skip(1).any(is_one), "{hello:?}");
    smtp.say("MAIL FROM:<someone@remote.example>").must("250");
    smtp.say("RCPT TO:<ann@to.example>").must("250");
    for line in ["XEXCH50 2 2", "xexch50 -1 2", "XEXCH50 33554432 2", "XEXCH50"] {
        smtp.say(line).must("504 5.7.0 Need to authenticate first");
    }
    let content = mail::small("behind-the-check");
    smtp.say("DATA").must("354");
    smtp.send(&gatepost_tests::smtp::stuffed(&content));
    smtp.reply().must("250");
    smtp.quit();
    mail::assert_same_octets(&exchange.mails(1)[0], &content);
    assert_unharmed(&exchange);
}

#[test]
fn the_published_exploit_does_not_arrive() {
    let (exchange, server) = shielded();
    // As published: what follows a refused XEXCH50 is a blob to the one who sends it, and commands to us.
    for blob in [b"XX".to_vec(), vec![b'A'; 44_000], b"\r\nMAIL FROM:<a@b.example>\r\n".to_vec()] {
        let mut wire = Wire::connect(server.ports.open);
        wire.send(b"EHLO x.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<ann@to.example>\r\n");
        wire.send(b"XEXCH50 2 2\r\n");
        wire.send(&blob);
        for line in ["XEXCH50 33554432 2", "XEXCH50 -1 2"] {
            // Whom we have closed the door on may not be able to go on.
            wire.try_send(format!("\r\n{line}\r\n").as_bytes()).ok();
            wire.try_send(&blob).ok();
        }
        wire.finish_sending();
        let _ = wire.rest();
    }
    assert_unharmed(&exchange);
}

#[test]
fn a_chunk_of_link_state_without_a_series_does_not_arrive() {
    let (exchange, server) = shielded();
    for position in ["", "FIRST ", "NEXT ", "LAST "] {
        for octets in [10, 521, 900, 5_000] {
            let mut smtp = server.smtp_open();
            let reply = smtp.say(&format!("X-LINK2STATE {position}CHUNK={}", "A".repeat(octets)));
            assert!(matches!(reply.code, 500 | 504), "{reply:?}");
            smtp.quit();
        }
    }
    assert_unharmed(&exchange);
}

#[test]
fn no_verb_that_is_for_servers_or_for_nobody_arrives() {
    let (exchange, server) = shielded();
    let mut smtp = server.smtp_open();
    for (number, verb) in VERBS.iter().enumerate() {
        // Twenty refusals are what a session has.
        if number % 15 == 14 {
            smtp.quit();
            smtp = server.smtp_open();
        }
        let reply = smtp.say(&format!("{verb} argument"));
        assert!(reply.code >= 500, "{verb}: {reply:?}");
    }
    smtp.quit();
    assert_unharmed(&exchange);
    let lines = exchange.lines();
    for verb in VERBS {
        assert!(lines.iter().all(|line| line.split(' ').next() != Some(verb)), "{verb}: {lines:?}");
    }
}

/// Of servers of the same organization, and from rules of intrusion detection.
const VERBS: [&str; 50] = [
    "XPROXY",
    "XPROXYFROM",
    "XPROXYTO",
    "XSHADOW",
    "XSHADOWREQUEST",
    "XRDST",
    "XOORG",
    "XORAR",
    "XLONGADDR",
    "XADRC",
    "XEXPROPS",
    "XSESSIONPARAMS",
    "XSESSIONMDBGUID",
    "XSYSPROBE",
    "XATTR",
    "XORIGFROM",
    "XMESSAGECONTEXT",
    "XAUTH",
    "X-ANONYMOUSTLS",
    "X-EXPS",
    "TURN",
    "ETRN",
    "ATRN",
    "XCLIENT",
    "X-ADAT",
    "X-DRCP",
    "X-ERCP",
    "X-EXCH50",
    "XADR",
    "XCIR",
    "XGEN",
    "XLICENSE",
    "XQUE",
    "XSTA",
    "XTRN",
    "XUSR",
    "EMAL",
    "ESAM",
    "ESND",
    "ESOM",
    "EVFY",
    "ONEX",
    "QUEU",
    "TICK",
    "TIME",
    "TURNME",
    "VERB",
    "DEBUG",
    "SAML",
    "SOML",
];
