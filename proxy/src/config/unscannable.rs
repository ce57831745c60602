//! `[scan.unscannable]`: what becomes of content that the scanner cannot look into.

use serde::Deserialize;

/// One answer for each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Unscannable {
    /// What needs a password or a key.
    pub encrypted: Answer,
    /// Fragments of messages, and parts that their reader fetches from elsewhere.
    pub partial: Answer,
    /// Damaged archives, and archives packed by an unknown method.
    pub broken: Answer,
    /// What is too large, too deep or too many.
    pub over_limit: Answer,
    /// What means different things to different programs.
    pub ambiguous: Answer,
}

/// What happens to such content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is treated as clean and noted.
    Accept,
    /// It is refused like a virus.
    Refuse,
}

// === impl Unscannable ===

impl Default for Unscannable {
    /// People encrypt on purpose; honest mail hardly ever has the rest.
    fn default() -> Self {
        Self {
            encrypted: Answer::Accept,
            partial: Answer::Refuse,
            broken: Answer::Refuse,
            over_limit: Answer::Refuse,
            ambiguous: Answer::Refuse,
        }
    }
}
