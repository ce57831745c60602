//! The end of a mail for one recipient.

use crate::queue::QueueId;

/// Exactly one terminal value a recipient; its record in the queue is the removal (KB883522 cannot happen).
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// Lies in a mailbox, or was taken by a next hop.
    Delivered,
    /// The scanner asked for its deletion.
    DeletedByPolicy {
        /// The threat's name, `[A-Za-z0-9._-]`, at most 128.
        threat: String,
    },
    /// Lies in the quarantine.
    Quarantined {
        /// The threat's name.
        threat: String,
    },
    /// Given up; a notification goes (or went) to the sender where one is due.
    Bounced {
        /// Why, with an enhanced status code first: `5.1.1 ...`.
        reason: String,
    },
    /// Another mail in the queue goes to him instead, without what was found in this one. It became durable with the record
    /// that says so, and has an end of its own.
    Replaced {
        /// The other mail.
        by: QueueId,
    },
}
