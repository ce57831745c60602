//! Senders of mail that goes on from here, and the way back to them.

use std::sync::Arc;

use gatepost_smtp::wire::path::{ForwardPath, ReversePath};

use super::{Directory, database};
use crate::clock::now_ms;
use crate::directory::{EditError, Forwarding, Resolution};
use crate::forwarding::srs::{self, Srs};

// === impl Directory ===

impl Directory {
    /// Rewrites senders so from now on. `None`: not at all, and no address stands for one.
    pub fn rewrite_with(&self, settings: Option<srs::Settings>) {
        self.inner.rewriting.store(settings.map(Arc::new));
    }

    /// What a sender is called in mail that goes on from here; `None`: what he is called himself. Nobody is rewritten who
    /// lives here, whose own domain names this host, and a sender without an address has none to be rewritten.
    #[must_use]
    pub fn rewritten(&self, sender: &ReversePath) -> Option<ReversePath> {
        let ReversePath::Mailbox(mailbox) = sender else { return None };
        let settings = self.inner.rewriting.load_full()?;
        if self.resolve(&ForwardPath::Mailbox(mailbox.clone())) != Resolution::Foreign {
            return None;
        }
        let snapshot = self.snapshot();
        let rewritten = Srs { settings: &settings, secrets: snapshot.secrets() }.rewrite(mailbox, today());
        if rewritten.is_none() {
            tracing::debug!(?sender, "too long to be rewritten; the mail goes on under its own sender");
        }
        rewritten.map(ReversePath::Mailbox)
    }

    /// Signs rewritten senders with a new secret from now on. Bounces that are signed with one of the three before it still
    /// come through.
    ///
    /// # Errors
    /// The database failed, or the system has no random numbers.
    pub fn rotate_secret(&self) -> Result<(), EditError> {
        self.edit(|edit| Ok(database::add_secret(edit)?))
    }

    /// Whom an address stands for that was made by `rewritten`; `None` for all that does not look so.
    pub(super) fn restored(&self, path: &ForwardPath) -> Option<Resolution> {
        let ForwardPath::Mailbox(address) = path else { return None };
        let settings = self.inner.rewriting.load_full()?;
        let snapshot = self.snapshot();
        let original = Srs { settings: &settings, secrets: snapshot.secrets() }.reverse(address, today())?;
        let forwarding = |target| Arc::new(Forwarding { mailboxes: [].into(), targets: vec![target] });
        let bounces_only = settings.bounces_only;
        Some(Resolution::Rewritten { leads_to: original.map(forwarding), bounces_only })
    }
}

/// Since 1970.
fn today() -> u64 {
    now_ms().wrapping_div(DAY_MS)
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
