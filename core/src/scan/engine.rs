//! The seam to a virus scanner.

use super::Verdict;

/// Which engine with which signatures.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EngineIdentity {
    /// Such as `yara`.
    pub name: &'static str,
    /// The version of its signatures: for YARA the BLAKE3 of the rules, in hex.
    pub signatures: String,
}

/// A virus scanner. Called on a scan thread, may block.
pub trait Engine: Send + Sync + 'static {
    /// Which engine this is now; changes when the signatures do.
    fn identity(&self) -> EngineIdentity;
    /// Scans one item: a decoded part, an archive's entry, or a raw message.
    fn scan(&self, item: &[u8]) -> Verdict;
}
