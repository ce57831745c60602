//! A mail made of messages in mailboxes, so that it can go back to them.

use gatepost_smtp::server::{Envelope, Recipient};
use gatepost_smtp::wire::params::{MailParams, RcptParams};
use gatepost_smtp::wire::path::ReversePath;

use crate::intake::{Body, Origin, Submission};
use crate::queue::{NewMessage, QueueId};
use crate::store::Copied;

/// Of copies that have come as one mail: its sender as the first of them has it, the owners of the mailboxes as its recipients, and its
/// way as it was. `None` where no mailbox is an address.
pub(super) fn message(id: QueueId, copies: &[&Copied], body: Body, hostname: &str) -> Option<NewMessage> {
    let first = copies.first()?;
    let recipient = |copy: &&Copied| {
        let path = format!("<{}>", copy.mailbox).parse().ok()?;
        Some(Recipient { path, params: RcptParams::default() })
    };
    let recipients: Vec<Recipient> = copies.iter().filter_map(recipient).collect();
    if recipients.is_empty() {
        return None;
    }
    let (sender, trace) = split(&first.head);
    let envelope = Envelope { reverse_path: sender, params: MailParams::default(), recipients };
    let origin = Origin::here(SESSION.to_owned(), LISTENER, hostname, first.received_at_ms);
    Some(NewMessage { id, submission: Submission::new(envelope, origin), trace, body, stamp: None })
}

/// Of the envelope that a copy came with; null where its head does not say.
pub(super) fn sender(head: &[u8]) -> ReversePath {
    split(head).0
}

/// The sender, and the lines behind those that the delivery has put on top.
fn split(head: &[u8]) -> (ReversePath, Vec<u8>) {
    let mut sender = ReversePath::Null;
    let mut rest = head;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let (line, behind) = rest.split_at_checked(end.saturating_add(1)).unwrap_or((rest, &[]));
        if let Some(path) = line.strip_prefix(b"Return-Path: ") {
            let path = std::str::from_utf8(path.trim_ascii()).ok().and_then(|path| path.parse().ok());
            sender = path.unwrap_or(ReversePath::Null);
        } else if !line.starts_with(b"Delivered-To: ") {
            break;
        }
        rest = behind;
    }
    (sender, rest.to_vec())
}

/// Where other mail has the id of its session, and the name of the listener that it came by.
pub(super) const SESSION: &str = "MAILBOX";
const LISTENER: &str = "mailbox";

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(mailbox: &str, head: &'static [u8]) -> Copied {
        Copied {
            mailbox: mailbox.to_owned(),
            folder: "INBOX".to_owned(),
            uid: 1,
            queue_id: QueueId(7),
            received_at_ms: 5,
            head: head.into(),
        }
    }

    #[test]
    fn a_mail_is_made_of_its_copies() {
        let head =
            b"Return-Path: <a@b.example>\r\nDelivered-To: ann@localhost\r\nReceived: x\r\n\ty\r\nX: y\r\n";
        let (ann, bob) = (copy("ann@localhost", head), copy("bob@localhost", b"Return-Path: <>\r\n"));
        let message = message(QueueId(9), &[&ann, &bob], Body::Memory("x".into()), "mx.example").unwrap();
        assert_eq!(message.trace, b"Received: x\r\n\ty\r\nX: y\r\n");
        let envelope = &message.submission.envelope;
        assert_eq!(envelope.reverse_path.to_string(), "<a@b.example>");
        assert_eq!(envelope.recipients[1].path.to_string(), "<bob@localhost>");
        assert_eq!(message.submission.origin.received_at_ms, 5);
    }

    #[test]
    fn a_head_of_another_kind_has_no_sender_and_stays() {
        let head = b"Received: x\r\nReturn-Path: <a@b>\r\n";
        assert_eq!(split(head), (ReversePath::Null, head.to_vec()));
        assert_eq!(split(b""), (ReversePath::Null, Vec::new()));
    }
}
