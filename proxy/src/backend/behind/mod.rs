//! The mail server that Gatepost stands before: which recipients it is taken mail for.

mod answers;
mod list;

use std::collections::HashSet;

use gatepost_core::delivery::remote::{Probe, Remote};
use gatepost_smtp::server::Refusal;
use gatepost_smtp::wire::path::{ForwardPath, ReversePath};

pub use answers::{Answers, Times};
pub use list::{ListError, RecipientList};

/// What listeners with `backend = "relay"` stand before.
#[derive(Debug)]
pub struct Behind {
    /// The names of these listeners.
    pub listeners: HashSet<String>,
    /// Takes mail there, and knows which domains live there.
    pub remote: Remote,
    /// Whom it is taken for.
    pub recipients: Recipients,
}

/// Which recipients are known.
#[derive(Debug)]
pub enum Recipients {
    /// All.
    Any,
    /// Those of a list.
    Listed(RecipientList),
    /// Those whom the server behind says it knows.
    Probed {
        /// What it has said.
        answers: Answers,
        /// Whether everybody is known while it says nothing; otherwise their mail has to come again.
        accepts_unverified: bool,
    },
}

// === impl Behind ===

impl Behind {
    /// Whether this recipient is one of the server behind, known there or not.
    #[must_use]
    pub fn has(&self, path: &ForwardPath) -> bool {
        self.remote.relays(path)
    }

    /// RCPT for one of its recipients.
    ///
    /// # Errors
    /// Where he is not known, that cannot be found out now, or his or the sender's address is not for the server behind.
    pub async fn admit(&self, sender: &ReversePath, path: &ForwardPath) -> Result<(), Refusal> {
        match &self.recipients {
            Recipients::Any => Ok(()),
            Recipients::Listed(list) if list.has(path) => Ok(()),
            Recipients::Listed(_) => Err(Refusal::UnknownRecipient),
            Recipients::Probed { answers, accepts_unverified } => {
                match answers.of(path.to_string(), || self.remote.probe(path)).await {
                    // It would be refused for good behind, where nobody tells a stranger.
                    Probe::Known { takes_utf8: false } if is_utf8(sender) => Err(Refusal::NoSmtpUtf8Behind),
                    Probe::Known { .. } => Ok(()),
                    Probe::Unknown => Err(Refusal::UnknownRecipient),
                    Probe::NoUtf8 => Err(Refusal::NoSmtpUtf8Behind),
                    Probe::Unavailable if *accepts_unverified => Ok(()),
                    Probe::Unavailable => Err(Refusal::RecipientUnverified),
                }
            }
        }
    }
}

fn is_utf8(sender: &ReversePath) -> bool {
    match sender {
        ReversePath::Null => false,
        ReversePath::Mailbox(mailbox) => mailbox.needs_smtputf8(),
    }
}
