//! Who is this? The SASL server of the edge: PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802,
//! RFC 7677, RFC 9266), and EXTERNAL (RFC 4422 appendix A) for clients with a certificate.
//!
//! In: the client's responses, base64 decoded, and what the TLS connection proves. Out: challenges, and at the
//! end a validated identity or nothing. Every failure is the same [`Step::Failed`]: a wrong password, an unknown user,
//! a foreign authorization identity, a downgrade and a message that cannot be read look alike to the client.
//!
//! # Why this is our own server
//! The promise to keep is "success is a validated identity, never that an exchange came to its end". rsasl 2.3.1
//! reports a wrong SCRAM proof as a finished exchange with a message to send, names unknown users to the client in
//! another error than wrong proofs, takes flag `n` on -PLUS, does not undo the escapes in names, compares keys with
//! `==`, calls back synchronously where argon2 must wait for a thread, and has no way to set the nonce of RFC 7677's
//! vector. So the server is ours, and rsasl is the independent client that its tests speak to (not for -PLUS: there its
//! client sends flag `n`).

mod exchange;
mod login;
mod scram;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use gatepost_core::directory::{Directory, PasswordVerifier};
use gatepost_smtp::server::{AuthOffer, Mechanism};

use crate::admission::guest::Guest;
pub use exchange::{Channel, ChannelBinding, Exchange, Step};

/// Begins exchanges. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Authenticator {
    directory: Directory,
    verifier: PasswordVerifier,
    settings: Settings,
}

/// What this site offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Whether SCRAM is offered; off where passwords are stored as argon2id alone.
    pub scram: bool,
}

// === impl Authenticator ===

impl Authenticator {
    /// Of a directory and the threads that check its passwords.
    #[must_use]
    pub const fn new(directory: Directory, verifier: PasswordVerifier, settings: Settings) -> Self {
        Self { directory, verifier, settings }
    }

    /// Begins an exchange over this connection. `guest`: who is connected, for limits and lock-outs. A mechanism that this
    /// site does not offer fails at its first step.
    #[must_use]
    pub fn begin(&self, mechanism: Mechanism, channel: Channel, guest: Option<Arc<Guest>>) -> Exchange {
        Exchange::begin(self.clone(), mechanism, channel, guest)
    }
}

// === impl Settings ===

impl Settings {
    /// What AUTH offers inside TLS, and outside where `scram_outside_tls`.
    #[must_use]
    pub fn offer(self, scram_outside_tls: bool) -> AuthOffer {
        let scram = [Mechanism::ScramSha256Plus, Mechanism::ScramSha256];
        let scram = if self.scram { scram.as_slice() } else { &[] };
        let outside = if self.scram && scram_outside_tls { vec![Mechanism::ScramSha256] } else { Vec::new() };
        AuthOffer {
            inside_tls: scram.iter().copied().chain([Mechanism::Plain, Mechanism::Login]).collect(),
            outside_tls: outside,
            is_relayed: false,
        }
    }
}

/// What AUTH offers where a server behind decides, as far as it has it: outside of TLS what reveals no password, and only where
/// `outside_tls`.
#[must_use]
pub fn relayed_offer(outside_tls: bool) -> AuthOffer {
    let relayable = || Mechanism::ALL.into_iter().filter(|mechanism| mechanism.is_relayable());
    AuthOffer {
        inside_tls: relayable().collect(),
        outside_tls: relayable().filter(|mechanism| outside_tls && !mechanism.reveals_secret()).collect(),
        is_relayed: true,
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { scram: true }
    }
}
