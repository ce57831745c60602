//! The end, by either side: exactly one `Output::Close` a session.

use std::time::Instant;

use super::session::{Pending, State};
use super::{CloseReason, Refusal, Session};
use crate::wire::line::LineReader;
use crate::wire::reply::Reply;

// === impl Session ===

impl Session {
    /// The peer has closed its side, or a read failed. A mail that is being stored still gets its answer, because the
    /// notice of it must not be lost.
    pub fn eof(&mut self, now: Instant) {
        self.deadlines.set_now(now);
        match self.state {
            State::Waiting(_, Pending::Commit { .. }) => self.has_peer_closed = true,
            _ => self.close(CloseReason::PeerClosed),
        }
    }

    /// We are going down: between transactions 421 4.3.2 at once, within one after its end.
    pub fn shutdown(&mut self, now: Instant) {
        self.deadlines.set_now(now);
        self.is_shutting_down = true;
        self.close_if_shutting_down();
    }

    pub(super) fn on_quit(&mut self) {
        self.reply(&Reply::fixed(221, 0, 0, "Goodbye"));
        self.close(CloseReason::Quit);
    }

    pub(super) fn close_if_shutting_down(&mut self) {
        let is_between =
            matches!(self.state, State::Command | State::AuthResponse(_)) && self.transaction.is_none();
        if self.is_shutting_down && is_between {
            self.refuse(Refusal::ShuttingDown);
        }
    }

    pub(super) fn close_if_peer_closed(&mut self) {
        if self.has_peer_closed {
            self.close(CloseReason::PeerClosed);
        }
    }

    /// Ends the session; whatever is open outside is told to be forgotten.
    pub(super) fn close(&mut self, reason: CloseReason) {
        if matches!(self.state, State::Closed) {
            return;
        }
        self.abort_authentication();
        self.abort_transaction();
        self.reader = LineReader::default();
        self.group = None;
        self.state = State::Closed;
        self.outputs.close(reason);
    }
}
