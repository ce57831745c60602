//! What a scan said.

use super::EngineIdentity;

/// Of one item, or of a whole message: the worst of its items.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing found.
    Clean,
    /// A virus.
    Infected {
        /// Its name, `[A-Za-z0-9._-]`, at most 128.
        threat: String,
    },
    /// It cannot be looked into (too deep, too many parts, an archive bomb, encrypted, broken).
    Unscannable {
        /// Which limit or defect, from our own list.
        reason: &'static str,
    },
    /// No verdict in time.
    TimedOut,
    /// The engine failed.
    Failed,
}

/// Under which signatures and policy a message was found clean.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The engine and its signatures.
    pub engine: EngineIdentity,
    /// The version of our own scan policy (limits, plan).
    pub policy: u32,
}

/// The result of scanning one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanReport {
    /// The worst verdict of its items.
    pub verdict: Verdict,
    /// What it was scanned with.
    pub stamp: Stamp,
    /// Items looked at.
    pub items: usize,
    /// Octets looked at.
    pub octets: u64,
}
