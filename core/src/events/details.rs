//! What an event says of a mail besides its id: what leads to where it came from and for whom it was.

use std::fmt;

use gatepost_smtp::server::Envelope;
use mail_parser::MessageParser;
use serde::{Deserialize, Serialize};

use super::evidence;
use crate::intake::{Body, Submission, trace};
use crate::queue::NewMessage;

/// As far as it is known where the event happens; events of older versions have less of it. All texts are escaped and bounded
/// (`evidence`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// Of the envelope.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sender: String,
    /// How many recipients the envelope has.
    #[serde(default, skip_serializing_if = "is_none")]
    pub recipients: usize,
    /// The first of them, `TO_MAX` at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// As it is shown to readers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How it came in: the keyword of its `Received:` line (RFC 3848), or the part of this server that has made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// When it was accepted, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_at_ms: Option<u64>,
    /// The server behind that has taken it in the session that it came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// And what it has said then: as often as not, its queue id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
}

/// Behind what has happened to a mail: `, from <a@b>, subject "x", over ESMTP, to <c@d> and 3 more`. Nothing of what is not known.
pub(super) struct In<'d>(pub(super) &'d Details);

/// The last part of that.
pub(super) struct To<'d>(pub(super) &'d Details);

/// The subject that a header section has, decoded; it may have the body behind it. `None` where it has none.
#[must_use]
pub(crate) fn subject_of(mail: &[u8]) -> Option<String> {
    let header = mail.get(..HEADER_OCTETS_MAX).unwrap_or(mail);
    let parsed = MessageParser::new().parse_headers(header)?;
    parsed.subject().map(evidence)
}

// === impl Details ===

impl Details {
    /// Of an envelope alone.
    #[must_use]
    pub fn of_envelope(envelope: &Envelope) -> Self {
        let addresses = envelope.recipients.iter().map(|recipient| recipient.path.to_string());
        Self { sender: evidence(&envelope.reverse_path.to_string()), ..Self::default() }
            .with_recipients(addresses)
    }

    /// Of a mail that comes in. The subject of a large one, which lies in a file, is not looked up.
    #[must_use]
    pub fn of(submission: &Submission, body: &Body) -> Self {
        let Submission { envelope, origin, .. } = submission;
        let subject = match body {
            Body::Memory(octets) => subject_of(octets),
            Body::File(_) => None,
        };
        Self {
            subject,
            protocol: Some(trace::way_of(origin, envelope.params.smtputf8).to_owned()),
            received_at_ms: Some(origin.received_at_ms),
            ..Self::of_envelope(envelope)
        }
    }

    /// Of what an event about one recipient says of the mail: the others have events of their own.
    #[must_use]
    pub(crate) fn without_recipients(self) -> Self {
        Self { recipients: 0, to: Vec::new(), ..self }
    }

    /// The same with these recipients.
    #[must_use]
    pub(crate) fn with_recipients(self, mut addresses: impl Iterator<Item = String>) -> Self {
        let to: Vec<String> = addresses.by_ref().take(TO_MAX).map(|address| evidence(&address)).collect();
        let recipients = to.len().saturating_add(addresses.count());
        Self { recipients, to, ..self }
    }
}

impl From<&NewMessage> for Details {
    fn from(message: &NewMessage) -> Self {
        Self::of(&message.submission, &message.body)
    }
}

// === impl In ===

impl fmt::Display for In<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { sender, subject, protocol, .. } = self.0;
        if !sender.is_empty() {
            write!(f, ", from {sender}")?;
        }
        if let Some(subject) = subject {
            // It is escaped already.
            write!(f, ", subject \"{subject}\"")?;
        }
        if let Some(protocol) = protocol {
            write!(f, ", over {protocol}")?;
        }
        To(self.0).fmt(f)
    }
}

// === impl To ===

impl fmt::Display for To<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { recipients, to, .. } = self.0;
        if to.is_empty() {
            return Ok(());
        }
        write!(f, ", to {}", to.join(", "))?;
        match recipients.saturating_sub(to.len()) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_none(count: &usize) -> bool {
    *count == 0
}

