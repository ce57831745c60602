//! Why a recipient was not served in an attempt: what `queue list` says until the next one.

use std::time::Duration;

use super::schedule_policy::{Schedule, Schedules};
use crate::store::StoreError;

/// Why a recipient was not served in this attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Setback {
    /// The scanner had no verdict, or one that does not let the mail pass; nothing is delivered unscanned.
    #[error("4.7.1 waiting for a virus scan that can vouch for this message")]
    Scan,
    /// The store refused.
    #[error("4.2.0 mailbox not ready: {0}")]
    Store(StoreError),
    /// It belongs into the quarantine, which cannot take it now.
    #[error("4.3.0 the quarantine cannot take this message")]
    Quarantine,
    /// What was found in it is to be taken out, which is not possible now.
    #[error("4.3.0 the message cannot be rewritten now")]
    Rewriting,
    /// No next hop has taken it.
    #[error("{reason}")]
    NextHop {
        /// Why, with an enhanced status code of class 4 in front. Printable ASCII.
        reason: String,
    },
    /// Its destination is left alone for a while, as other mail has found out: nobody was asked, so this was no attempt.
    #[error("{reason}")]
    LeftAlone {
        /// Why, as of `NextHop`.
        reason: String,
        /// For how long still.
        pause: Duration,
        /// How often in a row it has been tried in vain, by whatever mail.
        failures: u32,
    },
    /// This server keeps it back by its own settings: it is not its turn, or mail to other servers is paused. Nobody was
    /// asked, so this was no attempt.
    #[error("{reason}")]
    KeptBack {
        /// Why, as of `NextHop`.
        reason: String,
        /// For how long still.
        pause: Duration,
    },
    /// The body is not what was written to our disk. Another look decides, since it may be the reading that failed.
    #[error("4.3.0 the mail is damaged on the disk of this server")]
    Damaged,
    /// The attempt ended in a panic: a bug of ours, which the log tells.
    #[error("4.3.0 internal error during delivery")]
    Panicked,
}

// === impl Setback ===

impl Setback {
    /// The schedule that a mail with this setback waits by.
    #[must_use]
    pub const fn schedule<'a>(&self, schedules: &'a Schedules) -> &'a Schedule {
        match self {
            Self::Scan
            | Self::Store(_)
            | Self::Quarantine
            | Self::Rewriting
            | Self::Damaged
            | Self::Panicked => &schedules.local,
            Self::NextHop { .. } | Self::LeftAlone { .. } | Self::KeptBack { .. } => &schedules.outbound,
        }
    }

    /// Whether it is about the way to another server.
    #[must_use]
    pub const fn is_of_next_hop(&self) -> bool {
        matches!(self, Self::NextHop { .. } | Self::LeftAlone { .. } | Self::KeptBack { .. })
    }

    /// Whether somebody was asked, or something tried.
    #[must_use]
    pub const fn is_of_attempt(&self) -> bool {
        !matches!(self, Self::LeftAlone { .. } | Self::KeptBack { .. })
    }

    /// For how long a mail is kept back; that time is neither a failure nor a delay of anybody else's.
    #[must_use]
    pub const fn kept_back(&self) -> Option<Duration> {
        match self {
            Self::KeptBack { pause, .. } => Some(*pause),
            _ => None,
        }
    }
}

impl From<StoreError> for Setback {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::BodyDamaged => Self::Damaged,
            error => Self::Store(error),
        }
    }
}
