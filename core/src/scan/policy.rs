//! What to do with content that is infected, or cannot be looked into.

use super::Obstacle;

/// What becomes of a mail that is found to be infected once it is in the queue.
#[must_use]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InfectedAction {
    /// It goes into the quarantine.
    #[default]
    Quarantine,
    /// It is deleted.
    Delete,
}

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

// === impl InfectedAction ===

impl InfectedAction {
    /// As far as the switch for deletion allows: without it, what was to be deleted goes into the quarantine. The classic
    /// name of that switch is `EnableScanDeletion`.
    pub const fn allowed(self, deletion: bool) -> Self {
        match self {
            Self::Delete if deletion => Self::Delete,
            Self::Delete | Self::Quarantine => Self::Quarantine,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletion_needs_its_switch_and_falls_back_to_the_quarantine() {
        assert_eq!(InfectedAction::Delete.allowed(true), InfectedAction::Delete);
        assert_eq!(InfectedAction::Delete.allowed(false), InfectedAction::Quarantine);
        for deletion in [true, false] {
            assert_eq!(InfectedAction::Quarantine.allowed(deletion), InfectedAction::Quarantine);
        }
    }
}
