//! The `Received:` header (RFC 5321 section 4.4).

use std::borrow::Cow;
use std::net::IpAddr;

use gatepost_smtp::server::Envelope;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use memchr::memmem;

use super::{Origin, Submission};
use crate::queue::QueueId;

/// Builds it: CRLF lines, folded, nothing in it that could end a line or a comment early.
///
/// ```text
/// Received: from client.example.com ([192.0.2.7])
///     by mx.example.org with ESMTPSA (TLSv1.3 TLS_AES_256_GCM_SHA384)
///     id 0123456789ABC for <me@example.org>;
///     Tue, 14 Nov 2023 22:13:20 +0000
/// ```
#[must_use]
pub fn received(hostname: &str, id: QueueId, submission: &Submission) -> Vec<u8> {
    let Submission { envelope, origin, .. } = submission;
    from_peer(hostname, Some(id), envelope, origin)
}

/// The same for a mail that is only passed through to a server behind, whose own line will have an id.
#[must_use]
pub fn passed_through(hostname: &str, envelope: &Envelope, origin: &Origin) -> Vec<u8> {
    from_peer(hostname, None, envelope, origin)
}

fn from_peer(hostname: &str, id: Option<QueueId>, envelope: &Envelope, origin: &Origin) -> Vec<u8> {
    let smtputf8 = envelope.params.smtputf8;
    let secured = origin.tls.as_ref().map(|tls| (atom(&tls.version, false), atom(&tls.cipher, false)));
    let secured = secured.map(|(version, cipher)| format!(" ({version} {cipher})")).unwrap_or_default();
    let clauses = match id {
        Some(id) => format!(" id {id}{}", only_recipient(envelope)),
        None => only_recipient(envelope),
    };
    let (fold, clauses) = clauses.strip_prefix(' ').map_or(("", ""), |clauses| ("\r\n\t", clauses));
    let header = format!(
        "Received: from {} ({})\r\n\tby {} with {}{secured}{fold}{clauses};\r\n\t{}\r\n",
        atom(&origin.helo, smtputf8),
        address_literal(origin.peer.ip()),
        atom(hostname, false),
        protocol(origin, smtputf8),
        date(origin.received_at_ms),
    );
    header.into_bytes()
}

/// The same for a mail that came as a file: nobody spoke to us.
///
/// ```text
/// Received: by mx.example.org (pickup)
///     id 0123456789ABC for <me@example.org>;
///     Tue, 14 Nov 2023 22:13:20 +0000
/// ```
#[must_use]
pub fn picked_up(hostname: &str, id: QueueId, envelope: &Envelope, received_at_ms: u64) -> Vec<u8> {
    let mut header = format!("Received: by {} (pickup)\r\n\tid {id}", atom(hostname, false));
    header.push_str(&only_recipient(envelope));
    header.push_str(&format!(";\r\n\t{}\r\n", date(received_at_ms)));
    header.into_bytes()
}

/// A whole `Date:` field (RFC 5322 section 3.6.1).
#[must_use]
pub fn date_field(at_ms: u64) -> Vec<u8> {
    format!("Date: {}\r\n", date(at_ms)).into_bytes()
}

/// With more than one it would tell each of them about the others (RFC 5321 section 7.6).
fn only_recipient(envelope: &Envelope) -> String {
    let [only] = envelope.recipients.as_slice() else { return String::new() };
    let path = only.path.to_string();
    let is_plain = path.chars().all(|character| !character.is_control());
    let may_be_shown = is_plain && (envelope.params.smtputf8 || path.is_ascii());
    if may_be_shown { format!(" for {path}") } else { String::new() }
}

/// Of a mail that was made here, at a time in milliseconds since 1970: it came from nobody.
#[must_use]
pub fn made_here(hostname: &str, id: QueueId, at_ms: u64) -> Vec<u8> {
    format!("Received: by {} id {id};\r\n\t{}\r\n", atom(hostname, false), date(at_ms)).into_bytes()
}

