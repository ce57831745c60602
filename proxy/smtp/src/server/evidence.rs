//! What a peer said, for the log.

use std::fmt;

/// The start of what a peer said: printable ASCII, everything else escaped, of bounded length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence(String);

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

/// Enough to recognise an exploit by, and four times as much at most when escaped.
const EVIDENCE_OCTETS_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_bounded_and_printable() {
        assert_eq!(Evidence::of(b"XEXCH50 -1 2\x1b\n").as_str(), "XEXCH50 -1 2\\x1b\\n");
        let text = Evidence::of(&[0xff; 44_000]).to_string();
        assert!(text.len() < 400 && text.ends_with("... (44000 octets)"), "{text}");
    }
}
