//! What a listener lets its sessions do.

use std::time::Duration;

use super::mechanisms::Mechanism;
use super::rights::{ClassRights, Right, Rights};
use crate::wire::limits;
use crate::wire::verb::Verb;

/// How this listener does TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// STARTTLS is offered; MAIL before it gets 530 5.7.0 where AUTH is required.
    StartTls,
    /// TLS from the first octet.
    Implicit,
    /// Plaintext for good.
    None,
}

/// What AUTH offers inside and outside of TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthOffer {
    /// Inside TLS, in the order of EHLO.
    pub inside_tls: Vec<Mechanism>,
    /// Outside: empty, or what reveals no password.
    pub outside_tls: Vec<Mechanism>,
    /// A server behind decides who somebody is: of these mechanisms those are offered that it has as well. EXTERNAL stays
    /// with us, as its certificate is shown to us.
    pub is_relayed: bool,
}

/// Bounds of one session. Every default is a named constant beside its rule in `wire::limits`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest message, octets.
    pub message_octets: u64,
    /// Largest message of peers with `Right::BypassSizeLimit`, octets; less than `message_octets` means as much.
    pub message_octets_bypass: u64,
    /// RCPTs a transaction, at least 100 (RFC 5321 section 4.5.3.1.8).
    pub recipients: usize,
    /// Transactions a session.
    pub transactions: u32,
    /// Commands a session.
    pub commands: u32,
    /// Refusals before 421.
    pub errors: u32,
    /// A command must be complete this long after we are ready for it.
    pub command: Duration,
    /// Between two body octets (RFC 5321 section 4.5.3.2.5).
    pub data_idle: Duration,
    /// From the start of a body to its end.
    pub data_total: Duration,
    /// From accept to close.
    pub session: Duration,
    /// Octets a session, whatever they are.
    pub octets: u64,
    /// Octets a second that a body must come at.
    pub data_rate: u64,
    /// Octets that are dropped before 421: of refused chunks since the last stored message, of an illegal or oversized
    /// DATA body beyond the peer's largest message, of one over-long command line.
    pub drain_octets: u64,
}

/// What a listener lets its sessions do. Shared by all of them.
#[derive(Debug, Clone)]
pub struct Config {
    /// Our name in the greeting and in EHLO; a checked domain name.
    pub hostname: String,
    /// How TLS begins here.
    pub tls: TlsMode,
    /// What each class of peers may do. Required AUTH is the anonymous class without the right to submit.
    pub rights: ClassRights,
    /// Whether the extension verbs have somebody behind us to work on them.
    pub extensions: Extensions,
    /// Verbs that the operator has switched off: 500 5.5.1, as if there were none.
    pub switched_off: Vec<Verb>,
    /// Which mechanisms are offered when.
    pub auth: AuthOffer,
    /// Whether BINARYMIME is offered.
    pub binarymime: bool,
    /// Whether a MAIL and the RCPTs that came with it are asked about together, before the first is answered.
    pub asks_in_groups: bool,
    /// The bounds.
    pub limits: Limits,
}

/// What becomes of an extension verb from a peer that has the right to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extensions {
    /// The backend has no use for them: not offered, and 502 5.5.1.
    Unavailable,
    /// A server behind us works on them: offered, checked, and asked for as `Question::Extension`.
    PassThrough {
        /// The largest blob of XEXCH50, octets; `limits::BLOB_OCTETS_MAX` at most, whatever stands here.
        blob_octets: u64,
    },
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_octets: limits::MESSAGE_OCTETS,
            message_octets_bypass: limits::MESSAGE_OCTETS_BYPASS,
            recipients: limits::RECIPIENTS,
            transactions: limits::TRANSACTIONS,
            commands: limits::COMMANDS,
            errors: limits::ERRORS,
            command: limits::COMMAND_TIME,
            data_idle: limits::DATA_IDLE_TIME,
            data_total: limits::DATA_TOTAL_TIME,
            session: limits::SESSION_TIME,
            octets: limits::SESSION_OCTETS,
            data_rate: limits::DATA_RATE,
            drain_octets: limits::DRAIN_OCTETS,
        }
    }
}

impl Limits {
    /// The largest message of a peer with these rights, octets.
    #[must_use]
    pub fn message_octets_of(&self, rights: Rights) -> u64 {
        if rights.contains(Right::BypassSizeLimit) {
            self.message_octets.max(self.message_octets_bypass)
        } else {
            self.message_octets
        }
    }
}

// === impl Config ===

/// A listener in plaintext that asks nobody for a password. Names itself `localhost`.
impl Default for Config {
    fn default() -> Self {
        Self {
            hostname: "localhost".to_owned(),
            tls: TlsMode::None,
            rights: ClassRights::default(),
            extensions: Extensions::Unavailable,
            switched_off: Vec::new(),
            auth: AuthOffer::default(),
            binarymime: false,
            asks_in_groups: false,
            limits: Limits::default(),
        }
    }
}
