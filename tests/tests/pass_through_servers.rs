//! The verbs between servers on their way through Gatepost: from peers with the right to them, to a server that offers them.

use gatepost_tests::exchange::{Blobs, Exchange, Heard};
use gatepost_tests::mail;
use gatepost_tests::pass_through::before_with;
use gatepost_tests::setup::Setup;
use gatepost_tests::smtp::{Smtp, stuffed};

const SERVERS: &str = "peers = [{ class = \"server\", networks = [\"127.0.0.0/8\"] }]";

/// A server before this one, for which everybody is a server.
fn among_servers(exchange: &Exchange, keys: &str) -> Setup {
    before_with(exchange.address, "tls = \"none\"", keys).listener_keys(SERVERS)
}

/// With the login of a server, which the server behind asks for.
fn logged_in(exchange: &Exchange) -> (gatepost_tests::server::Server, Smtp) {
    let server = among_servers(exchange, "").listener_keys("auth = \"upstream\"").start();
    let mut smtp = server.smtp_in_tls();
    log_in(&mut smtp);
    (server, smtp)
}

fn log_in(smtp: &mut Smtp) {
    smtp.say("X-EXPS GSSAPI Zmlyc3Q=").must("334 Y2hhbGxlbmdlIG9uZQ==");
    smtp.say("c2Vjb25k").must("334 Y2hhbGxlbmdlIHR3bw==");
    smtp.say("dGhpcmQ=").must("235");
}

#[test]
fn a_servers_blobs_and_link_states_arrive_intact_and_in_order() {
    let exchange = Exchange::start();
    let (_server, mut smtp) = logged_in(&exchange);
    for line in ["FIRST CHUNK={00000003}abc", "NEXT CHUNK=def", "LAST CHUNK={00000001}g"] {
        smtp.say(&format!("X-LINK2STATE {line}")).must("250 2.0.0");
    }
    let blobs: [Vec<u8>; 5] = [
        Vec::new(),
        b"\r\n.\r\nQUIT\r\n".to_vec(),
        vec![0; 1],
        (0..=255_u8).cycle().take(100_000).collect(),
        vec![b'.'; 1024 * 1024],
    ];
    for (number, blob) in blobs.iter().enumerate() {
        smtp.begin("a@b.example", &["c@d.example"]);
        smtp.say(&format!("XEXCH50 {} 2", blob.len())).must("354 Send binary data");
        for piece in blob.chunks(30_011) {
            smtp.send(piece);
        }
        smtp.reply().must("250 2.0.0");
        smtp.say("DATA").must("354");
        smtp.send(&stuffed(&mail::small(&format!("with-{number}"))));
        smtp.reply().must("250");
    }
    smtp.quit();
    assert_eq!(exchange.blobs(), blobs);
    assert_eq!(exchange.mails(5).len(), 5);
    let link_states: Vec<_> =
        exchange.lines().into_iter().filter(|line| line.starts_with("X-LINK2STATE")).collect();
    assert_eq!(
        link_states,
        [
            "X-LINK2STATE FIRST CHUNK={00000003}abc",
            "X-LINK2STATE NEXT CHUNK=def",
            "X-LINK2STATE LAST CHUNK={00000001}g"
        ]
    );
    assert!(!exchange.has_crashed());
}

