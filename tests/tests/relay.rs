//! A listener without AUTH accepts mail for its own recipients, and nothing else, however it is asked.

use gatepost_tests::mail;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;

fn edge() -> Server {
    Setup::new()
        .alias("sales@localhost", "me@localhost")
        .open_listener()
        .sections("[limits]\nerrors = 1000")
        .start()
}

#[test]
fn local_recipients_and_postmaster_are_taken_from_anybody() {
    let server = edge();
    let mut smtp = server.smtp_open();
    let content = mail::small("from-outside");
    let to = ["me@localhost", "ME@LocalHost", "sales@localhost", "postmaster", "POSTMASTER@localhost"];
    for recipient in to {
        smtp.mail("someone@remote.example", &[recipient], &content).must("250 2.0.0");
    }
    smtp.mail("", &["me@localhost"], &content).must("250 2.0.0");
    smtp.quit();
    for stored in server.inbox(to.len() + 1) {
        mail::assert_same_octets(mail::below_trace(&stored), &content);
    }
}

#[test]
fn a_mailbox_with_several_addresses_gets_one_copy() {
    let server = edge();
    let mut smtp = server.smtp_open();
    let content = mail::small("one-copy");
    let to = ["me@localhost", "sales@localhost", "postmaster"];
    smtp.mail("someone@remote.example", &to, &content).must("250 2.0.0");
    smtp.mail("someone@remote.example", &["me@localhost"], &content).must("250 2.0.0");
    smtp.quit();
    server.wait_for_empty_queue();
    assert_eq!(server.inbox(2).len(), 2);
}

#[test]
fn an_unknown_local_recipient_is_refused_at_rcpt() {
    let server = edge();
    let mut smtp = server.smtp_open();
    smtp.say("MAIL FROM:<someone@remote.example>").must("250 2.1.0");
    smtp.say("RCPT TO:<nobody@localhost>").must("550 5.1.1");
    let no_recipient = smtp.say("DATA");
    assert!(matches!(no_recipient.code, 503 | 554), "{no_recipient:?}");
    smtp.quit();
}

#[test]
fn no_disguise_makes_it_relay() {
    let server = edge();
    let mut smtp = server.smtp_open();
    for sender in ["someone@remote.example", "me@localhost", "", "victim@remote.example"] {
        smtp.say(&format!("MAIL FROM:<{sender}>")).must("250 2.1.0");
        for recipient in DISGUISES {
            let reply = smtp.say(&format!("RCPT TO:{recipient}"));
            assert!((500..560).contains(&reply.code), "MAIL FROM:<{sender}>, RCPT TO:{recipient}: {reply:?}");
        }
        smtp.say("RSET").must("250 2.0.0");
    }
    smtp.quit();
    server.wait_for_empty_queue();
}

#[test]
fn a_remote_recipient_is_refused_for_users_too() {
    let server = edge();
    let mut smtp = server.smtp_as_me();
    smtp.say("MAIL FROM:<me@localhost>").must("250 2.1.0");
    smtp.say("RCPT TO:<someone@remote.example>").must("550 5.7.1");
    smtp.quit();
}

#[test]
fn a_source_route_is_dropped_and_not_followed() {
    let server = edge();
    let mut smtp = server.smtp_open();
    smtp.say("MAIL FROM:<@one.example,@two.example:someone@remote.example>").must("250 2.1.0");
    smtp.say("RCPT TO:<@one.example,@two.example:me@localhost>").must("250 2.1.5");
    smtp.say("DATA").must("354");
    smtp.send(b"Subject: routed\r\n\r\nbody\r\n.\r\n");
    smtp.reply().must("250 2.0.0");
    let stored = server.inbox(1).remove(0);
    assert_eq!(mail::field(&stored, "Return-Path").as_deref(), Some("<someone@remote.example>"));
    assert_eq!(mail::field(&stored, "Delivered-To").as_deref(), Some("me@localhost"));
}

#[test]
fn a_plaintext_sender_may_use_the_edge_and_its_starttls() {
    let server = edge();
    let mut smtp = server.smtp_open();
    smtp.starttls(server.trust());
    let content = mail::small("outside-in-tls");
    smtp.mail("someone@remote.example", &["me@localhost"], &content).must("250 2.0.0");
    let stored = server.inbox(1).remove(0);
    mail::assert_same_octets(mail::below_trace(&stored), &content);
    assert!(mail::field(&stored, "Received").expect("a trace").contains(" with ESMTPS "), "RFC 3848");
}

/// Ways to name a remote recipient so that a careless server takes it for a local one, and local-looking names that are
/// nobody's.
const DISGUISES: [&str; 31] = [
    "<victim@remote.example>",
    "<VICTIM@REMOTE.EXAMPLE>",
    // The percent hack.
    "<victim%remote.example@localhost>",
    "<victim%remote.example@[127.0.0.1]>",
    "<\"victim%remote.example\"@localhost>",
    "<victim%remote.example>",
    "<victim%remote.example%other.example@localhost>",
    // Bang paths, alone and mixed.
    "<remote.example!victim@localhost>",
    "<localhost!remote.example!victim@localhost>",
    "<remote.example!victim>",
    "<\"remote.example!victim\"@localhost>",
    "<remote.example!victim%other.example@localhost>",
    // Quoted local parts that look like whole addresses.
    "<\"victim@remote.example\"@localhost>",
    "<\"victim@remote.example\">",
    "<\"victim\"@remote.example>",
    "<\"me@localhost\"@remote.example>",
    "<\"me\\@localhost\"@remote.example>",
    "<victim@remote.example@localhost>",
    "<me@localhost@remote.example>",
    // Source routes that end elsewhere.
    "<@localhost:victim@remote.example>",
    "<@localhost,@localhost:victim@remote.example>",
    "<@remote.example:victim@remote.example>",
    "<@localhost:victim%remote.example@localhost>",
    // Address literals.
    "<victim@[127.0.0.1]>",
    "<victim@[IPv6:::1]>",
    "<victim@[192.0.2.1]>",
    // Names that contain ours.
    "<me@localhost.remote.example>",
    "<me@notlocalhost>",
    "<me@sub.localhost>",
    // Not paths at all.
    "victim@remote.example",
    "<victim@remote.example",
];
