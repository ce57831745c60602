//! What a refusal was decided on: the peer's own words and our limit.

use std::fmt;

use super::{Limits, Refusal, Rights};
use crate::wire::verb::Verb;

/// A few octets of the peer, shown escaped. Never a secret: of AUTH and of verbs that we do not know, no argument is kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Evidence(Box<[u8]>);

/// The limit that a refusal stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many.
    pub value: u64,
    /// Of what, such as `octets`.
    pub unit: &'static str,
}

// === impl Evidence ===

impl Evidence {
    /// Of octets that are known to hold no secret, such as an address.
    #[must_use]
    pub fn of(octets: &[u8]) -> Self {
        Self(octets.get(..OCTETS_MAX).unwrap_or(octets).into())
    }

    /// Of a command line without its CRLF. Where a client goes on with its password although AUTH was refused, the
    /// password stands where a verb should be: `may_be_secret` keeps such a line out.
    pub(super) fn of_command(line: &[u8], may_be_secret: bool) -> Self {
        let word = || line.split(|octet| *octet == b' ').next().unwrap_or_default();
        match Verb::split(line).0 {
            Verb::Unknown if may_be_secret => Self::default(),
            Verb::Unknown => Self::of(word().get(..VERB_OCTETS_MAX).unwrap_or_else(word)),
            verb if verb.carries_secret() => Self::of(word()),
            _ => Self::of(line),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

// === impl Limit ===

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.value, self.unit)
    }
}

// === impl Refusal ===

impl Refusal {
    /// The limit behind it for a peer with these rights, where it is one of the listener's.
    #[must_use]
    pub fn limit(self, limits: &Limits, rights: Rights) -> Option<Limit> {
        let (value, unit) = match self {
            Self::MessageTooLarge => (limits.message_octets_of(rights), "octets"),
            Self::TooManyRecipients => (limits.recipients as u64, "recipients"),
            Self::TooManyErrors => (u64::from(limits.errors), "errors"),
            Self::DrainLimit => (limits.drain_octets, "octets"),
            _ => return None,
        };
        Some(Limit { value, unit })
    }
}

/// Enough for a command of usual length.
const OCTETS_MAX: usize = 128;
/// Longer than any verb that is known to be tried.
const VERB_OCTETS_MAX: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_evidence() {
        let shown = |line: &[u8], may_be_secret| Evidence::of_command(line, may_be_secret).to_string();
        assert_eq!(shown(b"AUTH PLAIN AG1lAHNlY3JldA==", false), "AUTH");
        assert_eq!(shown(b"X-EXPS LOGIN c2VjcmV0", false), "X-EXPS");
        assert_eq!(shown(b"XAUTH c2VjcmV0", false), "XAUTH");
        assert_eq!(shown(b"PASS secret", false), "PASS");
        assert_eq!(shown(b"c2VjcmV0", true), "");
        assert_eq!(shown(b"RCPT TO:<a@b>", true), "RCPT TO:<a@b>");
    }

    #[test]
    fn evidence_is_bounded_and_escaped() {
        let long = Evidence::of_command(&[b"NOOP ".as_slice(), &[0x1b; 1000]].concat(), false).to_string();
        assert_eq!(long.len(), 5 + 4 * (OCTETS_MAX - 5));
        assert!(long.starts_with("NOOP \\x1b\\x1b"), "{long}");
        assert_eq!(Evidence::of_command(&[b'x'; 100], false).to_string(), "x".repeat(VERB_OCTETS_MAX));
    }
}
