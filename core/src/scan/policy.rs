//! What to do with content that cannot be looked into.

use super::Obstacle;

/// One answer for each kind of obstacle.
///
/// The defaults: an encrypted archive passes, because people send them on purpose and a scanner can never open them; what
/// exceeds a limit, is broken or is a fragment is refused, because honest mail hardly ever is and it is the known way past
/// scanners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnscannablePolicy {
    /// For [`Obstacle::Encrypted`].
    pub encrypted: UnscannableAction,
    /// For every other obstacle.
    pub other: UnscannableAction,
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
        match obstacle {
            Obstacle::Encrypted => self.encrypted,
            Obstacle::TooDeep
            | Obstacle::TooManyParts
            | Obstacle::HeadersTooLong
            | Obstacle::TooManyEntries
            | Obstacle::TooLarge
            | Obstacle::Broken
            | Obstacle::EngineLimit
            | Obstacle::Fragment => self.other,
        }
    }
}

impl Default for UnscannablePolicy {
    fn default() -> Self {
        Self { encrypted: UnscannableAction::Accept, other: UnscannableAction::Refuse }
    }
}