/// MS03-046 and MS05-021: what a server may say is still checked before it gets there.
#[test]
fn what_broke_servers_does_not_arrive_from_a_server_either() {
    let exchange = Exchange::start_vulnerable();
    let server = among_servers(&exchange, "blob = \"64 KiB\"").start();
    let mut smtp = server.smtp_in_tls();
    smtp.begin("a@b.example", &["c@d.example"]);
    for line in
        ["XEXCH50 -1 2", "XEXCH50 +5 2", "XEXCH50", "XEXCH50 99999999999999999999 2", "XEXCH50 0x10 2"]
    {
        smtp.say(line).must("501 5.5.4");
    }
    smtp.say("XEXCH50 33554432 2").must("552 5.3.4");
    smtp.say("XEXCH50 65537 2").must("552 5.3.4");
    smtp.say("RSET").must("250");
    let state =
        |position: &str, octets: usize| format!("X-LINK2STATE {position}CHUNK={}", "A".repeat(octets));
    smtp.say(&state("", 900)).must("503 5.5.1");
    smtp.say(&state("NEXT ", 10)).must("503 5.5.1");
    smtp.say(&state("FIRST ", 2_000)).must("500 5.5.2");
    smtp.say(&state("FIRST ", 900)).must("250");
    smtp.quit();
    assert!(!exchange.has_crashed());
    assert_eq!(exchange.allocated(), 0);
    let lines = exchange.lines();
    assert!(lines.iter().all(|line| !line.starts_with("XEXCH50")), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("X-LINK2STATE")).count(), 1);
}

#[test]
fn only_what_the_server_behind_offers_is_offered_and_handed_on() {
    let exchange = Exchange::start_vulnerable().without("XEXCH50").offering("XOORG");
    let server = among_servers(&exchange, "").start();
    let mut smtp = server.smtp_in_tls();
    let hello = smtp.say("EHLO server.example");
    for (keyword, is_offered) in [
        ("XEXCH50", false),
        ("X-LINK2STATE", true),
        ("XOORG", true),
        ("XRDST", false),
        ("ETRN", true),
        ("TURN", false),
    ] {
        assert_eq!(hello.offers(keyword), is_offered, "{keyword}: {hello:?}");
    }
    smtp.say("XOORG example.org").must("250");
    smtp.begin("a@b.example", &["c@d.example"]);
    smtp.say("XOORG of the mail").must("250");
    smtp.say("XEXCH50 2 2").must("502 5.5.1");
    smtp.say("XRDST x").must("502 5.5.1");
    smtp.bdat(&mail::small("offered"), true).must("250");
    smtp.quit();
    let heard = exchange.heard();
    let is_opaque = |heard: &&Heard| matches!(heard, Heard::Line(line) if line.starts_with("XOORG"));
    let opaque: Vec<_> = heard.iter().filter(is_opaque).collect();
    assert_eq!(
        opaque,
        [&Heard::Line("XOORG example.org".to_owned()), &Heard::Line("XOORG of the mail".to_owned())]
    );
    assert!(!exchange.lines().iter().any(|line| line.starts_with("XEXCH50") || line.starts_with("XRDST")));
}

