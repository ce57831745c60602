//! The notification as a mail: `multipart/report` of a text for people, the status for programs, and what comes back.

use std::fmt::{self, Write as _};

use gatepost_smtp::wire::path::ReversePath;

use super::field::{Address, Original, Text};
use super::report::{Action, Told};
use super::returned::Returned;
use crate::intake::trace;
use crate::queue::{NewMessage, QueueId};

/// What a notification is made of. Times are milliseconds since 1970.
pub(super) struct Notification<'a> {
    /// Its own.
    pub(super) id: QueueId,
    /// The mail that it is about.
    pub(super) message: &'a NewMessage,
    /// At least one.
    pub(super) told: &'a [Told],
    pub(super) returned: &'a Returned,
    /// Our name, checked.
    pub(super) hostname: &'a str,
    pub(super) now_ms: u64,
    /// How long delayed recipients are tried.
    pub(super) expires_at_ms: u64,
    /// Unguessable: what comes back was written before anybody knew it, so it cannot end its part.
    pub(super) boundary: &'a str,
}

// === impl Notification ===

impl Notification<'_> {
    /// The whole mail, CRLF lines.
    pub(super) fn render(&self) -> Vec<u8> {
        // Texts are built in memory, where writing does not fail.
        let mut text = String::new();
        let _written = self.head(&mut text);
        let _written = self.explanation(&mut text);
        let _written = self.status(&mut text);
        let _written = self.introduce_returned(&mut text);
        let mut octets = text.into_bytes();
        octets.extend_from_slice(self.returned.octets());
        if !octets.ends_with(b"\r\n") {
            octets.extend_from_slice(b"\r\n");
        }
        octets.extend_from_slice(format!("\r\n--{}--\r\n", self.boundary).as_bytes());
        octets
    }

    /// Whether the sender, who has used SMTPUTF8, gets it too (RFC 6533).
    pub(super) const fn is_global(&self) -> bool {
        self.message.submission.envelope.params.smtputf8
    }

    fn head(&self, text: &mut String) -> fmt::Result {
        let Self { id, hostname, boundary, .. } = self;
        let sender = match &self.message.submission.envelope.reverse_path {
            ReversePath::Mailbox(mailbox) => mailbox.to_string(),
            ReversePath::Null => String::new(),
        };
        write!(
            text,
            "From: Mail Delivery System <MAILER-DAEMON@{hostname}>\r\n\
             To: <{sender}>\r\n\
             Subject: {}\r\n\
             Date: {}\r\n\
             Message-ID: <{id}@{hostname}>\r\n",
            self.subject(),
            trace::date(self.now_ms),
        )?;
        if let Some(message_id) = message_id(self.returned.octets()) {
            write!(text, "In-Reply-To: {message_id}\r\nReferences: {message_id}\r\n")?;
        }
        write!(
            text,
            "Auto-Submitted: auto-replied\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\
             \tboundary=\"{boundary}\"\r\n"
        )
    }

    fn subject(&self) -> &'static str {
        match self.told.iter().map(|told| told.action).max() {
            Some(Action::Failed) => "Your mail could not be delivered",
            Some(Action::Delayed) => "Your mail is late",
            Some(Action::Relayed) => "Your mail was handed on",
            Some(Action::Expanded) => "Your mail was passed on to several addresses",
            Some(Action::Delivered) | None => "Your mail was delivered",
        }
    }

    /// For people.
    fn explanation(&self, text: &mut String) -> fmt::Result {
        let (charset, encoding) = if self.is_global() { ("utf-8", "8bit") } else { ("us-ascii", "7bit") };
        self.part(text, &format!("text/plain; charset={charset}"), encoding)?;
        write!(text, "This is the mail server {}.\r\n", self.hostname)?;
        for action in [Action::Failed, Action::Delayed, Action::Relayed, Action::Expanded, Action::Delivered]
        {
            let mut told = self.told.iter().filter(|told| told.action == action).peekable();
            if told.peek().is_none() {
                continue;
            }
            write!(text, "\r\n{}\r\n", self.opening(action))?;
            told.try_for_each(|told| self.explain(told, text))?;
        }
        write!(text, "\r\nIts name here is {}.\r\n", self.message.id)
    }

    fn opening(&self, action: Action) -> String {
        match action {
            Action::Failed => "Your mail could not be delivered to these recipients. It has been given up for them:".to_owned(),
            Action::Delayed => format!(
                "Your mail has not reached these recipients yet. There is nothing that you need to do:\r\n\
                 it is tried again until {}.",
                trace::date(self.expires_at_ms)
            ),
            Action::Relayed => {
                "Your mail was handed on for these recipients, to servers that do not tell whether it arrived:".to_owned()
            }
            Action::Expanded => {
                "Your mail was passed on to everybody behind these addresses; whether it has arrived is not told:".to_owned()
            }
            Action::Delivered => "Your mail lies in the mailboxes of:".to_owned(),
        }
    }

    fn explain(&self, told: &Told, text: &mut String) -> fmt::Result {
        let address = self.address(told);
        match self.is_global() && !address.chars().any(char::is_control) {
            true => write!(text, "\r\n  <{address}>")?,
            false => write!(text, "\r\n  <{}>", Text(&address))?,
        }
        if !told.reason.is_empty() {
            write!(text, ": {}", Text(&told.reason))?;
        }
        text.push_str("\r\n");
        if let Some((name, reply)) = told.hop.as_ref().and_then(|hop| Some((&hop.name, hop.reply.as_ref()?)))
        {
            write!(text, "    {} said: {}\r\n", Text(name), Text(reply))?;
        }
        Ok(())
    }

    /// For programs (RFC 3464 section 2).
    fn status(&self, text: &mut String) -> fmt::Result {
        let (kind, encoding) = match self.is_global() {
            true => ("message/global-delivery-status", "8bit"),
            false => ("message/delivery-status", "7bit"),
        };
        self.part(text, kind, encoding)?;
        let submission = &self.message.submission;
        if let Some(envid) = &submission.envelope.params.envid {
            write!(text, "Original-Envelope-Id: {}\r\n", Text(envid))?;
        }
        write!(
            text,
            "Reporting-MTA: dns; {}\r\nArrival-Date: {}\r\n",
            self.hostname,
            trace::date(submission.origin.received_at_ms)
        )?;
        self.told.iter().try_for_each(|told| self.recipient(told, text))
    }

    fn recipient(&self, told: &Told, text: &mut String) -> fmt::Result {
        let global = self.is_global();
        text.push_str("\r\n");
        let envelope = &self.message.submission.envelope;
        let original = envelope.recipients.get(told.recipient).and_then(|known| known.params.orcpt.as_ref());
        if let Some(recipient) = original {
            write!(text, "Original-Recipient: {}\r\n", Original { recipient, global })?;
        }
        write!(
            text,
            "Final-Recipient: {}\r\nAction: {}\r\nStatus: {}\r\n",
            Address { address: &self.address(told), global },
            told.action.name(),
            told.status
        )?;
        if let Some(hop) = &told.hop {
            write!(text, "Remote-MTA: dns; {}\r\n", Text(&hop.name))?;
            if let Some(reply) = &hop.reply {
                write!(text, "Diagnostic-Code: smtp; {}\r\n", Text(reply))?;
            }
        }
        write!(text, "Last-Attempt-Date: {}\r\n", trace::date(self.now_ms))?;
        if told.action == Action::Delayed {
            write!(text, "Will-Retry-Until: {}\r\n", trace::date(self.expires_at_ms))?;
        }
        Ok(())
    }

    fn introduce_returned(&self, text: &mut String) -> fmt::Result {
        let kind = match (self.returned, self.is_global()) {
            (Returned::Whole(_), false) => "message/rfc822",
            (Returned::Whole(_), true) => "message/global",
            (Returned::Headers(_), false) => "text/rfc822-headers",
            (Returned::Headers(_), true) => "message/global-headers",
        };
        self.part(text, kind, if self.returned.octets().is_ascii() { "7bit" } else { "8bit" })
    }

    fn part(&self, text: &mut String, kind: &str, encoding: &str) -> fmt::Result {
        write!(
            text,
            "\r\n--{}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n",
            self.boundary
        )
    }

    /// As it was in RCPT, without angle brackets: what an alias makes of it is no business of the sender's.
    fn address(&self, told: &Told) -> String {
        let submission = &self.message.submission;
        let known = submission.envelope.recipients.get(told.recipient).map(|known| &known.path);
        let named = submission.forwards.of(told.recipient).or(known);
        let path = named.map(ToString::to_string).unwrap_or_default();
        path.trim_start_matches('<').trim_end_matches('>').to_owned()
    }
}

/// The value of the first `Message-ID:`, where it is one: `<`, printable ASCII without spaces and brackets, `>`.
fn message_id(headers: &[u8]) -> Option<String> {
    let lines = headers.split(|octet| *octet == b'\n').take_while(|line| !line.trim_ascii().is_empty());
    let value = lines.filter_map(|line| {
        let (name, value) = line.split_at_checked(MESSAGE_ID.len())?;
        name.eq_ignore_ascii_case(MESSAGE_ID).then(|| value.trim_ascii())
    });
    let value = value.take(1).next()?;
    let inner = value.strip_prefix(b"<")?.strip_suffix(b">")?;
    let is_plain = |octet: &u8| octet.is_ascii_graphic() && *octet != b'<' && *octet != b'>';
    if value.len() > MESSAGE_ID_OCTETS_MAX || inner.is_empty() || !inner.iter().all(is_plain) {
        return None;
    }
    String::from_utf8(value.to_vec()).ok()
}

const MESSAGE_ID: &[u8] = b"message-id:";
/// A line of 998 octets (RFC 5322 section 2.1.1) with the field's name before it, and far more than any program writes.
const MESSAGE_ID_OCTETS_MAX: usize = 500;

#[cfg(test)]
mod tests;
