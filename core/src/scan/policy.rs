//! What to do with content that cannot be looked into.

use super::verdict::{Obstacle, ObstacleKind};

/// One answer for each kind of obstacle.
///
/// The defaults: what is encrypted passes, because people send it on purpose and a scanner can never open it; everything else is
/// refused, because honest mail hardly ever has it and it is the known way past scanners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnscannablePolicy {
    /// For what needs a password or a key.
    pub encrypted: UnscannableAction,
    /// For fragments of messages and references to content elsewhere.
    pub partial: UnscannableAction,
    /// For what is damaged or packed by an unknown method.
    pub broken: UnscannableAction,
    /// For what is too large, too deep or too many.
    pub over_limit: UnscannableAction,
    /// For what programs read differently.
    pub ambiguous: UnscannableAction,
}

/// Whether content that cannot be looked into passes.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnscannableAction {
    /// Counts as clean; the report names the obstacle.
    Accept,
    /// The message is `Unscannable`.
    Refuse,
}

// === impl UnscannablePolicy ===

impl UnscannablePolicy {
    /// The answer for one obstacle.
    pub fn action(&self, obstacle: Obstacle) -> UnscannableAction {
        match obstacle.kind() {
            ObstacleKind::Encrypted => self.encrypted,
            ObstacleKind::Partial => self.partial,
            ObstacleKind::Broken => self.broken,
            ObstacleKind::OverLimit => self.over_limit,
            ObstacleKind::Ambiguous => self.ambiguous,
        }
    }
}

impl Default for UnscannablePolicy {
    fn default() -> Self {
        Self {
            encrypted: UnscannableAction::Accept,
            partial: UnscannableAction::Refuse,
            broken: UnscannableAction::Refuse,
            over_limit: UnscannableAction::Refuse,
            ambiguous: UnscannableAction::Refuse,
        }
    }
}
