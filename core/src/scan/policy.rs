//! What to do with content that is infected, or cannot be looked into.

use super::verdict::{Obstacle, ObstacleKind};

/// What becomes of a mail that is found to be infected once it is in the queue.
#[must_use]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InfectedAction {
    /// It goes into the quarantine.
    #[default]
    Quarantine,
    /// It is deleted.
    Delete,
    /// What is infected in it is replaced, and the rest goes its way.
    Rewrite(Rewriting),
}

/// How infected mail is rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewriting {
    /// Whether the engines are asked to clean a part before it is taken out.
    pub cleans: bool,
    /// Whether the mail as it was goes into the quarantine as well.
    pub keeps_original: bool,
    /// What becomes of mail that cannot be rewritten.
    pub otherwise: Disposal,
}

/// What becomes of a whole mail that nobody is to get.
#[must_use]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Disposal {
    /// It goes into the quarantine.
    #[default]
    Quarantine,
    /// It is deleted.
    Delete,
}

/// What becomes of a mail on which a scan has no verdict in time, because an engine fails, hangs or cannot be reached.
#[must_use]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FailMode {
    /// It goes into mailboxes all the same, where it is scanned before anybody reads it; it never leaves this server.
    Open,
    /// It is not taken: its sender is asked to come again.
    Closed,
    /// It waits in the queue for a scan that can vouch for it.
    #[default]
    Hold,
}

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

// === impl FailMode ===

impl FailMode {
    /// As it is written in a configuration, and told in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Hold => "hold",
        }
    }
}

// === impl InfectedAction ===

impl InfectedAction {
    /// As far as the switch for deletion allows: without it, what was to be deleted goes into the quarantine. The classic
    /// name of that switch is `EnableScanDeletion`.
    /// A part is taken out all the same, and the mail as it was then kept.
    pub const fn allowed(self, deletion: bool) -> Self {
        match self {
            Self::Delete if !deletion => Self::Quarantine,
            Self::Rewrite(rewriting) if !deletion => Self::Rewrite(Rewriting {
                keeps_original: true,
                otherwise: Disposal::Quarantine,
                ..rewriting
            }),
            allowed => allowed,
        }
    }

    /// What becomes of mail that is not rewritten.
    pub const fn disposal(self) -> Disposal {
        match self {
            Self::Quarantine => Disposal::Quarantine,
            Self::Delete => Disposal::Delete,
            Self::Rewrite(rewriting) => rewriting.otherwise,
        }
    }
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

    #[test]
    fn without_the_switch_for_deletion_nothing_of_a_rewritten_mail_is_lost() {
        let rewriting = Rewriting { cleans: true, keeps_original: false, otherwise: Disposal::Delete };
        let action = InfectedAction::Rewrite(rewriting);
        assert_eq!(action.allowed(true), action);
        assert_eq!(action.disposal(), Disposal::Delete);
        let kept = Rewriting { cleans: true, keeps_original: true, otherwise: Disposal::Quarantine };
        assert_eq!(action.allowed(false), InfectedAction::Rewrite(kept));
    }
}
