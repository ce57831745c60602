//! What no honest client sends: broken lines, verbs out of order, plaintext before TLS. For false ends of data see
//! `smuggling`.

use std::thread;
use std::time::Duration;

use gatepost_tests::mail;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::smtp::{Smtp, stuffed};

/// A listener without AUTH, where a dialog takes a few packets.
fn edge() -> Server {
    Setup::new().open_listener().start()
}

#[test]
fn bare_cr_lf_and_nul_in_a_command_end_the_session() {
    let server = edge();
    for command in [
        &b"NOOP\n"[..],
        b"NOOP\rNOOP\r\n",
        b"NO\0OP\r\n",
        b"MAIL FROM:<a@b.example>\nRCPT TO:<me@localhost>\r\n",
        b"MAIL FROM:<a@b.example>\r\r\n",
        b"\n",
        b"\0\r\n",
    ] {
        let mut smtp = server.smtp_open();
        smtp.send(command);
        smtp.reply().must("500 5.5.2");
        assert_eq!(smtp.rest(), "", "closed behind {:?}", command.escape_ascii().to_string());
    }
}

#[test]
fn nothing_behind_a_broken_command_is_executed() {
    let server = edge();
    let mut smtp = server.smtp_open();
    smtp.send(
        b"NOOP\nMAIL FROM:<a@b.example>\r\nRCPT TO:<me@localhost>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\n",
    );
    smtp.reply().must("500 5.5.2");
    assert_eq!(smtp.rest(), "");
    server.assert_no_mail();
}

#[test]
fn bare_cr_lf_and_nul_in_a_body_are_drained_to_its_true_end_and_refused_once() {
    let server = edge();
    for broken in
        [&b"bare\nLF\r\n"[..], b"bare\rCR\r\n", b"NU\0L\r\n", b"\n.\n", b"two CR\r\r\n", b"LF first\n\r\n"]
    {
        let mut smtp = server.smtp_open();
        smtp.begin_data("a@b.example", &["me@localhost"]);
        smtp.send(b"Subject: broken\r\n\r\nbefore\r\n");
        smtp.send(broken);
        assert!(smtp.is_quiet_for(Duration::from_millis(30)), "an answer before the end of data");
        smtp.send(b"after\r\n.\r\n");
        smtp.reply().must("554 5.6.0");
        assert_eq!(smtp.rest(), "", "closed behind {:?}", broken.escape_ascii().to_string());
    }
    server.assert_no_mail();
}

#[test]
fn the_true_end_of_data_is_found_wherever_it_is_split() {
    let server = edge();
    let content = b"Subject: split\r\n\r\n.\r\n..\r\nlast\r\n";
    let octets = stuffed(content);
    for at in 0..octets.len() {
        let (first, second) = octets.split_at(at);
        let mut smtp = server.smtp_open();
        smtp.begin_data("a@b.example", &["me@localhost"]);
        smtp.send(first);
        thread::sleep(Duration::from_millis(1));
        smtp.send(second);
        smtp.reply().must("250 2.0.0");
        smtp.quit();
    }
    for stored in server.inbox(octets.len()) {
        mail::assert_same_octets(mail::below_trace(&stored), content);
    }
}

#[test]
fn an_overlong_command_line_is_refused_once_and_the_session_goes_on() {
    let server = edge();
    for octets in [3_000, 100_000, 2_000_000] {
        let mut smtp = server.smtp_open();
        let mut line = b"NOOP ".to_vec();
        line.resize(octets, b'x');
        line.extend_from_slice(b"\r\n");
        smtp.send(&line);
        smtp.reply().must("500 5.5.2");
        smtp.say("NOOP").must("250 2.0.0");
        smtp.quit();
    }
}

#[test]
fn verbs_out_of_order_and_unknown_ones_are_refused() {
    let server = Setup::new().open_listener().sections("[limits]\nerrors = 100").start();
    let mut smtp = Smtp::connect(server.ports.open);
    smtp.say("MAIL FROM:<a@b.example>").must("503 5.5.1");
    smtp.say("RCPT TO:<me@localhost>").must("503 5.5.1");
    smtp.say("DATA").must("503 5.5.1");
    smtp.say("EHLO client.example").must("250");
    smtp.say("RCPT TO:<me@localhost>").must("503 5.5.1");
    smtp.say("DATA").must("503 5.5.1");
    smtp.say("MAIL FROM:<a@b.example>").must("250 2.1.0");
    smtp.say("MAIL FROM:<a@b.example>").must("503 5.5.1");
    smtp.say("XYZZY").must("500 5.5.1");
    smtp.say("XEXCH50 2 2").must("504 5.7.0");
    smtp.say("RCPT TO:<me@localhost>").must("250 2.1.5");
    smtp.say("EHLO client.example").must("250");
    smtp.say("RCPT TO:<me@localhost>").must("503 5.5.1");
    smtp.quit();
}

