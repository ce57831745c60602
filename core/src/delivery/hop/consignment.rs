//! What is taken to a next hop.

use bytes::Bytes;
use gatepost_smtp::server::{Envelope, Recipient};
use gatepost_smtp::wire::params::MailParams;
use gatepost_smtp::wire::path::ReversePath;

use crate::delivery::loops::been_at;
use crate::intake::Body;
use crate::queue::NewMessage;

/// A mail as a next hop shall see it. What whoever routes wants changed, such as the reverse path, is changed here.
#[derive(Debug, Clone)]
pub struct Consignment {
    /// From whom.
    pub reverse_path: ReversePath,
    /// What the sender asked for; what the next hop does not know is left out.
    pub params: MailParams,
    /// To whom, each with its index into `submission.envelope.recipients`.
    pub recipients: Vec<(usize, Recipient)>,
    /// Header fields of ours that stand before the body: whole CRLF lines.
    pub head: Bytes,
    /// The message as it was received.
    pub body: Body,
}

// === impl Consignment ===

impl Consignment {
    /// The message as the queue has it, for the recipients with these indices. They stand for the same address of ours, or
    /// for none; where for one, it is noted that the mail has been there, and the sender is whom bounces find by way of us.
    #[must_use]
    pub fn of(message: &NewMessage, recipients: &[usize]) -> Self {
        let envelope = &message.submission.envelope;
        let alias = recipients.first().and_then(|&first| message.submission.forwards.of(first));
        let rewritten = alias.and_then(|_| message.submission.forwards.sender());
        let head = match alias {
            None => Bytes::copy_from_slice(&message.trace),
            Some(alias) => [been_at(alias).as_bytes(), &message.trace].concat().into(),
        };
        let known = |&index: &usize| envelope.recipients.get(index).map(|known| (index, known.clone()));
        Self {
            reverse_path: rewritten.unwrap_or(&envelope.reverse_path).clone(),
            params: envelope.params.clone(),
            recipients: recipients.iter().filter_map(known).collect(),
            head,
            body: message.body.clone(),
        }
    }

    pub(super) fn envelope(&self) -> Envelope {
        Envelope {
            reverse_path: self.reverse_path.clone(),
            params: self.params.clone(),
            recipients: self.recipients.iter().map(|(_, recipient)| recipient.clone()).collect(),
        }
    }

    pub(super) fn octets(&self) -> u64 {
        (self.head.len() as u64).saturating_add(self.body.octets())
    }
}
