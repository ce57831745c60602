//! `[admission]`: who may come in, how often, and what happens to who overdoes it.

use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::Deserialize;

use super::values::TimeSpan;
use crate::admission::networks::Network;
use crate::admission::verdict::{Mode, Rule};

/// Admission, as the configuration has it. What is left out keeps its default.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admission {
    /// Networks that no limit, ban or list applies to: our own, a balancer's.
    pub trusted: Vec<Network>,
    /// Files with more of them.
    pub trusted_files: Vec<PathBuf>,
    /// Networks that no deny list applies to, and that may use the reserve of connections.
    pub allow: Vec<Network>,
    /// Files with more of them.
    pub allow_files: Vec<PathBuf>,
    /// Networks that are turned away.
    pub deny: Vec<Network>,
    /// Files with more of them.
    pub deny_files: Vec<PathBuf>,
    /// Connections at the same time, from an address.
    pub connections: NonZeroU32,
    /// Connections a minute, from an address.
    pub connection_rate: NonZeroU32,
    /// TLS handshakes a minute, from an address.
    pub handshake_rate: NonZeroU32,
    /// Messages a minute, from an address.
    pub message_rate: NonZeroU32,
    /// Recipients a minute, from an address.
    pub recipient_rate: NonZeroU32,
    /// Failed log-ins a minute, from an address.
    pub auth_failure_rate: NonZeroU32,
    /// Unknown recipients a minute, from an address.
    pub unknown_recipient_rate: NonZeroU32,
    /// How long a network is kept out that has guessed too many passwords or recipients.
    pub ban_time: TimeSpan,
    /// Failed log-ins of one user, from places where he is not known, before nobody new may try.
    pub lockout_failures: NonZeroU32,
    /// For how long.
    pub lockout_time: TimeSpan,
    /// How long the answer to a wrong password or recipient is held back.
    pub tarpit_delay: TimeSpan,
    /// Which rules refuse, and which only tell.
    pub rules: Rules,
}

/// The mode of every rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Deny lists.
    pub deny: Mode,
    /// Bans.
    pub ban: Mode,
    /// Speaking before the greeting.
    pub pregreet: Mode,
    /// DNS block lists.
    pub dnsbl: Mode,
    /// Connections at the same time.
    pub connections: Mode,
    /// Connections a minute.
    pub connection_rate: Mode,
    /// TLS handshakes a minute.
    pub handshake_rate: Mode,
    /// Messages a minute.
    pub message_rate: Mode,
    /// Recipients a minute.
    pub recipient_rate: Mode,
    /// Failed log-ins a minute.
    pub auth_failure_rate: Mode,
    /// Unknown recipients a minute.
    pub unknown_recipient_rate: Mode,
    /// Locked users.
    pub lockout: Mode,
}

// === impl Rules ===

impl Rules {
    /// The mode of a rule. What protects the server itself has no switch.
    #[must_use]
    pub const fn mode(&self, rule: Rule) -> Mode {
        match rule {
            Rule::Deny => self.deny,
            Rule::Ban => self.ban,
            Rule::Pregreet => self.pregreet,
            Rule::Dnsbl => self.dnsbl,
            Rule::Connections => self.connections,
            Rule::ConnectionRate => self.connection_rate,
            Rule::HandshakeRate => self.handshake_rate,
            Rule::MessageRate => self.message_rate,
            Rule::RecipientRate => self.recipient_rate,
            Rule::AuthFailureRate => self.auth_failure_rate,
            Rule::UnknownRecipientRate => self.unknown_recipient_rate,
            Rule::Lockout => self.lockout,
            Rule::Overload | Rule::Reserve => Mode::Enforce,
        }
    }
}

// === impl Admission ===

impl Default for Admission {
    fn default() -> Self {
        Self {
            trusted: TRUSTED.iter().filter_map(|text| text.parse().ok()).collect(),
            trusted_files: Vec::new(),
            allow: Vec::new(),
            allow_files: Vec::new(),
            deny: Vec::new(),
            deny_files: Vec::new(),
            connections: CONNECTIONS,
            connection_rate: CONNECTION_RATE,
            handshake_rate: HANDSHAKE_RATE,
            message_rate: MESSAGE_RATE,
            recipient_rate: RECIPIENT_RATE,
            auth_failure_rate: AUTH_FAILURE_RATE,
            unknown_recipient_rate: UNKNOWN_RECIPIENT_RATE,
            ban_time: BAN_TIME,
            lockout_failures: LOCKOUT_FAILURES,
            lockout_time: LOCKOUT_TIME,
            tarpit_delay: TARPIT_DELAY,
            rules: Rules::default(),
        }
    }
}

const fn nonzero(count: u32) -> NonZeroU32 {
    match NonZeroU32::new(count) {
        Some(count) => count,
        None => NonZeroU32::MIN,
    }
}

/// This machine: who is on it could stop the server in simpler ways.
const TRUSTED: [&str; 2] = ["127.0.0.0/8", "::1"];
/// A mail program opens up to five, a small office behind one address some more.
const CONNECTIONS: NonZeroU32 = nonzero(20);
/// One a second: large senders reuse theirs.
const CONNECTION_RATE: NonZeroU32 = nonzero(60);
/// As many as connections: each has one.
const HANDSHAKE_RATE: NonZeroU32 = nonzero(60);
/// Two a second, which is a mailing list and no person.
const MESSAGE_RATE: NonZeroU32 = nonzero(120);
/// The default limit of one mail, and that again.
const RECIPIENT_RATE: NonZeroU32 = nonzero(2000);
/// A mail program with an old password tries a few times; five hundred guesses an hour are none.
const AUTH_FAILURE_RATE: NonZeroU32 = nonzero(8);
/// An old address book has a few; a search for addresses has thousands.
const UNKNOWN_RECIPIENT_RATE: NonZeroU32 = nonzero(30);
/// Long enough to make guessing worthless, short enough for a mistake.
const BAN_TIME: TimeSpan = TimeSpan::seconds(10 * 60);
/// Twice a person's patience.
const LOCKOUT_FAILURES: NonZeroU32 = nonzero(20);
/// As long as the failures are remembered.
const LOCKOUT_TIME: TimeSpan = TimeSpan::seconds(15 * 60);
/// A person hardly notices; a program that guesses in one connection is slowed down.
const TARPIT_DELAY: TimeSpan = TimeSpan::seconds(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_the_switch_of_its_name() {
        for rule in Rule::ALL {
            let name = rule.name().strip_prefix("admission.").unwrap();
            let text = format!("[rules]\n{name} = \"detect\"\n");
            match toml::from_str::<Admission>(&text) {
                Ok(admission) => assert_eq!(admission.rules.mode(rule), Mode::Detect, "{name}"),
                Err(_) => assert_eq!(Rules::default().mode(rule), Mode::Enforce, "{name} has no switch"),
            }
        }
    }

    #[test]
    fn this_machine_is_trusted_unless_the_configuration_says_otherwise() {
        assert_eq!(Admission::default().trusted.len(), TRUSTED.len());
        let admission: Admission = toml::from_str("trusted = []").unwrap();
        assert!(admission.trusted.is_empty());
        assert!(toml::from_str::<Admission>("deny = [\"example.org\"]").is_err());
        assert!(toml::from_str::<Admission>("connection_rate = 0").is_err());
    }
}
