//! What is said before and behind a mail on its way through Gatepost: parameters, replies, several mails and recipients.

use gatepost_tests::mail;
use gatepost_tests::next_hop::{At, NextHop, Reaction};
use gatepost_tests::pass_through::{before, before_with, wait_for_offer};
use gatepost_tests::setup::Setup;
use gatepost_tests::smtp::{Smtp, stuffed};
use gatepost_tests::trust;

/// The words of a path with its parameters, these sorted.
fn words(line: &str) -> Vec<&str> {
    let mut words: Vec<_> = line.split(' ').collect();
    words[1..].sort_unstable();
    words
}

#[test]
fn parameters_arrive_as_they_were_given() {
    let behind = NextHop::start().offering("DSN").offering("SMTPUTF8");
    let server = before(behind.address).start();
    wait_for_offer(&server, "DSN");
    wait_for_offer(&server, "SMTPUTF8");
    let envelopes = [
        ("<>", "<ann@to.example>"),
        ("<a@b.example> SIZE=1000", "<ann@to.example>"),
        ("<a@b.example> BODY=8BITMIME", "<ann@to.example>"),
        (
            "<a@b.example> RET=HDRS ENVID=id+2B1",
            "<ann@to.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+2Bb@to.example",
        ),
        ("<a@b.example> RET=FULL", "<ann@to.example> NOTIFY=NEVER"),
        ("<b\u{fc}cher@b.example> SMTPUTF8", "<\u{6f22}\u{5b57}@to.example> ORCPT=utf-8;a@to.example"),
        ("<\"a b\"@b.example>", "<\"ann..x\"@to.example>"),
    ];
    let mut smtp = server.smtp_open();
    for (sender, recipient) in envelopes {
        smtp.say(&format!("MAIL FROM:{sender}")).must("250 2.1.0");
        smtp.say(&format!("RCPT TO:{recipient}")).must("250 2.1.5");
        smtp.say("DATA").must("354");
        smtp.send(b"Subject: x\r\n\r\n.\r\n");
        smtp.reply().must("250 2.0.0");
    }
    smtp.quit();
    for (taken, (sender, recipient)) in behind.taken(envelopes.len()).iter().zip(envelopes) {
        assert_eq!(words(&taken.sender), words(sender));
        assert_eq!(words(&taken.recipients[0]), words(recipient));
    }
}

#[test]
fn what_the_server_behind_lacks_is_neither_offered_nor_taken() {
    let behind = NextHop::start().without("8BITMIME");
    let server = before(behind.address).start();
    let mut smtp = Smtp::connect(server.ports.open);
    let hello = smtp.say("EHLO client.example");
    for keyword in ["8BITMIME", "SMTPUTF8", "DSN", "BINARYMIME"] {
        assert!(!hello.offers(keyword), "{keyword}: {hello:?}");
    }
    assert!(hello.offers("PIPELINING") && hello.offers("CHUNKING"), "{hello:?}");
    for parameter in ["BODY=8BITMIME", "BODY=BINARYMIME", "SMTPUTF8", "RET=FULL", "ENVID=x"] {
        smtp.say(&format!("MAIL FROM:<a@b.example> {parameter}")).must("555 5.5.4");
    }
    smtp.say("MAIL FROM:<a@b.example>").must("250");
    smtp.say("RCPT TO:<ann@to.example> NOTIFY=NEVER").must("555 5.5.4");
    smtp.quit();
}

#[test]
fn the_smaller_size_is_offered_and_held() {
    let behind = NextHop::start().without("SIZE").offering("SIZE 5000");
    let server = before(behind.address).start();
    wait_for_offer(&server, "SIZE 5000");
    let mut smtp = server.smtp_open();
    smtp.say("MAIL FROM:<a@b.example> SIZE=5001").must("552 5.3.4");
    smtp.begin("a@b.example", &["ann@to.example"]);
    smtp.say("DATA").must("354");
    smtp.send(&stuffed(&mail::large("large", 6_000)));
    smtp.reply().must("552 5.3.4");
    smtp.mail("a@b.example", &["ann@to.example"], &mail::small("small")).must("250");
    smtp.quit();
    assert_eq!(behind.taken(1).len(), 1);
}