/// Names a usual mail's recipients, and keeps a line of the log far below a write.
const TO_MAX: usize = 10;
/// A subject stands before this, or nobody sees it.
const HEADER_OCTETS_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::super::{About, Event, What};
    use super::*;
    use crate::delivery::testing::message;

    #[test]
    fn a_mail_is_told_by_its_envelope_its_subject_and_its_way() {
        let details = Details::from(&message(1, &["a@x.example", "b@y.example"]));
        let expected = Details {
            sender: "<sender@example.org>".into(),
            recipients: 2,
            to: vec!["<a@x.example>".into(), "<b@y.example>".into()],
            subject: Some("hello".into()),
            protocol: Some("ESMTP".into()),
            received_at_ms: Some(1_700_000_000_000),
            ..Details::default()
        };
        assert_eq!(details, expected);
        assert_eq!(details.clone().without_recipients().to, Vec::<String>::new());
    }

    #[test]
    fn of_many_recipients_the_first_are_named() {
        let addresses: Vec<String> = (0..1_000).map(|number| format!("u{number}@x.example")).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let details = Details::from(&message(1, &addresses));
        assert_eq!((details.recipients, details.to.len()), (1_000, TO_MAX));
        let long = "\u{1b}".repeat(10_000);
        let worst = Details::default().with_recipients((0..1_000).map(|_| long.clone()));
        assert!(serde_json::to_vec(&worst).unwrap().len() < 8 * 1024);
    }

    #[test]
    fn a_subject_is_decoded_and_escaped() {
        let subject = |mail: &[u8]| subject_of(mail);
        let mail = b"From: x\r\nSubject: =?utf-8?q?caf=C3=A9?= today\r\n\r\nSubject: y\r\n";
        assert_eq!(subject(mail).as_deref(), Some(r"caf\xc3\xa9 today"));
        assert_eq!((subject(b""), subject(b"From: x\r\n\r\nSubject: y\r\n")), (None, None));
    }

    #[test]
    fn details_stand_in_the_line_of_their_event_and_come_back() {
        let details = Details::from(&message(1, &["a@x.example"]));
        let what = What::Accepted { details, octets: 7, user: None };
        let event = Event { at_ms: 5, about: About::default(), what };
        let line = serde_json::to_value(&event).unwrap();
        assert_eq!(
            (&line["sender"], &line["to"][0]),
            (&"<sender@example.org>".into(), &"<a@x.example>".into())
        );
        assert_eq!(serde_json::from_value::<Event>(line).unwrap(), event);
    }

    #[test]
    fn lines_of_older_versions_are_read() {
        let read = |line: &str| serde_json::from_str::<Event>(line).unwrap().what;
        let accepted = read(
            r#"{"id":302,"at_ms":1,"queue_id":"Q","event":"mail.accepted","sender":"<a@b>","recipients":3,"octets":9}"#,
        );
        let details = Details { sender: "<a@b>".into(), recipients: 3, ..Details::default() };
        assert_eq!(accepted, What::Accepted { details, octets: 9, user: None });
        let scanned = read(r#"{"id":301,"at_ms":1,"event":"mail.scanned","verdict":"infected: X"}"#);
        assert_eq!(scanned, What::Scanned { verdict: "infected: X".into(), details: Details::default() });
        let found = read(
            r#"{"id":703,"at_ms":1,"event":"mailbox.virus_found","database":"default","mailbox":"me@x","folder":"INBOX",
            "uid":2,"content":"aa","threat":"T","found_by":"access","sender":"<a@b>","subject":"s","received_at_ms":4}"#,
        );
        let What::VirusFound { details, .. } = found else { panic!("{found:?}") };
        assert_eq!((details.subject.as_deref(), details.received_at_ms), (Some("s"), Some(4)));
        let remedied = read(
            r#"{"id":705,"at_ms":1,"event":"mailbox.remedied","mailbox":"me@x","folder":"INBOX","uid":2,"content":"aa",
            "threat":"T","found_by":"access","action":"deleted"}"#,
        );
        assert!(matches!(remedied, What::Remedied { database, .. } if database.is_empty()));
        read(
            r#"{"id":603,"at_ms":1,"event":"quarantine.released","by":"uid 0","released_as":"Q2","recipients":1}"#,
        );
        read(r#"{"id":404,"at_ms":1,"event":"recipient.quarantined","recipient":"<a@b>","threat":"T"}"#);
    }
}
