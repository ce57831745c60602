//! STARTTLS (RFC 3207). The upgrade consumes the plaintext session: nothing that was said or buffered there can be taken
//! for something said inside TLS.

use std::time::Instant;

use super::session::State;
use super::{CloseReason, PeerFacts, Session, TlsFacts};
use crate::wire::reply::Reply;

// === impl Session ===

impl Session {
    /// After `Output::Upgrade` and the handshake: a new session that knows nothing of the old one (RFC 3207 section 4.2)
    /// but its budgets and its end.
    #[must_use]
    pub fn into_secured(self, tls: TlsFacts, now: Instant) -> Self {
        let peer = PeerFacts { tls: Some(tls), ..self.peer };
        let deadlines = self.deadlines.secured(now, &self.config.limits);
        let mut secured = Self::fresh(self.config, peer, deadlines, self.outputs.secured(), self.budget);
        secured.is_shutting_down = self.is_shutting_down;
        // A driver that upgrades without having been told to, or after the end, gets no session out of it.
        if !matches!(self.state, State::Upgrading) {
            secured.close(CloseReason::TlsFailed);
        }
        secured.close_if_shutting_down();
        secured
    }

    /// The handshake that `Output::Upgrade` asked for has failed.
    pub fn tls_failed(&mut self, now: Instant) {
        self.deadlines.set_now(now);
        self.close(CloseReason::TlsFailed);
    }

    pub(super) fn on_starttls(&mut self) {
        self.abort_transaction();
        self.reply(&Reply::fixed(220, 0, 0, "Ready to start TLS"));
        self.outputs.upgrade();
        self.state = State::Upgrading;
    }

    /// An octet between STARTTLS and the handshake. Nothing is said: the client may be in the handshake already.
    pub(super) fn feed_upgrading(&mut self) -> usize {
        self.outputs.cancel_upgrade();
        self.close(CloseReason::PlaintextAfterStarttls);
        0
    }
}
