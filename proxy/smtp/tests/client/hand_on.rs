//! A mail that somebody else is handing in.

use std::time::Duration;

use gatepost_smtp::client::Unsuited;
use gatepost_smtp::client::hand_on::NotHandedOn;
use gatepost_smtp::wire::params::{MailParams, RcptParams};
use proptest::prelude::*;

use crate::dialog::Dialog;

fn params(text: &str) -> MailParams {
    MailParams::parse(text).unwrap()
}

fn mail(dialog: Dialog, text: &str) -> Dialog {
    dialog.hands_on(|session, now, out| {
        session.hand_on_mail(now, &"<a@us.example>".parse().unwrap(), &params(text), out)
    })
}

fn rcpt(dialog: Dialog, name: &str) -> Dialog {
    let path = format!("<{name}@mx.example>").parse().unwrap();
    dialog.hands_on(|session, now, out| session.hand_on_rcpt(now, &path, &RcptParams::default(), out))
}

fn data(dialog: Dialog) -> Dialog {
    dialog.hands_on(|session, now, out| session.hand_on_data(now, out))
}

fn body(dialog: Dialog, octets: &[u8]) -> Dialog {
    dialog.hands_on(|session, _, out| {
        session.hand_on_body(octets, out);
        Ok::<_, ()>(())
    })
}

fn end(dialog: Dialog) -> Dialog {
    dialog.hands_on(|session, now, out| session.hand_on_end(now, out))
}

/// In the middle of a body.
fn begun() -> Dialog {
    let dialog = rcpt(mail(Dialog::offered(&["PIPELINING"]), ""), "b");
    let dialog = data(dialog.hears("250 ok").hears("250 ok").tells(&["250 ok", "250 ok"]));
    dialog.hears("354 go").tells(&["354 go"]).says("MAIL FROM:<a@us.example>\nRCPT TO:<b@mx.example>\nDATA")
}

#[test]
fn each_command_hears_its_own_reply() {
    let dialog = mail(Dialog::offered(&["SIZE", "PIPELINING", "DSN", "AUTH"]), " SIZE=9 AUTH=<> RET=FULL");
    let dialog = rcpt(rcpt(dialog, "b"), "c");
    let dialog = dialog.says(
        "MAIL FROM:<a@us.example> SIZE=9 AUTH=<> RET=FULL\nRCPT TO:<b@mx.example>\nRCPT TO:<c@mx.example>",
    );
    let dialog = dialog.hears("250 a").hears("550-5.1.1 b\n550 no").hears("451 c");
    let dialog =
        data(dialog.tells(&["250 a", "550 5.1.1 b no", "451 c"])).hears("554 none").tells(&["554 none"]);
    let dialog = dialog.hands_on(|session, now, out| session.hand_on_reset(now, out)).says("DATA\nRSET");
    let mut dialog = dialog.hears("250 ok").tells(&["250 ok"]);
    assert!(!dialog.session().is_in_transaction() && dialog.session().is_resting());
}

#[test]
fn a_body_is_ended_once_and_its_reply_decides() {
    let dialog = end(body(body(begun(), b"Subject: x\r\n\r\n.dot\r\n."), b"\r\nend"))
        .says("Subject: x\n\n..dot\n..\nend\n.");
    let mut dialog = dialog.hears("250 taken").tells(&["250 taken"]);
    assert!(dialog.session().is_resting() && !dialog.session().is_in_transaction());
}

#[test]
fn what_the_server_says_in_a_body_is_never_taken_for_its_end() {
    begun().hears("250 taken").ends("a reply without a command at the body");
    begun().hears("552 too large").ends("the body refused: 552 too large");
    begun().hears("421 going").ends("closed by the next hop at the body: 421 going");
    begun().cut().ends("connection lost at the body");
    let ended = end(body(begun(), b"x\r\n"));
    ended.receives(b"250 taken\r\n250 again\r\n").ends("a reply without a command at rest");
}

/// Found by fuzzing: the rest of such a reply came behind the end of the body, and was taken for the word on it.
#[test]
fn a_reply_that_has_begun_too_early_answers_nothing() {
    let mut dialog = body(begun(), b"x\r\n").receives(b"250 2.0.0 tak");
    let (now, mut out) = (std::time::Instant::now(), Vec::new());
    assert!(dialog.session().hand_on_end(now, &mut out).is_err());
    assert_eq!(out, b"", "the body is not ended");
    dialog.receives(b"").ends("a reply without a command at the body");
    let mut dialog = Dialog::offered(&["PIPELINING"]).receives(b"250-ok\r\n");
    assert!(dialog.session().hand_on_reset(now, &mut out).is_err());
    dialog.receives(b"").ends("a reply without a command at rest");
}

