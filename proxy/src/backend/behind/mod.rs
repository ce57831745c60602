//! The mail server that Gatepost stands before: which recipients it is taken mail for.

mod list;

use std::collections::HashSet;

use gatepost_core::delivery::remote::Remote;
use gatepost_smtp::server::Refusal;
use gatepost_smtp::wire::path::ForwardPath;

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
    /// Where he is not known.
    pub fn admit(&self, path: &ForwardPath) -> Result<(), Refusal> {
        let is_known = match &self.recipients {
            Recipients::Any => true,
            Recipients::Listed(list) => list.has(path),
        };
        if is_known { Ok(()) } else { Err(Refusal::UnknownRecipient) }
    }
}
