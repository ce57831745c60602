//! Findings that an operator has overruled: of one content and by one name.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use super::Verdict;

/// What the scanner asks before it keeps a mail back. Clones are the same set.
#[derive(Debug, Clone, Default)]
pub struct Overruled(Arc<RwLock<HashSet<Ruling>>>);

/// One finding that does not count.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ruling {
    /// BLAKE3 of a message's body.
    pub content: [u8; 32],
    /// What was found there (`Verdict::finding`).
    pub threat: String,
}

// === impl Overruled ===

impl Overruled {
    /// From now on this finding does not count.
    pub fn insert(&self, ruling: Ruling) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(ruling);
    }

    /// Whether this verdict came about before its finding was overruled: what else is in the content nobody has looked for.
    pub(super) fn overtakes(&self, content: &[u8; 32], verdict: &Verdict) -> bool {
        verdict.finding().is_some_and(|finding| self.contains(content, &finding))
    }

    /// Whether this finding in this content does not count.
    pub(super) fn contains(&self, content: &[u8; 32], threat: &str) -> bool {
        let ruling = Ruling { content: *content, threat: threat.to_owned() };
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&ruling)
    }
}