#[test]
fn replies_of_the_server_behind_keep_their_codes_and_texts_within_bounds() {
    let cases = [
        (Reaction::Say("450 4.2.1 mailbox busy"), "450 4.2.1 mailbox busy"),
        (Reaction::Say("550 5.1.1 <ann@to.example>: unknown"), "550 5.1.1 <ann@to.example>: unknown"),
        (Reaction::Say("552-5.2.2 mailbox\r\n552 5.2.2 full"), "552 5.2.2"),
        (Reaction::Say("550 no enhanced code"), "550"),
        (Reaction::Say("550"), "550"),
    ];
    for (reaction, start) in cases {
        let behind = NextHop::start().times(1, At::Rcpt, reaction);
        let server = before(behind.address).log_level("info").start();
        let mut smtp = server.smtp_open();
        smtp.say("MAIL FROM:<a@b.example>").must("250");
        smtp.say("RCPT TO:<ann@to.example>").must(start);
        smtp.say("RCPT TO:<bob@to.example>").must("250 2.1.5");
        smtp.say("DATA").must("354");
        smtp.send(&stuffed(&mail::small("one-of-two")));
        smtp.reply().must("250 2.0.0");
        smtp.quit();
        assert_eq!(behind.taken(1)[0].recipients, ["<bob@to.example>"]);
    }
}

#[test]
fn no_reply_of_the_server_behind_is_longer_than_a_reply_may_be() {
    let long: &'static str = Box::leak(format!("550 5.7.1 {}", "x".repeat(900)).into_boxed_str());
    let many: &'static str =
        Box::leak(["550-5.7.1 more\r\n".repeat(90), "550 5.7.1 end".to_owned()].concat().into_boxed_str());
    for text in [long, many] {
        let behind = NextHop::start().times(1, At::Rcpt, Reaction::Say(text));
        let server = before(behind.address).log_level("info").start();
        let mut smtp = server.smtp_open();
        smtp.say("MAIL FROM:<a@b.example>").must("250");
        let reply = smtp.say("RCPT TO:<ann@to.example>");
        assert!(matches!(reply.code, 550 | 451), "{reply:?}");
        assert!(reply.lines.iter().all(|line| line.len() + 6 <= 512), "{reply:?}");
        assert!(reply.lines.len() <= 100, "{}", reply.lines.len());
        smtp.say("NOOP").must("250");
        smtp.quit();
    }
}

