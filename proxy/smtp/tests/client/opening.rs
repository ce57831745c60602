use gatepost_smtp::client::{Protocol, StartTls};

use crate::dialog::{Dialog, config};

#[test]
fn a_server_is_greeted_and_left() {
    Dialog::new(config())
        .says_nothing()
        .hears("220 mx.example ESMTP")
        .says("EHLO us.example")
        .hears("250-mx.example\n250 8BITMIME")
        .gets_ready()
        .says_nothing()
        .quits()
        .says("QUIT")
        .hears("221 bye")
        .ends("quit");
}

#[test]
fn a_server_without_ehlo_is_greeted_with_helo() {
    let dialog = Dialog::new(config()).hears("220 hello").says("EHLO us.example").hears("502 what?");
    dialog.says("HELO us.example").hears("250 hello").gets_ready();
}

#[test]
fn a_server_without_lhlo_speaks_no_lmtp() {
    let dialog = Dialog::with(|config| config.protocol = Protocol::Lmtp).hears("220 hello");
    dialog.says("LHLO us.example").hears("500 what?").says("QUIT").ends("EHLO refused: 500 what?");
}

#[test]
fn a_refusal_to_talk_is_told_with_its_words() {
    let refused = Dialog::new(config()).hears("554 no service");
    refused.says("QUIT").ends("the greeting refused: 554 no service");
    let busy = Dialog::new(config()).hears("220 hello").hears("450 later");
    busy.ends("EHLO refused: 450 later");
    let no_helo = Dialog::new(config()).hears("220 hello").hears("502 what?").hears("550 go away");
    no_helo.ends("EHLO refused: 550 go away");
    let closing = Dialog::new(config()).hears("421 too many of you");
    closing.says_nothing().ends("closed by the next hop at the greeting: 421 too many of you");
    let odd = Dialog::new(config()).hears("354 what?");
    odd.ends("unexpected reply to the greeting: 354 what?");
}

#[test]
fn nothing_is_said_before_the_greeting_is_whole() {
    Dialog::new(config())
        .receives(b"220-a\r\n220 b")
        .says_nothing()
        .receives(b"\r")
        .says_nothing()
        .receives(b"\n")
        .says("EHLO us.example");
}

#[test]
fn a_reply_to_nothing_ends_the_session() {
    Dialog::new(config()).hears("220 hello\n250 and welcome").ends("a reply without a command at EHLO");
    let idle = Dialog::offered(&[]).hears("250 still here");
    idle.ends("a reply without a command at rest");
    Dialog::offered(&[])
        .hears("421 idle for too long")
        .ends("closed by the next hop at rest: 421 idle for too long");
}

#[test]
fn octets_that_are_no_reply_end_the_session() {
    Dialog::new(config())
        .hears("SSH-2.0-OpenSSH")
        .says_nothing()
        .ends("a line that is no reply at the greeting");
    Dialog::new(config()).receives(b"220 hello\n").ends("bare LF in a reply at the greeting");
    Dialog::new(config()).receives(&[b'2'; 3_000]).ends("a reply line over 2000 octets at the greeting");
    let lines = b"250-x\r\n".repeat(200);
    Dialog::new(config()).hears("220 hello").receives(&lines).ends("a reply over 100 lines at EHLO");
}

#[test]
fn quit_needs_no_answer() {
    Dialog::offered(&[]).quits().cut().ends("quit");
    let patience = config().patience;
    Dialog::offered(&[]).quits().waits(patience.quit).ends("quit");
    Dialog::offered(&[]).quits().hears("421 go").ends("quit");
    Dialog::offered(&[]).quits().hears("500 what?").ends("quit");
}

#[test]
fn starttls_is_not_asked_for_where_it_must_not_be() {
    let dialog = Dialog::with(|config| config.starttls = StartTls::Never).hears("220 hello");
    dialog.says("EHLO us.example").hears("250-mx\n250 STARTTLS").says_nothing().gets_ready();
}
