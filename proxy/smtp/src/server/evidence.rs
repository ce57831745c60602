//! What a refusal was decided on: the peer's own words and our limit.

use std::fmt;

use super::{Limits, Refusal};
use crate::wire::verb::Verb;

/// The start of what a peer said: printable ASCII, everything else escaped, of bounded length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence(String);

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
    /// Of these octets, which must hold no secret.
    #[must_use]
    pub fn of(octets: &[u8]) -> Self {
        let start = octets.get(..EVIDENCE_OCTETS_MAX).unwrap_or(octets);
        let mut text = start.escape_ascii().to_string();
        if start.len() < octets.len() {
            text.push_str(&format!("... ({} octets)", octets.len()));
        }
        Self(text)
    }

    /// Where what was said may be a secret, or was not kept.
    #[must_use]
    pub fn of_length(octets: u64) -> Self {
        Self(format!("({octets} octets)"))
    }

    /// Of a command line without its CRLF. No argument of AUTH, in whatever verb it is dressed up, nor of a verb that we
    /// do not know is shown. Where a client goes on with its password although AUTH was refused, the password stands
    /// where a verb should be: `may_be_secret` keeps such a line out.
    pub(super) fn of_command(line: &[u8], may_be_secret: bool) -> Self {
        let word = || line.split(|octet| *octet == b' ').next().unwrap_or_default();
        let verb = Verb::split(line).0;
        match verb {
            Verb::Unknown if may_be_secret => Self::of_length(line.len() as u64),
            Verb::Unknown => Self::of(word().get(..VERB_OCTETS_MAX).unwrap_or_else(word)),
            _ if matches!(verb.name(), "AUTH" | "X-EXPS" | "XAUTH") => Self::of_length(line.len() as u64),
            _ => Self::of(line),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
    /// The limit behind it, where it is one of the listener's.
    #[must_use]
    pub fn limit(self, limits: &Limits) -> Option<Limit> {
        let (value, unit) = match self {
            Self::MessageTooLarge => (limits.message_octets, "octets"),
            Self::TooManyRecipients => (limits.recipients as u64, "recipients"),
            Self::TooManyErrors => (u64::from(limits.errors), "errors"),
            Self::DrainLimit => (limits.drain_octets, "octets"),
            _ => return None,
        };
        Some(Limit { value, unit })
    }
}

/// Enough to recognise an exploit or an address by, and four times as much at most when escaped.
const EVIDENCE_OCTETS_MAX: usize = 128;
/// Longer than any verb that is known to be tried.
const VERB_OCTETS_MAX: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_evidence() {
        let shown = |line: &[u8], may_be_secret| Evidence::of_command(line, may_be_secret).to_string();
        for verb in ["AUTH", "auth", "X-EXPS", "XAUTH"] {
            let line = format!("{verb} PLAIN AG1lAHNlY3JldA==");
            assert_eq!(shown(line.as_bytes(), false), format!("({} octets)", line.len()));
        }
        assert_eq!(shown(b"PASS secret", false), "PASS");
        assert_eq!(shown(b"c2VjcmV0", true), "(8 octets)");
        assert_eq!(shown(b"RCPT TO:<a@b>", true), "RCPT TO:<a@b>");
    }

    #[test]
    fn evidence_is_bounded_and_printable() {
        assert_eq!(Evidence::of(b"XEXCH50 -1 2\x1b\n").as_str(), "XEXCH50 -1 2\\x1b\\n");
        let text = Evidence::of(&[0xff; 44_000]).to_string();
        assert!(text.len() < 550 && text.ends_with("... (44000 octets)"), "{text}");
        assert_eq!(Evidence::of_command(&[b'x'; 100], false).to_string(), "x".repeat(VERB_OCTETS_MAX));
    }
}