#[test]
fn octets_that_are_no_lines_are_not_ended() {
    for octets in [&b"a\nb"[..], b"a\rb", b"a\0b"] {
        let dialog = body(begun(), octets);
        dialog.ends("the message is not what was announced");
    }
    let mut dialog = body(begun(), b"a\r");
    let now = std::time::Instant::now();
    let mut out = Vec::new();
    assert!(dialog.session().hand_on_end(now, &mut out).is_err());
    assert!(out.is_empty());
}

#[test]
fn what_a_server_lacks_is_not_asked_of_it() {
    let mut dialog = Dialog::offered(&["SIZE 5"]);
    let now = std::time::Instant::now();
    let mut out = Vec::new();
    for (text, lacks) in [
        (" BODY=8BITMIME", Unsuited::EightBit),
        (" BODY=BINARYMIME", Unsuited::Binary),
        (" SMTPUTF8", Unsuited::Utf8Address),
        (" REQUIRETLS", Unsuited::RequireTls),
        (" RET=HDRS", Unsuited::Notices),
        (" SIZE=6", Unsuited::TooLarge),
    ] {
        let sender = "<a@us.example>".parse().unwrap();
        let refused = dialog.session().hand_on_mail(now, &sender, &params(text), &mut out);
        assert_eq!(refused, Err(NotHandedOn::Unsuited(lacks)), "{text}");
    }
    let utf8 = "<\u{e4}@mx.example>".parse().unwrap();
    let refused = dialog.session().hand_on_rcpt(now, &utf8, &RcptParams::default(), &mut out);
    assert_eq!(refused, Err(NotHandedOn::Unsuited(Unsuited::Utf8Address)));
    assert!(out.is_empty());
    mail(Dialog::offered(&[]), " SIZE=6 AUTH=<>").says("MAIL FROM:<a@us.example>");
}

#[test]
fn chunks_carry_any_octets_and_a_refused_one_ends_the_session() {
    let begun =
        || rcpt(mail(Dialog::offered(&["CHUNKING", "BINARYMIME", "PIPELINING"]), " BODY=BINARYMIME"), "b");
    let chunk = |dialog: Dialog, octets: &[u8], is_last| {
        dialog.hands_on(|session, now, out| session.hand_on_chunk(now, octets, is_last, out))
    };
    let ready = || begun().hears("250 a").hears("250 b").tells(&["250 a", "250 b"]);
    let mut dialog = chunk(chunk(ready(), b"a\n.", false), b"\r", true);
    assert!(dialog.said().ends_with("BDAT 3\r\na\n.BDAT 1 LAST\r\n\r"));
    dialog.hears("250 go on").tells(&[]).hears("250 taken").tells(&["250 taken"]);
    chunk(ready(), b"abc", false).hears("552 full").ends("the body refused: 552 full");
    let lost = chunk(chunk(ready(), b"abc", false), b"", true).cut();
    lost.ends("connection lost at the end of data");
}

#[test]
fn a_body_may_take_its_time_and_a_reply_may_not() {
    let long = Duration::from_secs(3600);
    let dialog = begun().waits(long);
    assert!(dialog.is_open());
    end(body(dialog, b"x\r\n")).waits(long).ends("timed out at the end of data");
    mail(Dialog::offered(&[]), "").waits(long).ends("timed out at MAIL");
}

proptest! {
    /// However the replies come in, each command has the one that is its.
    #[test]
    fn replies_stay_in_step(codes in prop::collection::vec(prop::sample::select(vec![250_u16, 251, 450, 550]), 1..20), cut in 1_usize..60) {
        let mut dialog = mail(Dialog::offered(&["PIPELINING"]), "");
        for _ in 1..codes.len() {
            dialog = rcpt(dialog, "b");
        }
        let replies: Vec<String> = codes.iter().enumerate().map(|(n, code)| format!("{code} {n}")).collect();
        let octets = replies.join("\r\n") + "\r\n";
        for part in octets.as_bytes().chunks(cut) {
            dialog = dialog.receives(part);
        }
        let expected: Vec<&str> = replies.iter().map(String::as_str).collect();
        let mut dialog = dialog.tells(&expected);
        prop_assert!(dialog.session().is_resting());
    }
}
