//! What admission decides, and what decided it.

use std::fmt;

use serde::Deserialize;

/// A rule of admission. Its name is what the configuration, the metrics and the log call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The network is on the deny list.
    Deny,
    /// The network is banned for what it did before.
    Ban,
    /// The server is short of something, and the peer is a stranger.
    Overload,
    /// Only the reserve of connections is left, and the peer is a stranger.
    Reserve,
    /// The peer spoke before the greeting.
    Pregreet,
    /// DNS block lists have the peer.
    Dnsbl,
    /// Too many connections at the same time.
    Connections,
    /// Too many connections a minute.
    ConnectionRate,
    /// Too many TLS handshakes a minute.
    HandshakeRate,
    /// Too many messages a minute.
    MessageRate,
    /// Too many recipients a minute.
    RecipientRate,
    /// Too many failed log-ins a minute.
    AuthFailureRate,
    /// Too many unknown recipients a minute.
    UnknownRecipientRate,
    /// Too many failed log-ins of one user.
    Lockout,
}

/// What a rule may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It is not looked at.
    Off,
    /// It is logged and counted, and nothing else: a dry run.
    Detect,
    /// It refuses.
    #[default]
    Enforce,
}

/// A refusal: which rule, and what it saw.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What decided.
    pub rule: Rule,
    /// What it saw, from values of ours: networks, counts, limits. Never a peer's text.
    pub evidence: String,
}

// === impl Rule ===

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 14] = [
        Self::Deny,
        Self::Ban,
        Self::Overload,
        Self::Reserve,
        Self::Pregreet,
        Self::Dnsbl,
        Self::Connections,
        Self::ConnectionRate,
        Self::HandshakeRate,
        Self::MessageRate,
        Self::RecipientRate,
        Self::AuthFailureRate,
        Self::UnknownRecipientRate,
        Self::Lockout,
    ];

    /// A stable name for the log and for metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deny => "admission.deny",
            Self::Ban => "admission.ban",
            Self::Overload => "admission.overload",
            Self::Reserve => "admission.reserve",
            Self::Pregreet => "admission.pregreet",
            Self::Dnsbl => "admission.dnsbl",
            Self::Connections => "admission.connections",
            Self::ConnectionRate => "admission.connection_rate",
            Self::HandshakeRate => "admission.handshake_rate",
            Self::MessageRate => "admission.message_rate",
            Self::RecipientRate => "admission.recipient_rate",
            Self::AuthFailureRate => "admission.auth_failure_rate",
            Self::UnknownRecipientRate => "admission.unknown_recipient_rate",
            Self::Lockout => "admission.lockout",
        }
    }

    /// Whether the peer may come back: 421, else 554 (RFC 5321 section 3.1).
    #[must_use]
    pub const fn is_lasting(self) -> bool {
        matches!(self, Self::Deny | Self::Pregreet | Self::Dnsbl)
    }

    /// Whether we are short of something, rather than the peer too much: 4.3.2 instead of 4.7.0 (RFC 3463).
    #[must_use]
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::Overload | Self::Reserve)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule.name(), self.evidence)
    }
}
