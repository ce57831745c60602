//! One authentication exchange, whatever the mechanism.

use gatepost_smtp::server::Identity;

/// `tls-exporter` of RFC 9266: 32 octets that both ends of one TLS connection can derive, and nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct ChannelBinding {
    /// `EXPORTER-Channel-Binding`, no context, 32 octets; TLS 1.3, or TLS 1.2 with extended master secret.
    pub exporter: [u8; 32],
}

/// One exchange. Dropping it is aborting it.
#[derive(Debug)]
pub struct Exchange {}

/// What comes next.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this as a 334, then feed the client's response.
    Challenge(Vec<u8>),
    /// A validated identity: the only variant that lets anybody in.
    Success {
        /// Who.
        identity: Identity,
        /// SCRAM's server-final message.
        final_data: Option<Vec<u8>>,
    },
    /// 535 5.7.8, whatever the cause.
    Failed,
    /// 454 4.7.0: nothing is known about the password.
    Unavailable,
}

// === impl ChannelBinding ===

impl std::fmt::Debug for ChannelBinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChannelBinding(..)")
    }
}

// === impl Exchange ===

impl Exchange {
    /// Feeds the client's response, base64 decoded; `None` where the client sent no initial response.
    pub async fn step(&mut self, _response: Option<&[u8]>) -> Step {
        todo!()
    }
}
