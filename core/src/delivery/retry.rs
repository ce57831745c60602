//! When a recipient is tried again, and what `queue list` says until then.

use std::time::Duration;

use crate::queue::Backoff;
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
    /// The address was local when the mail was accepted and is not (or nobody's) now. Until there are notifications
    /// to tell the sender, the mail stays in the queue: it must not vanish in silence.
    #[error("5.1.1 the mailbox that this was accepted for is gone")]
    RecipientGone,
    /// No next hop has taken it.
    #[error("{reason}")]
    NextHop {
        /// Why, with an enhanced status code of class 4 in front. Printable ASCII.
        reason: String,
    },
    /// The attempt ended in a panic: a bug of ours, which the log tells.
    #[error("4.3.0 internal error during delivery")]
    Panicked,
}

// === impl Setback ===

impl Setback {
    /// How long to wait when `attempts` attempts, this one among them, were in vain.
    #[must_use]
    pub fn delay(&self, attempts: u32) -> Duration {
        let backoff = match self {
            Self::Scan | Self::Store(_) | Self::Panicked => LOCAL_BACKOFF,
            Self::RecipientGone => GONE_BACKOFF,
            Self::NextHop { .. } => HOP_BACKOFF,
        };
        backoff.delay(attempts)
    }
}

/// Our own disk or scanner: somebody will repair it, and the mail should lie in the mailbox soon after.
const LOCAL_BACKOFF: Backoff =
    Backoff { first: Duration::from_secs(15), longest: Duration::from_secs(15 * 60) };

/// Only an administrator can change it; four hours is what RFC 5321 section 4.5.4.1 has in mind for later attempts.
const GONE_BACKOFF: Backoff =
    Backoff { first: Duration::from_secs(15 * 60), longest: Duration::from_secs(4 * 60 * 60) };

/// Others repair it, and a network's hiccup is over in minutes.
const HOP_BACKOFF: Backoff =
    Backoff { first: Duration::from_secs(60), longest: Duration::from_secs(4 * 60 * 60) };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_their_cap() {
        let seconds = |attempts| Setback::Scan.delay(attempts).as_secs();
        assert_eq!([seconds(1), seconds(2), seconds(3), seconds(7)], [15, 30, 60, 900]);
        assert_eq!(seconds(u32::MAX), 900);
        assert_eq!(Setback::RecipientGone.delay(u32::MAX).as_secs(), 4 * 60 * 60);
    }
}
