//! The server's side of SCRAM-SHA-256 and -PLUS, without I/O and without randomness: the nonce is passed in.

mod message;
#[cfg(test)]
pub(super) mod tests;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use gatepost_core::directory::{ScramVerifier, may_act_as};
use gatepost_smtp::server::Identity;
use subtle::ConstantTimeEq as _;

use super::ChannelBinding;
use message::{BindingFlag, ClientFinal, ClientFirst};

/// What the exchange runs over.
#[derive(Debug)]
pub(super) enum Channel {
    /// SCRAM-SHA-256.
    Unbound {
        /// Whether the client was offered -PLUS beside it: then its flag `y` ("you cannot") means that somebody in
        /// between has taken -PLUS out of the offer (RFC 5802 section 6).
        plus_offered: bool,
    },
    /// SCRAM-SHA-256-PLUS.
    Bound(ChannelBinding),
}

/// Whom a name may be.
#[derive(Debug)]
pub(super) struct Candidate {
    /// Whom the account makes of him; `None`: there is none, and the verifier is a decoy.
    pub(super) identity: Option<Identity>,
    /// To check the proof with.
    pub(super) verifier: ScramVerifier,
}

/// Server-first is sent, client-final is awaited.
#[derive(Debug)]
pub(super) struct AwaitingFinal {
    candidate: Candidate,
    /// What `c=` must say.
    binding: Vec<u8>,
    nonce: String,
    /// `client-first-message-bare "," server-first-message ","`.
    auth_message: String,
}

/// The proof was right.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Proven {
    /// Whose.
    pub(super) identity: Identity,
    /// Our own proof, for the client.
    pub(super) server_final: String,
}

/// Takes client-first and gives server-first. `None`: the exchange has failed, for a reason that does not depend on
/// whether there is such a user.
pub(super) fn begin(
    channel: Channel,
    client_first: &[u8],
    server_nonce: &str,
    candidate: impl FnOnce(&str) -> Candidate,
) -> Option<(String, AwaitingFinal)> {
    let first = ClientFirst::parse(client_first)?;
    let exporter = match (channel, first.flag) {
        (Channel::Bound(binding), BindingFlag::Used(TLS_EXPORTER)) => Some(binding.exporter),
        (Channel::Unbound { .. }, BindingFlag::NotSupported)
        | (Channel::Unbound { plus_offered: false }, BindingFlag::NotOffered) => None,
        (Channel::Bound(_) | Channel::Unbound { .. }, _) => return None,
    };
    if !may_act_as(&first.authzid, &first.username) {
        return None;
    }
    let candidate = candidate(&first.username);
    let nonce = format!("{}{server_nonce}", first.nonce);
    let salt = BASE64_STANDARD.encode(&candidate.verifier.salt);
    let server_first = format!("r={nonce},s={salt},i={}", candidate.verifier.iterations);
    let mut binding = first.gs2_header.as_bytes().to_vec();
    binding.extend(exporter.iter().flatten());
    let auth_message = format!("{},{server_first},", first.bare);
    Some((server_first, AwaitingFinal { candidate, binding, nonce, auth_message }))
}

// === impl AwaitingFinal ===

impl AwaitingFinal {
    /// Takes client-final. `None`: the exchange has failed.
    pub(super) fn finish(mut self, client_final: &[u8]) -> Option<Proven> {
        let message = ClientFinal::parse(client_final)?;
        self.auth_message.push_str(message.without_proof);
        let signature = self.candidate.verifier.check(self.auth_message.as_bytes(), &message.proof);
        let is_bound = bool::from(message.binding.as_slice().ct_eq(&self.binding));
        let is_fresh = message.nonce == self.nonce;
        match (self.candidate.identity, signature) {
            (Some(identity), Some(signature)) if is_bound && is_fresh => {
                Some(Proven { identity, server_final: format!("v={}", BASE64_STANDARD.encode(signature)) })
            }
            _ => None,
        }
    }
}

/// RFC 9266 section 2: the one binding that we offer.
const TLS_EXPORTER: &str = "tls-exporter";
