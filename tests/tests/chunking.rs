//! BDAT (RFC 3030) by scripted sockets: what Exim, a well-behaved sender, would not do.

use gatepost_tests::mail;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;

fn edge() -> Server {
    Setup::new().open_listener().start()
}

#[test]
fn chunks_make_one_mail_wherever_they_are_cut() {
    let server = edge();
    let content = b"Subject: cut\r\n\r\n.\r\n..dots are not stuffed\r\nend\r\n";
    for at in 0..=content.len() {
        let (first, second) = content.split_at(at);
        let mut smtp = server.smtp_open();
        smtp.begin("a@b.example", &["me@localhost"]);
        smtp.bdat(first, false).must("250 2.0.0");
        smtp.bdat(second, true).must("250 2.0.0");
        smtp.quit();
    }
    for stored in server.inbox(content.len() + 1) {
        mail::assert_same_octets(mail::below_trace(&stored), content);
    }
}

#[test]
fn a_last_chunk_without_crlf_gets_one() {
    let server = edge();
    let mut smtp = server.smtp_open();
    smtp.begin("a@b.example", &["me@localhost"]);
    smtp.bdat(b"Subject: open end\r\n\r\nno line end", true).must("250 2.0.0");
    smtp.begin("a@b.example", &["me@localhost"]);
    smtp.bdat(b"Subject: open end\r\n\r\nno line end", false).must("250 2.0.0");
    smtp.bdat(b"", true).must("250 2.0.0");
    smtp.quit();
    for stored in server.inbox(2) {
        mail::assert_same_octets(mail::below_trace(&stored), b"Subject: open end\r\n\r\nno line end\r\n");
    }
}

#[test]
fn a_pipelined_transaction_with_chunks_is_answered_in_order() {
    let server = edge();
    let mut smtp = server.smtp_open();
    let content = mail::eight_bit("pipelined-chunks");
    let (first, second) = content.split_at(100);
    let mut octets = b"MAIL FROM:<a@b.example> BODY=8BITMIME\r\nRCPT TO:<me@localhost>\r\n".to_vec();
    octets.extend_from_slice(format!("BDAT {}\r\n", first.len()).as_bytes());
    octets.extend_from_slice(first);
    octets.extend_from_slice(format!("BDAT {} LAST\r\n", second.len()).as_bytes());
    octets.extend_from_slice(second);
    octets.extend_from_slice(b"QUIT\r\n");
    smtp.send(&octets);
    for expected in ["250 2.1.0", "250 2.1.5", "250 2.0.0", "250 2.0.0", "221 2.0.0"] {
        smtp.reply().must(expected);
    }
    assert_eq!(smtp.rest(), "");
    mail::assert_same_octets(mail::below_trace(&server.inbox(1)[0]), &content);
}

#[test]
fn the_octets_of_a_refused_chunk_are_discarded_and_never_parsed() {
    let server = edge();
    let commands =
        b"MAIL FROM:<evil@b.example>\r\nRCPT TO:<me@localhost>\r\nDATA\r\nSubject: evil\r\n\r\n.\r\nQUIT\r\n";

    // In no transaction.
    let mut smtp = server.smtp_open();
    smtp.bdat(commands, true).must("503 5.5.1");
    smtp.say("NOOP").must("250 2.0.0");
    // Without a recipient.
    smtp.say("MAIL FROM:<a@b.example>").must("250 2.1.0");
    let reply = smtp.bdat(commands, true);
    assert!(matches!(reply.code, 503 | 554), "{reply:?}");
    smtp.say("NOOP").must("250 2.0.0");
    smtp.quit();

    // Nobody authenticated.
    let mut smtp = server.smtp_in_tls();
    let reply = smtp.bdat(commands, true);
    assert!(matches!(reply.code, 503 | 530), "{reply:?}");
    smtp.say("NOOP").must("250 2.0.0");
    smtp.quit();
    server.assert_no_mail();
}

#[test]
fn a_chunk_that_declares_more_than_a_mail_may_have_is_drained_or_cut_off() {
    let server = Setup::new().open_listener().sections("[limits]\nmessage = \"1 MiB\"").start();
    let mut smtp = server.smtp_open();
    smtp.begin("a@b.example", &["me@localhost"]);
    smtp.bdat(&vec![b'x'; 1_500_000], true).must("552 5.3.4");
    smtp.say("NOOP").must("250 2.0.0");
    smtp.quit();

    let mut smtp = server.smtp_open();
    smtp.begin("a@b.example", &["me@localhost"]);
    smtp.send(b"BDAT 4000000000 LAST\r\n");
    let chunk = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    while smtp.wire().try_send(&chunk).is_ok() {
        sent += chunk.len();
        assert!(sent < 1 << 30, "a declared length is drained without a bound");
    }
    server.assert_no_mail();
}

