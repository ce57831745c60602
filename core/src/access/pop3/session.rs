//! The machine.

use std::sync::Arc;
use std::time::Instant;

use super::contract::{Answer, Config, Output, Ticket};

/// One POP3 session.
///
/// Feed one input (`feed`, `answer`, `tick`, `eof`, `shutdown`), then drain `poll` until `None`, writing each `Send` before
/// the next `poll`; then wait for the next input or `deadline`. `feed` returns how many octets it took: it stops behind a
/// command whose answer is outstanding, and the rest is fed again once that answer is in.
#[derive(Debug)]
pub struct Session {}

// === impl Session ===

impl Session {
    /// Opens a session; the greeting is the first output. `secured`: TLS came first.
    #[must_use]
    pub fn open(_config: Arc<Config>, _secured: bool, _now: Instant) -> Self {
        todo!()
    }

    /// Feeds octets. Returns how many were taken.
    #[must_use]
    pub fn feed(&mut self, _now: Instant, _octets: &[u8]) -> usize {
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
    pub fn eof(&mut self) {
        todo!()
    }

    /// We are going down: closes, after the command that is being answered; nothing is deleted.
    pub fn shutdown(&mut self) {
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

    /// Who is logged in.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        todo!()
    }

    /// After `Output::Upgrade` and the handshake: a new session that knows nothing of the old one but its limits and
    /// what of them is spent. Sends no greeting.
    #[must_use]
    pub fn into_secured(self) -> Self {
        todo!()
    }
}
