//! What a notification says, before it is text.

use std::fmt;

use crate::delivery::HopReport;

/// What one recipient's sender is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::delivery) struct Told {
    /// Index into the recipients of the envelope.
    pub(in crate::delivery) recipient: usize,
    pub(in crate::delivery) action: Action,
    pub(super) status: Status,
    /// For people. Empty where there is nothing to explain.
    pub(super) reason: String,
    pub(super) hop: Option<HopReport>,
}

/// `Action:` (RFC 3464 section 2.3.3). The order is that of how much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::delivery) enum Action {
    /// In the mailbox.
    Delivered,
    /// On its way to several addresses that the one of the sender stands for, who hears no more of its success.
    Expanded,
    /// Taken by a next hop that sends no notifications.
    Relayed,
    /// Not yet.
    Delayed,
    /// Given up.
    Failed,
}

/// An enhanced status code (RFC 3463).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status {
    class: u8,
    subject: u16,
    detail: u16,
}

// === impl Told ===

impl Told {
    /// `text` is a status code and a reason, such as `5.1.1 nobody of this name`. The class follows from the action: what
    /// was given up is a failure, whatever its last reason was.
    pub(super) fn new(recipient: usize, action: Action, text: &str, hop: Option<HopReport>) -> Self {
        let (status, reason) = Status::parse(text);
        let status = Status { class: action.class(), ..status };
        Self { recipient, action, status, reason: reason.to_owned(), hop }
    }
}

// === impl Action ===

impl Action {
    /// As `Action:` and the event log have it.
    pub(in crate::delivery) const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Expanded => "expanded",
            Self::Relayed => "relayed",
            Self::Delayed => "delayed",
            Self::Failed => "failed",
        }
    }

    const fn class(self) -> u8 {
        match self {
            Self::Delivered | Self::Expanded | Self::Relayed => 2,
            Self::Delayed => 4,
            Self::Failed => 5,
        }
    }
}

// === impl Status ===

impl Status {
    /// `class "." subject "." detail`, three digits each at most, and what follows it. A text without one is undefined
    /// status `x.0.0`, which RFC 3463 has for that.
    pub(super) fn parse(text: &str) -> (Self, &str) {
        let undefined = Self { class: 5, subject: 0, detail: 0 };
        let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut parts = code.split('.');
        let mut number = || parts.next().filter(|part| is_number(part)).and_then(|part| part.parse().ok());
        match (number(), number(), number(), parts.next()) {
            (Some(class @ (2 | 4 | 5)), Some(subject), Some(detail), None) => {
                (Self { class: u8::try_from(class).unwrap_or(5), subject, detail }, rest)
            }
            _ => (undefined, text),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

fn is_number(text: &str) -> bool {
    (1..=3).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit())
}

#[cfg(test)]
pub(super) mod tests {
    use gatepost_smtp::server::{Envelope, Recipient};
    use gatepost_smtp::wire::params::{MailParams, RcptParams};
    use proptest::prelude::*;

    use super::*;
    use crate::intake::{Body, Origin, Submission};
    use crate::queue::{NewMessage, QueueId};

    /// A mail to two recipients.
    pub(in crate::delivery::dsn) fn message(reverse_path: &str, params: &str) -> NewMessage {
        let recipient = |path: &str| Recipient { path: path.parse().unwrap(), params: RcptParams::default() };
        NewMessage {
            id: QueueId(7),
            submission: Submission::new(
                Envelope {
                    reverse_path: reverse_path.parse().unwrap(),
                    params: MailParams::parse(params).unwrap(),
                    recipients: vec![recipient("<one@localhost>"), recipient("<two@localhost>")],
                },
                Origin {
                    session: "S1".into(),
                    listener: "smtp".into(),
                    peer: "192.0.2.7:25".parse().unwrap(),
                    helo: "client.example.org".into(),
                    esmtp: true,
                    tls: None,
                    user: None,
                    received_at_ms: 1_700_000_000_000,
                },
            ),
            trace: b"Received: from client.example.org\r\n".to_vec(),
            body: Body::Memory("Message-ID: <a@b.example>\r\nSubject: hi\r\n\r\nThe text.\r\n".into()),
            stamp: Some("yara/1/1".parse().unwrap()),
        }
    }

    #[test]
    fn a_status_is_read_off_its_text() {
        let parse = |text| {
            let (status, rest) = Status::parse(text);
            (status.to_string(), rest)
        };
        assert_eq!(parse("5.1.1 gone"), ("5.1.1".to_owned(), "gone"));
        assert_eq!(parse("4.2.0"), ("4.2.0".to_owned(), ""));
        for text in ["gone", "", "3.1.1 x", "5.1 x", "5.1.1.1 x", "5.1.+1 x", "5.1.1234 x"] {
            assert_eq!(parse(text), ("5.0.0".to_owned(), text), "{text}");
        }
    }

    #[test]
    fn what_is_given_up_is_a_failure_whatever_its_last_reason_was() {
        assert_eq!(Told::new(0, Action::Failed, "4.2.2 full", None).status.to_string(), "5.2.2");
    }

    proptest! {
        #[test]
        fn any_text_has_a_status(text: String) {
            let (status, rest) = Status::parse(&text);
            prop_assert!(text.ends_with(rest));
            prop_assert_eq!(Status::parse(&status.to_string()).0, status);
        }
    }
}
