//! The stand-in for Exchange, without anything between: what the verbs between servers do to it.

use gatepost_tests::exchange::{Blobs, Exchange, Heard};
use gatepost_tests::smtp::Smtp;

fn connect(exchange: &Exchange) -> Smtp {
    let mut smtp = Smtp::connect(exchange.address.port());
    smtp.say("EHLO client.example").must("250");
    smtp
}

#[test]
fn exchange_asks_servers_to_log_in() {
    let exchange = Exchange::start();
    let mut smtp = connect(&exchange);
    smtp.say("XEXCH50 2 2").must("504 Need to authenticate first");
    smtp.say("X-LINK2STATE FIRST CHUNK=a").must("504");
    smtp.say("X-EXPS GSSAPI Zmlyc3Q=").must("334 Y2hhbGxlbmdlIG9uZQ==");
    smtp.say("c2Vjb25k").must("334 Y2hhbGxlbmdlIHR3bw==");
    smtp.say("dGhpcmQ=").must("235");
    smtp.say("X-LINK2STATE FIRST CHUNK=a").must("250");
    smtp.say("X-LINK2STATE LAST CHUNK=b").must("250");
    smtp.say("X-LINK2STATE NEXT CHUNK=c").must("503");
    smtp.begin("a@one.example", &["b@two.example"]);
    smtp.say("XEXCH50 5 2").must("354");
    smtp.send(b"\r\n.\r\n");
    smtp.reply().must("250");
    smtp.say("DATA").must("354");
    smtp.send(b"text\r\n.\r\n");
    smtp.reply().must("250");
    smtp.quit();
    let heard = exchange.heard();
    assert!(heard.contains(&Heard::Blob(b"\r\n.\r\n".to_vec())), "{heard:?}");
    assert_eq!(exchange.mails(1)[0], b"text\r\n");
    assert!(exchange.has_heard_servers() && !exchange.has_crashed());
}

#[test]
fn a_login_at_exchange_can_fail() {
    let exchange = Exchange::start();
    let mut smtp = connect(&exchange);
    smtp.say("AUTH LOGIN").must("334");
    smtp.say("bm9ib2R5").must("334");
    smtp.say("cGFzc3dvcmQ=").must("535");
    smtp.say("AUTH NTLM").must("334");
    smtp.say("*").must("501");
    smtp.say("AUTH CRAM-MD5").must("504");
    smtp.say("XEXCH50 2 2").must("504");
    smtp.quit();
}

/// What must never get there.
#[test]
fn the_vulnerable_exchange_is_open_to_what_was_published() {
    let exchange = Exchange::start_vulnerable();
    let mut smtp = connect(&exchange);
    smtp.begin("a@one.example", &["b@two.example"]);
    smtp.say("XEXCH50 2 2").must("354");
    smtp.send(b"XX");
    smtp.reply().must("250");
    smtp.say("XEXCH50 33554432 2").must("354");
    let mut second = connect(&exchange);
    assert_eq!(exchange.allocated(), 33_554_434);
    second.send(&[b"XEXCH50 -1 2\r\n".as_slice(), &[b'A'; 44_000]].concat());
    assert_eq!(second.rest(), "");
    assert_eq!(smtp.rest(), "", "it has broken down for everybody");
    assert!(exchange.has_crashed());

    let exchange = Exchange::start_vulnerable();
    let mut smtp = connect(&exchange);
    smtp.send(format!("X-LINK2STATE CHUNK={}\r\n", "A".repeat(800)).as_bytes());
    assert_eq!(smtp.rest(), "");
    assert!(exchange.has_crashed());
}

#[test]
fn exchange_refuses_blobs_where_a_test_wants_it_to() {
    for (blobs, first, last) in [
        (Blobs::RefusedAtOnce, "550", None),
        (Blobs::RefusedMidway, "354", Some("550")),
        (Blobs::RefusedAtTheEnd, "354", Some("550")),
        (Blobs::Dropped, "354", None),
    ] {
        let exchange = Exchange::start_with(blobs).without("TURN");
        let mut smtp = Smtp::connect(exchange.address.port());
        assert!(!smtp.say("EHLO client.example").offers("TURN"));
        smtp.say("X-EXPS NTLM Zmlyc3Q=").must("334");
        smtp.say("c2Vjb25k").must("334");
        smtp.say("dGhpcmQ=").must("235");
        smtp.begin("a@one.example", &["b@two.example"]);
        smtp.say("XEXCH50 4 2").must(first);
        if first == "354" {
            smtp.send(b"blob");
        }
        match last {
            Some(code) => drop(smtp.reply().must(code)),
            None if blobs == Blobs::Dropped => assert_eq!(smtp.rest(), ""),
            None => {}
        }
        if blobs != Blobs::Dropped {
            smtp.say("NOOP").must("250");
            smtp.quit();
        }
    }
}
