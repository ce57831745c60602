//! Who is this? The SASL server of the edge: PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802,
//! RFC 7677, RFC 9266).
mod exchange;

use gatepost_core::directory::{Directory, PasswordVerifier};
use gatepost_smtp::server::{AuthOffer, Mechanism};

pub use exchange::{ChannelBinding, Exchange, Step};

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

    /// Begins an exchange. `binding` is that of the TLS connection, where it has one; `plus_offered`: whether EHLO
    /// offered SCRAM-SHA-256-PLUS on this connection.
    #[must_use]
    pub fn begin(
        &self,
        _mechanism: Mechanism,
        _binding: Option<ChannelBinding>,
        _plus_offered: bool,
    ) -> Exchange {
        todo!()
    }
}

// === impl Settings ===

impl Settings {
    /// What AUTH offers inside TLS, and outside where `scram_outside_tls`.
    #[must_use]
    pub fn offer(self, _scram_outside_tls: bool) -> AuthOffer {
        todo!()
    }
}
