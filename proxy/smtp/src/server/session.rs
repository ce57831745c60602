//! The session machine.
//!
//! Feed one input (`feed`, `answer`, `tick`, `eof`, `shutdown`, `tls_failed`), then drain `poll` until `None`, then wait
//! for the next input or `deadline`, whichever comes first. `feed` returns how many octets it took: it stops where an
//! answer from outside is outstanding, and the rest is fed again once that answer is in. While it waits it takes
//! nothing, so a peer is held back by TCP.

use std::sync::Arc;
use std::time::Instant;

use super::{Answer, BodySink, Config, Identity, Output, PeerFacts, Ticket, TlsFacts};

/// One SMTP session.
#[derive(Debug)]
pub struct Session {}

// === impl Session ===

impl Session {
    /// Opens a session; the greeting is the first output.
    #[must_use]
    pub fn open(_config: Arc<Config>, _peer: PeerFacts, _now: Instant) -> Self {
        todo!()
    }

    /// Feeds octets; body octets go straight to `body`. Returns how many were taken.
    #[must_use]
    pub fn feed(&mut self, _now: Instant, _octets: &[u8], _body: &mut dyn BodySink) -> usize {
        todo!()
    }

    /// Feeds the answer to a question. A stale ticket is ignored.
    pub fn answer(&mut self, _now: Instant, _ticket: Ticket, _answer: Answer) {
        todo!()
    }

    /// The deadline may have passed.
    pub fn tick(&mut self, _now: Instant) {
        todo!()
    }

    /// The peer has closed its side, or a read failed.
    pub fn eof(&mut self, _now: Instant) {
        todo!()
    }

    /// The handshake that `Output::Upgrade` asked for has failed.
    pub fn tls_failed(&mut self, _now: Instant) {
        todo!()
    }

    /// We are going down: between transactions 421 4.3.2 at once, within one after its end.
    pub fn shutdown(&mut self, _now: Instant) {
        todo!()
    }

    /// The next thing to do.
    #[must_use]
    pub fn poll(&mut self) -> Option<Output> {
        todo!()
    }

    /// When to call `tick` at the latest.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        todo!()
    }

    /// Whether a question is outstanding (nothing should be read meanwhile).
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        todo!()
    }

    /// The name given in EHLO or HELO, checked against the grammar.
    #[must_use]
    pub fn helo(&self) -> Option<&str> {
        todo!()
    }

    /// Whether the client said EHLO (for the protocol in `Received:`).
    #[must_use]
    pub fn is_esmtp(&self) -> bool {
        todo!()
    }

    /// Who is authenticated.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        todo!()
    }

    /// After `Output::Upgrade` and the handshake: a new session that knows nothing of the old one (RFC 3207 section 4.2)
    /// but its limits.
    #[must_use]
    pub fn into_secured(self, _tls: TlsFacts, _now: Instant) -> Self {
        todo!()
    }
}