/// The session behind is the client's alone by then, and has a mail that the client has given up.
#[test]
fn what_comes_behind_a_mail_that_was_given_up_does_not_belong_to_it() {
    let exchange = Exchange::start_vulnerable().offering("XOORG");
    let rights = "rights = { server = [\"submit\", \"accept-any-sender\", \"accept-any-recipient\", \"accept-opaque\"] }";
    let server = among_servers(&exchange, "").listener_keys(rights).start();
    let mut smtp = server.smtp_in_tls();
    smtp.say("XOORG example.org").must("250");
    smtp.begin("a@b.example", &["c@d.example"]);
    smtp.say("RSET").must("250");
    smtp.send(b"MAIL FROM:<ann@to.example>\r\nRCPT TO:<bob@d.example>\r\n");
    smtp.reply().must("550 5.7.1");
    smtp.reply().must("503 5.5.1");
    smtp.say("XOORG of no mail").must("250");
    smtp.mail("a@b.example", &["c@d.example"], &mail::small("next")).must("250");
    smtp.quit();
    assert_eq!(exchange.mails(1).len(), 1);
    let lines = exchange.lines();
    let of_mails: Vec<_> = lines.iter().skip_while(|line| !line.starts_with("MAIL")).collect();
    let expected = ["MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "RSET", "XOORG of no mail"];
    assert_eq!(of_mails.get(..4).unwrap_or_default(), expected, "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("bob")), "{lines:?}");
}

#[test]
fn a_blob_that_is_refused_leaves_both_sides_in_step() {
    for blobs in [Blobs::RefusedAtOnce, Blobs::RefusedMidway, Blobs::RefusedAtTheEnd] {
        let exchange = Exchange::start_with(blobs);
        let (_server, mut smtp) = logged_in(&exchange);
        for number in 0..3 {
            smtp.begin("a@b.example", &["c@d.example"]);
            let reply = smtp.say("XEXCH50 300000 2");
            if blobs == Blobs::RefusedAtOnce {
                reply.must("550 5.7.1");
            } else {
                reply.must("354");
                for piece in b"RSET\r\nQUIT\r\n\r\n.\r\n...".repeat(15_000).chunks(7_001) {
                    smtp.send(piece);
                }
                smtp.reply().must("550 5.7.1");
            }
            smtp.say("NOOP").must("250");
            smtp.bdat(&mail::small(&format!("after-{number}")), true).must("250");
        }
        smtp.quit();
        assert_eq!(exchange.mails(3).len(), 3, "{blobs:?}");
        assert!(!exchange.lines().contains(&"RSET".to_owned()), "{blobs:?}: a blob was read as commands");
    }
}

#[test]
fn a_server_behind_that_drops_a_blob_is_told_of_and_another_session_goes_on() {
    let exchange = Exchange::start_with(Blobs::Dropped);
    let (server, mut smtp) = logged_in(&exchange);
    smtp.begin("a@b.example", &["c@d.example"]);
    smtp.say("XEXCH50 300000 2").must("354");
    smtp.send(&vec![b'x'; 300_000]);
    let reply = smtp.reply();
    reply.must("451 4.4.2");
    assert!(reply.lines[0].len() + 4 + 2 <= 40, "as long as its documentation allows: {reply:?}");
    smtp.say("NOOP").must("250");
    smtp.say("RSET").must("250");
    smtp.say("MAIL FROM:<a@b.example>").must("451 4.4.2");
    smtp.quit();
    let mut smtp = server.smtp_in_tls();
    log_in(&mut smtp);
    smtp.mail("a@b.example", &["c@d.example"], &mail::small("later")).must("250");
    smtp.quit();
    assert_eq!(exchange.blobs(), Vec::<Vec<u8>>::new());
}

/// Whoever goes in the middle of a blob leaves nothing behind that could be taken for the rest.
#[test]
fn a_client_that_goes_in_the_middle_of_a_blob_takes_the_session_behind_with_it() {
    let exchange = Exchange::start();
    let (server, mut smtp) = logged_in(&exchange);
    smtp.begin("a@b.example", &["c@d.example"]);
    smtp.say("XEXCH50 1000 2").must("354");
    smtp.send(b"half of it");
    drop(smtp);
    let mut smtp = server.smtp_in_tls();
    log_in(&mut smtp);
    smtp.mail("a@b.example", &["c@d.example"], &mail::small("next")).must("250");
    smtp.quit();
    assert_eq!(exchange.blobs(), Vec::<Vec<u8>>::new());
    mail::assert_same_octets(&exchange.mails(1)[0], &mail::small("next"));
}

/// The same octets in the same write as the command could be a blob, or commands to a server that refuses it.
#[test]
fn a_blob_that_does_not_wait_for_354_is_refused() {
    let exchange = Exchange::start_vulnerable();
    let server = among_servers(&exchange, "").start();
    let mut smtp = server.smtp_in_tls();
    smtp.begin("a@b.example", &["c@d.example"]);
    smtp.send(b"XEXCH50 8 2\r\nRSET\r\nNOOP\r\n");
    smtp.reply().must("554 5.5.0");
    assert_eq!(smtp.rest(), "");
    assert!(!exchange.has_heard_servers());
}
