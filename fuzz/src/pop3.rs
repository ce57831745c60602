//! The whole POP3 session, and what a message looks like at the client.

use gatepost_smtp::server::TlsMode;

use crate::input::{Cuts, Input};
use crate::mailbox::Mailbox;

/// Any split of the same octets gives the same session. 0xFF stands for waiting, and for the handshake where one is due.
pub fn check_splits(octets: &[u8]) {
    let mut input = Input::new(octets);
    let tls = [TlsMode::Implicit, TlsMode::StartTls, TlsMode::None][usize::from(input.octet() % 3)];
    let cuts = input.cuts();
    let stream = input.rest();
    let play = |cuts: Cuts| {
        let mut mailbox = Mailbox::open(tls, b"a: b\r\n\r\n.dot\r\nend\r\n");
        let mut has_waited_for_tls = true;
        for group in stream.split(|octet| *octet == 0xff) {
            if mailbox.is_upgrading && mailbox.closed.is_none() {
                mailbox.secure();
            }
            for piece in cuts.pieces(group) {
                has_waited_for_tls &= !mailbox.is_upgrading;
                mailbox.feed(piece);
            }
        }
        mailbox.eof();
        check_replies(&mailbox.heard);
        (has_waited_for_tls, mailbox)
    };
    let (_, whole) = play(Cuts::WHOLE);
    for cuts in [cuts, Cuts::OCTETS] {
        let (has_waited_for_tls, other) = play(cuts);
        if !has_waited_for_tls {
            continue;
        }
        assert_eq!(whole.heard.escape_ascii().to_string(), other.heard.escape_ascii().to_string());
        assert_eq!((whole.closed, &whole.deleted, whole.asked), (other.closed, &other.deleted, other.asked));
    }
}

/// RETR gives the message and TOP its beginning, whatever octets the message has.
pub fn check_message(octets: &[u8]) {
    let mut input = Input::new(octets);
    let lines = usize::from(input.octet() % 8);
    let message = input.rest();
    let fetch = |command: &str| {
        let mut mailbox = Mailbox::open(TlsMode::Implicit, message);
        mailbox.feed(b"USER me@localhost\r\nPASS pencil\r\n");
        mailbox.heard.clear();
        mailbox.feed(command.as_bytes());
        let response = mailbox.heard.strip_prefix(b"+OK message follows\r\n").expect("a message");
        unstuff(response)
    };
    let whole = fetch("RETR 1\r\n");
    let end: &[u8] = if message.is_empty() || message.ends_with(b"\r\n") { b"" } else { b"\r\n" };
    assert_eq!(whole, [message, end].concat());
    let top = fetch(&format!("TOP 1 {lines}\r\n"));
    let kept = top.strip_suffix(b"\r\n").filter(|_| !whole.starts_with(&top)).unwrap_or(&top);
    assert!(whole.starts_with(kept), "TOP gives a beginning");
}

/// RFC 1939 section 3: what a client makes of a multi-line response. It ends with the first line that is a dot.
fn unstuff(response: &[u8]) -> Vec<u8> {
    let stream = [b"\r\n", response].concat();
    let end = stream.windows(5).position(|window| window == b"\r\n.\r\n").expect("an end");
    assert_eq!(end + 5, stream.len(), "nothing stands behind the end");
    let mut message = Vec::new();
    for (index, octet) in stream.iter().enumerate().take(end + 2).skip(2) {
        if *octet != b'.' || !stream[..index].ends_with(b"\r\n") {
            message.push(*octet);
        }
    }
    message
}

/// Every line of a reply is of the server's own making.
fn check_replies(heard: &[u8]) {
    assert!(heard.ends_with(b"\r\n"));
    let text = std::str::from_utf8(heard).expect("UTF-8");
    assert!(!text.replace("\r\n", "").contains(|c: char| c.is_control()));
}