#[test]
fn data_and_bdat_do_not_mix() {
    let server = edge();
    let mut smtp = server.smtp_open();
    smtp.begin("a@b.example", &["me@localhost"]);
    smtp.bdat(b"Subject: mixed\r\n\r\n", false).must("250 2.0.0");
    smtp.say("DATA").must("503 5.5.1");
    smtp.say("MAIL FROM:<a@b.example>").must("503 5.5.1");
    smtp.say("RSET").must("250 2.0.0");
    smtp.bdat(b"x\r\n", true).must("503 5.5.1");
    smtp.quit();
    server.assert_no_mail();
}

#[test]
fn broken_lines_in_a_chunk_and_across_chunks_are_refused() {
    let server = edge();
    let cases: [(&[u8], &[u8]); 6] = [
        (b"Subject: x\r\n\r\nbare\nLF\r\n", b""),
        (b"Subject: x\r\n\r\nbare\rCR\r\n", b""),
        (b"Subject: x\r\n\r\nNU\0L\r\n", b""),
        (b"Subject: x\r\n\r\nCR at the end\r", b"and no LF\r\n"),
        (b"Subject: x\r\n\r\nno CR", b"\nbefore LF\r\n"),
        (b"Subject: x\r\n\r\nCR at the very end\r", b""),
    ];
    for (first, second) in cases {
        let what =
            || format!("{:?} {:?}", first.escape_ascii().to_string(), second.escape_ascii().to_string());
        let mut smtp = server.smtp_open();
        smtp.begin("a@b.example", &["me@localhost"]);
        let reply = smtp.bdat(first, false);
        let reply = if reply.code == 250 { smtp.bdat(second, true) } else { reply };
        assert!(reply.is("554 5.6.0"), "{}: {reply:?}", what());
        assert_eq!(smtp.rest(), "", "{}", what());
    }
    server.assert_no_mail();
}

#[test]
fn a_client_that_leaves_within_a_chunk_leaves_nothing_behind() {
    let server = edge();
    for octets in [
        &b"BDAT 1000 LAST\r\nSubject: cut off\r\n\r\nx"[..],
        b"BDAT 30\r\nSubject: cut off\r\n\r\n0123456789",
    ] {
        let mut smtp = server.smtp_open();
        smtp.begin("a@b.example", &["me@localhost"]);
        smtp.send(octets);
        smtp.wire().finish_sending();
        let _ = smtp.rest();
    }
    let mut smtp = server.smtp_open();
    smtp.begin_data("a@b.example", &["me@localhost"]);
    smtp.send(b"Subject: cut off\r\n\r\nx\r\n.");
    smtp.wire().finish_sending();
    let _ = smtp.rest();
    server.assert_no_mail();
    let bodies = gatepost_tests::server::files_below(&server.data().join("queue/bodies"));
    assert!(bodies.is_empty(), "{bodies:?}");
}

#[test]
fn binarymime_where_switched_on_becomes_lines() {
    let server = Setup::new().open_listener().listener_keys("binarymime = true").start();
    let mut smtp = server.smtp_open();
    assert!(smtp.say("EHLO client.example").offers("BINARYMIME"));
    let mut content = b"Subject: binary\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n\
        Content-Transfer-Encoding: binary\r\n\r\n"
        .to_vec();
    let binary: Vec<u8> = (0..=255).collect();
    content.extend_from_slice(&binary);
    smtp.say("MAIL FROM:<a@b.example> BODY=BINARYMIME").must("250 2.1.0");
    smtp.say("RCPT TO:<me@localhost>").must("250 2.1.5");
    smtp.say("DATA").must("503 5.5.1");
    smtp.bdat(&content, true).must("250 2.0.0");
    smtp.quit();

    let stored = server.inbox(1).remove(0);
    let below = mail::below_trace(&stored);
    assert_eq!(mail::field(below, "Content-Transfer-Encoding").as_deref(), Some("base64"));
    let body_at = below.windows(4).position(|window| window == b"\r\n\r\n").expect("a body") + 4;
    let encoded: String = String::from_utf8_lossy(&below[body_at..]).split_whitespace().collect();
    let decoded =
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded).expect("base64");
    mail::assert_same_octets(&decoded, &binary);
}

#[test]
fn binarymime_is_refused_where_it_is_not_offered() {
    let server = edge();
    let mut smtp = server.smtp_open();
    let reply = smtp.say("MAIL FROM:<a@b.example> BODY=BINARYMIME");
    assert!((500..556).contains(&reply.code), "{reply:?}");
}
