//! Which mailboxes a mail goes to, and what stands before it there.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use gatepost_smtp::server::Recipient;
use gatepost_smtp::wire::path::ForwardPath;

use super::loops::delivered_to_value;
use crate::directory::{Forwarding, Resolution};
use crate::forwarding::has_all;
use crate::queue::NewMessage;
use crate::store::MailboxCopy;

/// What one attempt does for the recipients that still wait.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// For those who live here.
    pub copies: Vec<MailboxCopy>,
    /// Indices of those whom the copies are for.
    pub served: Vec<usize>,
    /// Indices of those who live elsewhere.
    pub foreign: Vec<usize>,
    /// Indices of addresses here whose mail has gone on to other servers, as recipients of its own.
    pub expanded: Vec<usize>,
    /// Indices of addresses here that lead to other servers only since the mail was accepted.
    pub late: Vec<usize>,
    /// As `late`, while no mail leaves this server.
    pub stuck: Vec<usize>,
    /// Indices of those whose domain is here, but who do not live here (any more).
    pub gone: Vec<usize>,
}

// === impl Plan ===

impl Plan {
    /// Asks the directory anew for each pending recipient: the answer at RCPT may be days old.
    pub fn new(
        message: &NewMessage,
        pending: &[usize],
        mail_leaves: bool,
        resolve: impl Fn(&ForwardPath) -> Resolution,
    ) -> Self {
        let mut plan = Self::default();
        for &index in pending {
            let recipient = message.submission.envelope.recipients.get(index);
            let mailboxes = match recipient.map(|recipient| resolve(&recipient.path)) {
                Some(Resolution::Local(mailboxes)) => mailboxes,
                Some(Resolution::Forwarded(forwarding)) => {
                    let went_on = recipient.is_some_and(|known| has_gone_on(message, known, &forwarding));
                    match (went_on, forwarding.mailboxes.is_empty()) {
                        (false, _) if mail_leaves => {
                            plan.late.push(index);
                            continue;
                        }
                        (false, true) => {
                            plan.stuck.push(index);
                            continue;
                        }
                        (true, true) => {
                            plan.expanded.push(index);
                            continue;
                        }
                        // Where no mail leaves, its mailboxes are all that can be served.
                        (_, false) => Arc::clone(&forwarding.mailboxes),
                    }
                }
                Some(Resolution::Foreign) => {
                    plan.foreign.push(index);
                    continue;
                }
                Some(Resolution::Rewritten { .. } | Resolution::UnknownLocal) | None => {
                    plan.gone.push(index);
                    continue;
                }
            };
            let Ok(recipient) = u32::try_from(index) else { continue };
            plan.served.push(index);
            plan.copies.extend(mailboxes.iter().map(|mailbox| MailboxCopy {
                recipient,
                mailbox: mailbox.clone(),
                head: head(message, mailbox),
            }));
        }
        plan
    }

    /// Whether a mail that has been here before would go round again, so that `take_out_loops` has to be asked.
    #[must_use]
    pub fn can_loop(&self, message: &NewMessage) -> bool {
        !self.copies.is_empty()
            || self.foreign.iter().any(|recipient| message.submission.forwards.of(*recipient).is_some())
    }

    /// Takes those out whose mailboxes the mail has been in already, and those who stand for an address that it was sent to
    /// already (in lower case): delivered again, it would go round again. Who has other mailboxes too keeps these.
    pub fn take_out_loops(&mut self, message: &NewMessage, been_in: &HashSet<String>) -> Vec<usize> {
        if been_in.is_empty() {
            return Vec::new();
        }
        let has_been_sent_on = |index: &mut usize| {
            let address = message.submission.forwards.of(*index);
            address.is_some_and(|address| been_in.contains(&delivered_to_value(address).to_lowercase()))
        };
        let mut looped: Vec<usize> = self.foreign.extract_if(.., has_been_sent_on).collect();
        self.copies.retain(|copy| !been_in.contains(&copy.mailbox.to_lowercase()));
        let copies = &self.copies;
        let has_copy = |index: &usize| copies.iter().any(|copy| copy.recipient as usize == *index);
        looped.extend(self.served.extract_if(.., |index| !has_copy(index)));
        looped
    }
}

/// Whether those elsewhere whom an address leads to have the mail, or are recipients of their own. What was accepted for an
/// address that led elsewhere goes where it led then.
fn has_gone_on(message: &NewMessage, recipient: &Recipient, forwarding: &Forwarding) -> bool {
    let submission = &message.submission;
    submission.forwards.has(&recipient.path) || has_all(&submission.envelope.recipients, forwarding)
}

/// `Return-Path:` first (RFC 5321 section 4.4: the final delivery adds it), then who got it, then our trace.
fn head(message: &NewMessage, mailbox: &str) -> Bytes {
    let return_path = &message.submission.envelope.reverse_path;
    let mut head = format!("Return-Path: {return_path}\r\nDelivered-To: {mailbox}\r\n").into_bytes();
    head.extend_from_slice(&message.trace);
    head.into()
}
