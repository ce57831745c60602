//! Where the session stands: what it is about, and how long it waits there.

use std::time::{Duration, Instant};

use super::awaited::Awaited;
use super::contract::Stage;
use super::session::Session;

/// What the session is doing besides waiting for replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing.
    Conversing,
    /// `Output::Upgrade` was given out; an octet now would be plaintext behind STARTTLS.
    Upgrading,
    /// `Output::Prove` was given out.
    Proving,
    /// `Output::Ready` was given out.
    Idle,
    /// Sending a body.
    Body,
    /// A challenge was told: whoever logs in has the word.
    Challenged,
    /// Sending a blob.
    Blob,
    /// `Output::Close` was given out.
    Closed,
}

// === impl Session ===

impl Session {
    /// What the session is about right now.
    pub(super) fn stage(&self) -> Stage {
        match (self.state, self.awaited.front()) {
            (State::Body, _) => Stage::Body,
            (State::Challenged, _) => Stage::Auth,
            (State::Blob, _) => Stage::Blob,
            (State::Upgrading, _) => Stage::Handshake,
            (State::Proving, _) => Stage::Auth,
            (_, None) => Stage::Idle,
            // The last chunk may be there, whatever has become of the reply to an earlier one.
            (_, Some(Awaited::Chunk)) if self.awaited.contains(&Awaited::End) => Stage::EndOfData,
            (_, Some(Awaited::HandedChunk))
                if self.awaited.back() == Some(&Awaited::HandedOn(Stage::EndOfData)) =>
            {
                Stage::EndOfData
            }
            (_, Some(awaited)) => awaited.stage(),
        }
    }

    /// When it has waited too long. `None`: it waits for nothing of the server.
    pub(super) fn gives_up_at(&self) -> Option<Instant> {
        let patience = match (self.state, self.awaited.front()) {
            (State::Closed | State::Idle, _) => return None,
            // How fast it comes is up to whoever hands it in.
            (State::Challenged | State::Blob, _) => return None,
            (State::Body, _) if self.transaction.is_none() => return None,
            (State::Body, _) => self.config.patience.block,
            (State::Upgrading | State::Proving, _) | (State::Conversing, None) => {
                self.config.patience.command
            }
            (State::Conversing, Some(awaited)) => awaited.patience(&self.config.patience),
        };
        let deadline = after(self.now(), patience);
        let total = self.transaction.as_ref().map(|transaction| transaction.deadline);
        Some(total.map_or(deadline, |total| total.min(deadline)))
    }
}

/// A duration that the clock cannot hold means "never" to whoever set it, but a session needs an end: now.
pub(super) fn after(now: Instant, patience: Duration) -> Instant {
    now.checked_add(patience).unwrap_or(now)
}