/// By which protocol a mail came; of one that was made here, which part of the server has made it.
#[must_use]
pub fn way_of(origin: &Origin, smtputf8: bool) -> &str {
    if origin.is_here() { &origin.listener } else { protocol(origin, smtputf8) }
}

/// RFC 3848, and RFC 6531 section 4.3 for internationalised mail.
fn protocol(origin: &Origin, smtputf8: bool) -> &'static str {
    match (origin.esmtp, smtputf8, origin.tls.is_some(), origin.user.is_some()) {
        (false, ..) => "SMTP",
        (true, false, false, false) => "ESMTP",
        (true, false, false, true) => "ESMTPA",
        (true, false, true, false) => "ESMTPS",
        (true, false, true, true) => "ESMTPSA",
        (true, true, false, false) => "UTF8SMTP",
        (true, true, false, true) => "UTF8SMTPA",
        (true, true, true, false) => "UTF8SMTPS",
        (true, true, true, true) => "UTF8SMTPSA",
    }
}

/// The keyword that the topmost `Received:` among these header lines of ours has; `None` where nobody spoke to us.
#[must_use]
pub(crate) fn way_in(head: &[u8]) -> Option<&str> {
    let field = head.get(memmem::find(head, RECEIVED)?..)?;
    // What the peer calls itself stands before this, and may be any word.
    let line = field.get(memmem::find(field, BY)?.saturating_add(CRLF.len())..)?;
    let end = memmem::find(line, CRLF).unwrap_or(line.len());
    let mut words = str::from_utf8(line.get(..end)?).ok()?.split_ascii_whitespace().skip(2);
    words.next().filter(|word| *word == "with")?;
    words.next()
}

/// `TCP-info`: the address in brackets. An IPv4 peer of an IPv6 socket is an IPv4 peer.
fn address_literal(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    }
}

/// A name that a peer gave was checked against its grammar; what else there is becomes `?` all the same, since a space
/// or a bracket here would forge a trace.
fn atom(text: &str, smtputf8: bool) -> Cow<'_, str> {
    let allowed = |character: char| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '_' | ':' | '[' | ']' => true,
        other => smtputf8 && !other.is_ascii() && other.is_alphanumeric(),
    };
    if text.len() <= NAME_CHARACTERS_MAX && text.chars().all(allowed) {
        return text.into();
    }
    text.chars()
        .take(NAME_CHARACTERS_MAX)
        .map(|character| if allowed(character) { character } else { '?' })
        .collect()
}

/// RFC 5322 section 3.3, in UTC. A clock that cannot be told as a date gives the epoch.
pub(crate) fn date(at_ms: u64) -> String {
    let at = i64::try_from(at_ms)
        .ok()
        .and_then(|at_ms| Timestamp::from_millisecond(at_ms).ok())
        .unwrap_or_default();
    DateTimePrinter::new()
        .zoned_to_string(&at.to_zoned(jiff::tz::TimeZone::UTC))
        .unwrap_or_else(|_| EPOCH.to_owned())
}

const RECEIVED: &[u8] = b"Received: ";
const BY: &[u8] = b"\r\n\tby ";
const CRLF: &[u8] = b"\r\n";
/// A domain has 255 octets, a literal fewer: longer names cannot be.
const NAME_CHARACTERS_MAX: usize = 255;
const EPOCH: &str = "Thu, 1 Jan 1970 00:00:00 +0000";

#[cfg(test)]
mod tests {
    use gatepost_smtp::server::{Envelope, Recipient, TlsFacts};
    use gatepost_smtp::wire::params::{MailParams, RcptParams};
    use proptest::prelude::*;

    use super::*;

