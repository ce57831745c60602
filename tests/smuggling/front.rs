//! A front with real servers behind it: what one of the two takes for the end of a mail, and the other does not.

use std::thread;
use std::time::Duration;

use gatepost_tests::aiosmtpd::Aiosmtpd;
use gatepost_tests::exim::Exim;
use gatepost_tests::mail;
use gatepost_tests::next_hop::NextHop;
use gatepost_tests::pass_through::{before, before_with};
use gatepost_tests::postfix::Postfix;
use gatepost_tests::server::Server;
use gatepost_tests::smtp::Smtp;

use super::model::has_fault;
use super::play::two_chunks;
use super::variants::VARIANTS;

/// Commands that would hand in a mail of their own, without having to wait for a reply. They are legal text as well.
const SMUGGLED: &[u8] =
    b"\r\nMAIL FROM:<evil@b.example>\r\nRCPT TO:<ann@to.example>\r\nBDAT 19 LAST\r\nSubject: smuggled\r\n";

const FROM: &str = "someone@remote.example";
const TO: [&str; 1] = ["ann@to.example"];

#[test]
fn no_variant_brings_a_second_mail_to_postfix() {
    let behind = Postfix::start();
    try_all(&before(([127, 0, 0, 1], behind.port).into()).start(), |count| behind.mails(count));
}

#[test]
fn no_variant_brings_a_second_mail_to_exim() {
    let behind = Exim::start();
    // It delivers only the first mails of a connection at once.
    let server =
        before_with(([127, 0, 0, 1], behind.port).into(), "tls = \"none\"", "idle_time = \"0s\"").start();
    try_all(&server, |count| behind.mails(count));
}

#[test]
fn no_variant_brings_a_second_mail_to_aiosmtpd() {
    let behind = Aiosmtpd::start();
    try_all(&before(([127, 0, 0, 1], behind.port).into()).start(), |count| {
        behind.mails(count).into_iter().map(|kept| kept.octets).collect()
    });
}

#[test]
fn no_variant_becomes_a_command_behind() {
    for extension in ["XNONE", "CHUNKING"] {
        let behind = NextHop::start().offering(extension);
        let server = before(behind.address).start();
        try_all(&server, |count| behind.taken(count).into_iter().map(|taken| taken.octets).collect());
        assert_unspoken(&behind);
    }
}

#[test]
fn what_does_not_wait_for_its_turn_is_no_command_behind() {
    let behind = NextHop::start();
    let server = before(behind.address).start();
    // Behind a DATA that has not been answered, and in plaintext behind STARTTLS.
    let mut smtp = server.smtp_open();
    smtp.begin(FROM, &TO);
    smtp.send(&[b"DATA", SMUGGLED, b".\r\n"].concat());
    smtp.reply().must("554 5.5.0");
    assert_eq!(smtp.rest(), "");
    let mut smtp = server.smtp_open();
    smtp.send(&[b"STARTTLS", SMUGGLED].concat());
    assert!(!smtp.rest().contains("250"));
    // In the place of a response, and in a chunk that is refused.
    let mut smtp = server.smtp_in_tls();
    smtp.send(b"AUTH PLAIN\r\nMAIL FROM:<evil@b.example>\r\n");
    smtp.reply().must("334");
    smtp.reply().must("501 5.5.2");
    smtp.quit();
    let mut smtp = server.smtp_open();
    let chunk = SMUGGLED.strip_prefix(b"\r\n").expect("a line end");
    smtp.send(&[format!("BDAT {}\r\n", chunk.len()).as_bytes(), chunk, b"XEXCH50 2 2\r\nNOOP\r\n"].concat());
    smtp.reply().must("503 5.5.1");
    smtp.reply().must("504 5.7.0");
    smtp.reply().must("250");
    smtp.quit();
    assert_unspoken(&behind);
    assert_eq!(behind.taken_so_far(), []);
}

/// Every variant, by DATA and by BDAT, in one write and in two. There must be one mail behind for each 250, and none that
/// was smuggled.
fn try_all(server: &Server, mails: impl Fn(usize) -> Vec<Vec<u8>>) {
    let is_true = |variant: &&&[u8]| variant.windows(5).any(|window| window == b"\r\n.\r\n");
    let mut taken = 0;
    for variant in VARIANTS.iter().filter(|variant| !is_true(variant)) {
        let content = [b"Subject: outer\r\n\r\nouter", *variant, SMUGGLED].concat();
        let (inside, behind) = (22 + variant.len() / 2, 22 + variant.len());
        for cut in [None, Some(inside), Some(behind)] {
            taken += usize::from(by_data(server, &content, cut));
        }
        taken += usize::from(by_chunks(server, &content, inside));
    }
    let mut smtp = begun(server);
    smtp.bdat(&mail::small("the-last"), true).must("250");
    smtp.quit();
    let mails = mails(taken + 1);
    assert_eq!(mails.len(), taken + 1, "a mail for each 250");
    for mail in &mails {
        let subject = mail::field(mail, "Subject").unwrap_or_default();
        assert_ne!(subject.trim(), "smuggled", "{}", mail.escape_ascii());
    }
}

/// Whether it was taken. The session has one reply to the body and then, at most, that to QUIT.
fn by_data(server: &Server, content: &[u8], cut: Option<usize>) -> bool {
    let mut smtp = begun(server);
    smtp.say("DATA").must("354");
    let octets = [content, b".\r\nQUIT\r\n"].concat();
    let (first, second) = octets.split_at(cut.unwrap_or(octets.len()));
    smtp.send(first);
    if !second.is_empty() {
        // The server shall see them as two reads.
        thread::sleep(Duration::from_millis(1));
        smtp.wire().try_send(second).ok();
    }
    judged(&smtp.rest(), content)
}

fn by_chunks(server: &Server, content: &[u8], cut: usize) -> bool {
    let mut smtp = begun(server);
    smtp.send(&two_chunks(content, cut));
    let said = smtp.rest();
    judged(said.strip_prefix("250 2.0.0 Chunk OK\r\n").unwrap_or(&said), content)
}

/// Each server has words of its own.
fn begun(server: &Server) -> Smtp {
    let mut smtp = server.smtp_open();
    smtp.say(&format!("MAIL FROM:<{FROM}>")).must("250");
    smtp.say(&format!("RCPT TO:<{}>", TO[0])).must("250");
    smtp
}

fn judged(said: &str, content: &[u8]) -> bool {
    let what = || format!("{}: {said:?}", content.escape_ascii());
    let mut lines = said.lines();
    let is_taken = lines.next().is_some_and(|line| line.starts_with("250"));
    assert!(is_taken || said.starts_with("554 5.6.0"), "{}", what());
    assert_eq!(is_taken, !has_fault(content), "{}", what());
    assert!(lines.next().is_none_or(|line| line.starts_with("221")), "{}", what());
    assert_eq!(lines.next(), None, "{}", what());
    is_taken
}

fn assert_unspoken(behind: &NextHop) {
    let said = behind.said();
    assert!(!said.iter().any(|line| line.contains("evil")), "{said:?}");
}
