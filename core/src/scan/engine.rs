//! The seam to a virus scanner.

use std::time::Instant;

use super::Verdict;

/// A virus scanner. It is called on a scan thread and may block until the deadline.
pub trait Engine: Send + Sync + 'static {
    /// Which engine this is now; changes when the signatures do.
    fn identity(&self) -> EngineIdentity;

    /// Scans one item: a raw message, a decoded part, or an archive's entry. An engine that has no verdict at
    /// `deadline` answers [`Verdict::TimedOut`]; one that goes on costs its thread, not the waiter's time.
    fn scan(&self, item: &[u8], deadline: Instant) -> Verdict;
}

/// Which engine with which signatures. Both names are short and free of the separator that [`Stamp`] puts between
/// them, so that a stamp can be stored as text.
///
/// [`Stamp`]: super::Stamp
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EngineIdentity {
    name: String,
    signatures: String,
}

/// A name or version that an identity cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an engine's name and signature version are 1 to 64 letters, digits, '.', '_' or '-'")]
pub struct InvalidIdentity;

// === impl EngineIdentity ===

impl EngineIdentity {
    /// An engine (`yara`) and the version of its signatures (for YARA the start of the BLAKE3 of its rules, in hex).
    /// Each is 1 to 64 octets of `[A-Za-z0-9._-]`.
    pub fn new(name: &str, signatures: &str) -> Result<Self, InvalidIdentity> {
        if !is_token(name) || !is_token(signatures) {
            return Err(InvalidIdentity);
        }
        Ok(Self { name: name.to_owned(), signatures: signatures.to_owned() })
    }

    /// The embedded engine with rules of this version. The version is hex digits of our own making.
    pub(super) fn yara(version: &str) -> Self {
        Self { name: "yara".to_owned(), signatures: version.to_owned() }
    }

    /// Such as `yara`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version of the signatures.
    #[must_use]
    pub fn signatures(&self) -> &str {
        &self.signatures
    }
}

fn is_token(text: &str) -> bool {
    (1..=TOKEN_OCTETS_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// A full BLAKE3 or SHA-256 in hex fits; a stamp stays under 140 octets in a queue record.
const TOKEN_OCTETS_MAX: usize = 64;