#[test]
fn a_pipelined_group_is_answered_in_order_with_the_replies_of_the_server_behind() {
    let behind = NextHop::start().times(1, At::Rcpt, Reaction::Say("550 5.1.1 not the first"));
    let server = before(behind.address).start();
    let mut smtp = server.smtp_open();
    smtp.send(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<ann@to.example>\r\nRCPT TO:<bob@other.example>\r\nRCPT TO:<bob@to.example>\r\nDATA\r\n");
    for expected in ["250 2.1.0", "550 5.1.1", "550 5.7.1", "250 2.1.5", "354"] {
        smtp.reply().must(expected);
    }
    smtp.send(b"Subject: x\r\n\r\nx\r\n.\r\nRSET\r\nNOOP\r\nMAIL FROM:<c@d.example>\r\nRCPT TO:<ann@to.example>\r\nRSET\r\nQUIT\r\n");
    for expected in
        ["250 2.0.0", "250 2.0.0", "250 2.0.0", "250 2.1.0", "250 2.1.5", "250 2.0.0", "221 2.0.0"]
    {
        smtp.reply().must(expected);
    }
    assert_eq!(smtp.rest(), "");
    assert_eq!(behind.taken(1)[0].recipients, ["<bob@to.example>"]);
    assert!(behind.said().iter().all(|line| !line.contains("other.example")), "{:?}", behind.said());
}

#[test]
fn a_group_in_which_every_recipient_is_refused_leaves_both_sides_in_step() {
    let behind = NextHop::start().times(2, At::Rcpt, Reaction::Say("550 5.1.1 nobody"));
    let server = before(behind.address).start();
    let mut smtp = server.smtp_open();
    smtp.send(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<ann@to.example>\r\nRCPT TO:<bob@to.example>\r\nDATA\r\n");
    for expected in ["250 2.1.0", "550 5.1.1", "550 5.1.1", "554 5.5.1"] {
        smtp.reply().must(expected);
    }
    smtp.say("RSET").must("250");
    smtp.mail("a@b.example", &["ann@to.example"], &mail::small("after")).must("250");
    smtp.quit();
    assert_eq!(behind.taken(1).len(), 1);
}

#[test]
fn a_trace_header_is_added_where_asked_for_and_only_there() {
    for (keys, traces) in [("", 0), ("trace_header = false", 0), ("trace_header = true", 1)] {
        let behind = NextHop::start();
        let server = before(behind.address).listener_keys(keys).start();
        let content = mail::small("trace");
        for chunked in [false, true] {
            let mut smtp = server.smtp_open();
            smtp.begin("a@b.example", &["ann@to.example"]);
            if chunked {
                smtp.bdat(&content, true).must("250");
            } else {
                smtp.say("DATA").must("354");
                smtp.send(&stuffed(&content));
                smtp.reply().must("250");
            }
            smtp.quit();
        }
        for taken in behind.taken(2) {
            let (trace, below) = taken.octets.split_at(taken.octets.len() - content.len());
            mail::assert_same_octets(below, &content);
            let trace = String::from_utf8_lossy(trace);
            assert_eq!(trace.matches("Received: ").count(), traces, "{trace}");
            assert_eq!(trace.contains("by gatepost.test"), traces == 1, "{trace}");
        }
    }
}

/// Which TLS there must be, and whether mail goes.
#[test]
fn mail_goes_inside_tls_as_the_configuration_demands() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    trust::write_certificate_for(&["hop.example"], &path("cert.pem"), &path("key.pem"));
    trust::write_certificate_for(&["hop.example"], &path("other.pem"), &path("other-key.pem"));
    let plain = || NextHop::start();
    let with_tls = || NextHop::start_tls(&path("cert.pem"), &path("key.pem"));
    let authorities = |name: &str| format!("authorities = {:?}\n", path(name));
    let verified = |name: &str| format!("tls = \"verified\"\ntls_name = \"{name}\"\n");
    let cases = [
        (plain(), "tls = \"none\"".to_owned(), Some(false)),
        (with_tls(), "tls = \"none\"".to_owned(), Some(false)),
        (plain(), "tls = \"opportunistic\"".to_owned(), Some(false)),
        (with_tls(), "tls = \"opportunistic\"".to_owned(), Some(true)),
        (plain(), "tls = \"required\"".to_owned(), None),
        (with_tls(), "tls = \"required\"".to_owned(), Some(true)),
        (with_tls(), verified("hop.example") + &authorities("cert.pem"), Some(true)),
        (with_tls(), verified("hop.example") + &authorities("other.pem"), None),
        (with_tls(), verified("mx.example") + &authorities("cert.pem"), None),
        (plain(), verified("hop.example") + &authorities("cert.pem"), None),
    ];
    for (behind, keys, in_tls) in cases {
        let server: gatepost_tests::server::Server =
            Setup::start(before_with(behind.address, &keys, "").log_level("info"));
        let mut smtp = server.smtp_open();
        let reply = smtp.say("MAIL FROM:<a@b.example>");
        let Some(in_tls) = in_tls else {
            reply.must("451 4.4.1");
            assert!(behind.said().iter().all(|line| !line.starts_with("MAIL")), "{keys}");
            continue;
        };
        reply.must("250");
        smtp.say("RCPT TO:<ann@to.example>").must("250");
        smtp.bdat(&mail::small("tls"), true).must("250");
        smtp.quit();
        assert_eq!(behind.taken(1)[0].in_tls, in_tls, "{keys}");
    }
}

/// A server behind that trusts this one, and still knows routes in local parts, would send such mail on to anywhere.
#[test]
fn strangers_do_not_relay_by_an_address_within_an_address() {
    let behind = NextHop::start();
    let server = before(behind.address).start();
    let mut smtp = server.smtp_open();
    smtp.say("MAIL FROM:<a@b.example>").must("250");
    for routed in
        ["ann%other.example@to.example", "other.example!ann@to.example", "\"ann@other.example\"@to.example"]
    {
        smtp.say(&format!("RCPT TO:<{routed}>")).must("550 5.7.1");
    }
    smtp.say("RCPT TO:<ann+other.example@to.example>").must("250");
    smtp.quit();
    assert!(
        behind
            .said()
            .iter()
            .all(|line| !line.contains("@other") && !line.contains("%") && !line.contains('!'))
    );
}