#[test]
fn wrong_syntax_is_refused_with_an_enhanced_code() {
    let server = Setup::new().open_listener().sections("[limits]\nerrors = 100").start();
    let mut smtp = server.smtp_open();
    for line in [
        "MAIL FROM: <a@b.example>",
        "MAIL FROM:a@b.example",
        "MAIL FROM:<a@b.example",
        "MAIL <a@b.example>",
        "MAIL",
        "MAIL FROM:<a b@c.example>",
        "MAIL FROM:<a@b..example>",
        "MAIL FROM:<a@b.example> SIZE=x",
        "MAIL FROM:<a@b.example> SIZE=-1",
        "MAIL FROM:<a@b.example> BODY=9BIT",
        "MAIL FROM:<a@b.example> SIZE=1 SIZE=2",
        "DATA now",
        "RSET now",
        "QUIT now",
        "STARTTLS now",
        "EHLO",
        "EHLO client_example!",
        "VRFY",
    ] {
        let reply = smtp.say(line);
        assert!(matches!(reply.code, 501 | 503 | 553 | 555), "{line}: {reply:?}");
        assert!(reply.lines.iter().all(|text| text.starts_with("5.")), "{line}: {reply:?}");
    }
    // Nobody knows how many octets follow: what comes next must not be taken for commands.
    for line in ["BDAT", "BDAT x", "BDAT -1 LAST", "BDAT 99999999999999999999999 LAST", "BDAT 5 LAST LAST"] {
        let mut smtp = server.smtp_open();
        smtp.send(format!("{line}\r\nMAIL FROM:<a@b.example>\r\n").as_bytes());
        smtp.reply().must("501 5.5.4");
        assert_eq!(smtp.rest(), "", "closed behind {line}");
    }
    smtp.say("MAIL FROM:<a@b.example> XPARAM=1").must("555 5.5.4");
    smtp.say("MAIL FROM:<a@b.example> REQUIRETLS").must("555 5.5.4");
    smtp.say("MAIL FROM:<a@b.example>").must("250 2.1.0");
}

#[test]
fn the_small_verbs_are_answered() {
    let server = edge();
    let mut smtp = Smtp::connect(server.ports.open);
    let offer = smtp.say("EHLO client.example");
    offer.must("250");
    for extension in
        ["PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN", "STARTTLS"]
    {
        assert!(offer.offers(extension), "{extension} is missing: {offer:?}");
    }
    assert!(offer.offers(&format!("SIZE {}", 50 * 1024 * 1024)), "{offer:?}");
    assert!(!offer.offers("BINARYMIME") && !offer.offers("REQUIRETLS"), "{offer:?}");
    smtp.say("noop with an argument").must("250 2.0.0");
    smtp.say("RSET").must("250 2.0.0");
    smtp.say("VRFY me").must("252 2.");
    smtp.say("HELP").must("214 2.0.0");
    smtp.say("HELO client.example").must("250");
    smtp.quit();
}

#[test]
fn refusals_without_end_are_answered_by_421() {
    let server = edge();
    let mut smtp = server.smtp_open();
    let mut refused = 0;
    loop {
        let reply = smtp.say("XYZZY");
        if reply.code == 421 {
            reply.must("421 4.7.0");
            break;
        }
        reply.must("500 5.5.1");
        refused += 1;
        assert!(refused < 100, "no end to it");
    }
    assert_eq!(smtp.rest(), "");
}

#[test]
fn plaintext_behind_starttls_ends_the_session() {
    let server = Server::start();
    for injected in ["NOOP\r\n", "EHLO evil.example\r\nMAIL FROM:<me@localhost>\r\n", "R", "\r\n"] {
        let mut smtp = server.smtp();
        smtp.say("EHLO client.example").must("250");
        smtp.send(format!("STARTTLS\r\n{injected}").as_bytes());
        let said = smtp.rest();
        assert!(!said.starts_with("220"), "TLS begins over buffered plaintext: {said:?}");
        assert!(said.lines().count() <= 1, "the injected command was answered: {said:?}");
    }
}