    fn submission(recipients: &[&str]) -> Submission {
        let recipient =
            |path: &&str| Recipient { path: path.parse().unwrap(), params: RcptParams::default() };
        Submission::new(
            Envelope {
                reverse_path: "<>".parse().unwrap(),
                params: MailParams::default(),
                recipients: recipients.iter().map(recipient).collect(),
            },
            Origin {
                session: "S".to_owned(),
                listener: "mx".to_owned(),
                peer: "[::ffff:192.0.2.7]:25".parse().unwrap(),
                helo: "client.example.com".to_owned(),
                esmtp: true,
                tls: Some(TlsFacts {
                    version: "TLSv1.3".to_owned(),
                    cipher: "TLS_AES_256_GCM_SHA384".to_owned(),
                }),
                user: Some("me@localhost".to_owned()),
                received_at_ms: 1_700_000_000_000,
            },
        )
    }

    fn text(submission: &Submission) -> String {
        String::from_utf8(received("mx.example.org", QueueId(5), submission)).unwrap()
    }

    #[test]
    fn one_recipient_is_named() {
        assert_eq!(
            text(&submission(&["<me@example.org>"])),
            "Received: from client.example.com ([192.0.2.7])\r\n\
             \tby mx.example.org with ESMTPSA (TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n\
             \tid 0000000000005 for <me@example.org>;\r\n\
             \tTue, 14 Nov 2023 22:13:20 +0000\r\n"
        );
    }

    #[test]
    fn several_recipients_are_not_told_of_each_other() {
        assert!(!text(&submission(&["<a@example.org>", "<b@example.org>"])).contains(" for "));
    }

    #[test]
    fn the_protocol_says_what_was_used() {
        let mut submission = submission(&[]);
        let protocols = [
            ("UTF8SMTPSA", true, true, true, true),
            ("ESMTPS", true, false, true, false),
            ("ESMTPA", true, false, false, true),
            ("ESMTP", true, false, false, false),
            ("SMTP", false, false, true, false),
        ];
        submission.origin.helo = "with".to_owned();
        for (protocol, esmtp, smtputf8, tls, user) in protocols {
            submission.envelope.params.smtputf8 = smtputf8;
            submission.origin.esmtp = esmtp;
            submission.origin.tls =
                tls.then(|| TlsFacts { version: "TLSv1.2".to_owned(), cipher: "X".to_owned() });
            submission.origin.user = user.then(|| "me".to_owned());
            let header = text(&submission);
            assert!(
                header.contains(&format!(" with {protocol}\r\n"))
                    || header.contains(&format!(" with {protocol} ("))
            );
            let head = format!("Return-Path: <>\r\nDelivered-To: me@localhost\r\n{header}X: with y;\r\n");
            assert_eq!(
                (way_of(&submission.origin, smtputf8), way_in(head.as_bytes())),
                (protocol, Some(protocol))
            );
        }
    }

    #[test]
    fn what_was_made_here_came_by_no_protocol() {
        let origin = Origin::here("S".to_owned(), "pickup", "mx.example.org", 5);
        assert_eq!(way_of(&origin, false), "pickup");
        let header =
            picked_up("mx.example.org", QueueId(5), &submission(&["<with@example.org>"]).envelope, 5);
        assert_eq!((way_in(&header), way_in(b"X: with y\r\n")), (None, None));
    }

    proptest! {
        #[test]
        fn no_name_can_forge_a_line_or_a_comment(helo in any::<String>(), hostname in any::<String>(), utf8: bool) {
            let mut submission = submission(&["<me@example.org>"]);
            submission.origin.helo = helo;
            submission.envelope.params.smtputf8 = utf8;
            let header = String::from_utf8(received(&hostname, QueueId(1), &submission)).unwrap();
            prop_assert_eq!(header.matches("\r\n").count(), 4);
            prop_assert_eq!(header.matches(['\r', '\n']).count(), 8);
            prop_assert_eq!(header.matches('(').count(), 2);
            prop_assert_eq!(header.matches(';').count(), 1);
            prop_assert!(header.split("\r\n").all(|line| line.chars().count() <= 998));
        }
    }
}