#[test]
fn nothing_said_before_tls_is_remembered_behind_it() {
    let server = edge();
    let mut smtp = server.smtp_open();
    smtp.begin("a@b.example", &["me@localhost"]);
    let refusal = smtp.say("STARTTLS");
    if refusal.code == 220 {
        smtp.wire().secure(server.trust());
    } else {
        refusal.must("503 5.5.1");
        smtp.say("RSET").must("250 2.0.0");
        smtp.say("STARTTLS").must("220 2.0.0");
        smtp.wire().secure(server.trust());
    }
    smtp.say("MAIL FROM:<a@b.example>").must("503 5.5.1");
    smtp.say("EHLO client.example").must("250");
    smtp.say("RCPT TO:<me@localhost>").must("503 5.5.1");
    smtp.say("STARTTLS").must("503 5.5.1");
}

#[test]
fn a_pipelined_group_is_answered_in_order() {
    let server = edge();
    let mut smtp = server.smtp_open();
    smtp.send(
        b"MAIL FROM:<a@b.example>\r\nRCPT TO:<me@localhost>\r\nRCPT TO:<nobody@localhost>\r\n\
          RCPT TO:<x@remote.example>\r\nRCPT TO:<postmaster>\r\nDATA\r\n",
    );
    for expected in ["250 2.1.0", "250 2.1.5", "550 5.1.1", "550 5.7.1", "250 2.1.5", "354"] {
        smtp.reply().must(expected);
    }
    let first = mail::small("first");
    let second = mail::small("second");
    let mut octets = stuffed(&first);
    octets.extend_from_slice(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<me@localhost>\r\nDATA\r\n");
    smtp.send(&octets);
    for expected in ["250 2.0.0", "250 2.1.0", "250 2.1.5", "354"] {
        smtp.reply().must(expected);
    }
    let mut octets = stuffed(&second);
    octets.extend_from_slice(b"QUIT\r\n");
    smtp.send(&octets);
    smtp.reply().must("250 2.0.0");
    smtp.reply().must("221 2.0.0");
    assert_eq!(smtp.rest(), "");
    // Two recipients with one mailbox: it gets one copy.
    assert_eq!(server.inbox(2).len(), 2);
}

#[test]
fn a_mail_over_the_limit_is_refused_when_declared_and_at_its_end_otherwise() {
    let server = Setup::new().open_listener().sections("[limits]\nmessage = \"1 MiB\"").start();
    let mut smtp = server.smtp_open();
    smtp.say("MAIL FROM:<a@b.example> SIZE=1048577").must("552 5.3.4");
    smtp.say("MAIL FROM:<a@b.example> SIZE=99999999999999999999999").must("5");
    let large = mail::large("large", 1_500_000);
    smtp.mail("a@b.example", &["me@localhost"], &large).must("552 5.3.4");
    smtp.begin("a@b.example", &["me@localhost"]);
    smtp.bdat(&large, true).must("552 5.3.4");
    smtp.say("RSET").must("250 2.0.0");
    let small = mail::small("small");
    smtp.mail("a@b.example", &["me@localhost"], &small).must("250 2.0.0");
    smtp.quit();
    mail::assert_same_octets(mail::below_trace(&server.inbox(1)[0]), &small);
}

#[test]
fn a_silent_client_and_a_stalled_body_are_told_421() {
    let server = Setup::new()
        .open_listener()
        .sections("[limits]\ncommand_timeout = \"1s\"\ndata_idle_timeout = \"1s\"")
        .start();
    let mut silent = server.smtp_open();
    let mut stalled = server.smtp_open();
    stalled.begin_data("a@b.example", &["me@localhost"]);
    stalled.send(b"Subject: stalled\r\n\r\nhalf a line");
    for smtp in [&mut silent, &mut stalled] {
        smtp.reply().must("421 4.4.2");
        assert_eq!(smtp.rest(), "");
    }
    server.assert_no_mail();
}

#[test]
fn nothing_that_a_peer_sends_comes_back_in_a_reply_or_raw_in_the_log() {
    let server = Setup::new().open_listener().sections("[limits]\nerrors = 100").start();
    let mut smtp = Smtp::connect(server.ports.open);
    let mut said = String::new();
    for line in [
        "EHLO m4rker.example",
        "M4RKER",
        "MAIL FROM:<m4rker@b.example> M4RKER=1",
        "MAIL FROM:<m4rker@b.example>",
        "RCPT TO:<m4rker@localhost>",
        "RCPT TO:<m4rker@remote.example>",
        "VRFY m4rker",
        "HELP m4rker",
        "NOOP m4rker",
        "AUTH M4RKER",
        "RCPT TO:<\"m4rker\u{1b}[31m\"@localhost>",
        "MAIL FROM:<m4rker",
    ] {
        let reply = smtp.say(line);
        said.push_str(&format!("{reply:?}\n"));
    }
    assert!(!said.to_lowercase().contains("m4rker"), "{said}");
    smtp.quit();
    assert!(!server.log().contains('\u{1b}'), "an escape sequence of a peer stands raw in the log");
}
