//! The values that cross the queue's doors.

use std::sync::Arc;

use super::shared::Lease;
use super::{OpenError, QueueId, State};
use crate::delivery::Disposition;
use crate::intake::{Body, Submission};
use crate::scan::Stamp;

/// What intake hands in.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// From `Queue::allocate_id`, so that the trace headers could name it.
    pub id: QueueId,
    /// The envelope and where it came from.
    pub submission: Submission,
    /// Trace headers of ours (`Received:`), CRLF lines, to stand before the body. Kept apart so that the body is never copied.
    pub trace: Vec<u8>,
    /// The body as received.
    pub body: Body,
    /// The verdict of the scan in the session: clean under this stamp. `None`: not scanned yet.
    pub stamp: Option<Stamp>,
}

/// One due message, held by one delivery worker. Dropping it without `settle` makes it due again at once.
#[derive(Debug)]
pub struct Claim {
    /// Its id.
    pub id: QueueId,
    /// The message.
    pub message: Arc<NewMessage>,
    /// Indices into `submission.envelope.recipients` that have no terminal disposition yet.
    pub pending: Vec<usize>,
    /// How often it has been tried before.
    pub attempts: u32,
    /// An operator removed it with a bounce: it is not tried again, and all that is pending ends as `Bounced` with
    /// `GIVEN_UP_REASON`.
    pub given_up: bool,
    /// Whether a notification has told the sender that this mail is late.
    pub sender_knows: bool,
    /// Gives the message back when the claim ends.
    pub(super) lease: Lease,
}

/// What became of one recipient in one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Terminal: its record is the removal.
    Done(Disposition),
    /// Terminal: an operator took it out of the queue, and nobody is told.
    Removed,
    /// As `Retry`, and a notification among the follow-ups of the same turn tells the sender that his mail is late.
    Delayed {
        /// Why, from our own list of texts.
        reason: String,
        /// When, milliseconds since 1970.
        not_before_ms: u64,
    },
    /// Tried in vain; try again not before `not_before_ms` (since 1970).
    Retry {
        /// Why, from our own list of texts.
        reason: String,
        /// When.
        not_before_ms: u64,
    },
}

/// Whether what a claim has come to counts among the message's attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It does.
    Taken,
    /// Nothing was tried.
    Missed,
}

/// Why a mail could not be made durable. In every case nothing was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No space: 452 4.3.1; nothing is poisoned.
    #[error("no space left for the queue")]
    Full,
    /// The flush failed, or the stop after one still holds: 451 4.3.0.
    #[error("the queue could not be flushed to stable storage")]
    Failed,
    /// As much waits for this user or for a recipient's domain as may wait: 452 4.3.1.
    #[error("too much mail waits for this user or domain already")]
    OverQuota,
    /// The queue is shutting down.
    #[error("the queue is closed")]
    Closed,
}

/// Size of a segment and the thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Octets of a segment, preallocated (64 MiB).
    pub segment_octets: u64,
    /// Below this much free space a mail is refused with `Full`.
    pub free_octets_min: u64,
    /// As many files must still fit on the file system (inodes), or a mail is refused with `Full`.
    pub free_files_min: u64,
    /// What may wait for one user or one domain.
    pub quotas: Quotas,
    /// By how many milliseconds the clock was set back since this queue was last open: what waits for a time waits no longer
    /// for that.
    pub clock_back_ms: u64,
}

/// What may wait at most; `None`: as much as comes. A mail is refused with `OverQuota` where as much waits already, so
/// the last one and those that come in with it may go beyond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Of one authenticated user.
    pub user: Quota,
    /// With a pending recipient in one domain.
    pub domain: Quota,
}

/// A bound of messages and of their octets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Messages.
    pub messages: Option<u64>,
    /// Octets of their bodies.
    pub octets: Option<u64>,
}

/// What recovery found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Messages with at least one pending recipient.
    pub messages: usize,
    /// Segments read.
    pub segments: usize,
    /// Octets of torn tails that were cut.
    pub torn_octets: u64,
    /// Damaged records set aside in `corrupt/`; not those that an earlier start has set aside.
    pub corrupt_records: usize,
    /// Which, up to a bound.
    pub damage: Vec<Damage>,
}

/// What recovery found damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// A record.
    Record {
        /// The file in `corrupt/` with what is left of it.
        set_aside: String,
        /// The mail that it was about, as far as its octets tell.
        probably: Option<QueueId>,
    },
    /// A segment is shorter than it was.
    Cut {
        /// Its file.
        segment: String,
        /// How many octets are gone.
        octets: u64,
    },
}

/// One line of `queue list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its id.
    pub id: QueueId,
    /// When it was received, milliseconds since 1970.
    pub received_at_ms: u64,
    /// Octets of its body.
    pub octets: u64,
    /// From whom, with angle brackets.
    pub sender: String,
    /// To whom, with angle brackets, in the order of RCPT, and whether a terminal disposition is still missing.
    pub recipients: Vec<RecipientSummary>,
    /// How often it has been tried.
    pub attempts: u32,
    /// When it is tried next, milliseconds since 1970.
    pub not_before_ms: u64,
    /// Why the last attempt was in vain.
    pub last_reason: Option<String>,
    /// Where it stands.
    pub state: State,
    /// Whether an operator holds it back.
    pub held: bool,
    /// Whether an operator removed it with a bounce, which is still to be sent.
    pub given_up: bool,
}

/// One recipient of a queued message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientSummary {
    /// With angle brackets.
    pub address: String,
    /// Whether it still waits for a terminal disposition.
    pub pending: bool,
    /// The address of ours that led to it, with angle brackets.
    pub stands_for: Option<String>,
}

/// How long a message has waited, by the clock as it is set now. Milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// Since when: when it was received, moved by what the clock was set by while it waited. The time that the machine slept
    /// does not count either.
    pub since_ms: u64,
    /// Now.
    pub now_ms: u64,
}

/// Everything that `queue show` tells of one message; its body is not read.
#[derive(Debug, Clone)]
pub struct Details {
    /// The line of `queue list`.
    pub summary: Summary,
    /// Envelope and origin.
    pub submission: Submission,
    /// Our trace headers.
    pub trace: Vec<u8>,
    /// Whether and under which signatures the session's scan found it clean.
    pub stamp: Option<Stamp>,
}

// === impl Outcome ===

impl Outcome {
    /// Whether nothing more is tried for the recipient.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        match self {
            Self::Done(_) | Self::Removed => true,
            Self::Retry { .. } | Self::Delayed { .. } => false,
        }
    }
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment_octets: SEGMENT_OCTETS_DEFAULT,
            free_octets_min: FREE_OCTETS_MIN_DEFAULT,
            free_files_min: FREE_FILES_MIN_DEFAULT,
            quotas: Quotas::default(),
            clock_back_ms: 0,
        }
    }
}

impl Settings {
    pub(super) const fn check(&self) -> Result<(), OpenError> {
        if self.segment_octets < SEGMENT_OCTETS_MIN {
            return Err(OpenError::SegmentTooSmall {
                octets: self.segment_octets,
                minimum: SEGMENT_OCTETS_MIN,
            });
        }
        Ok(())
    }
}

/// Below this the headers would be a part worth mentioning. A record that is larger gets a larger segment.
const SEGMENT_OCTETS_MIN: u64 = 4096;

/// Each is a line in memory until it is told; a disk that has lost more is a case for `verify`.
pub(super) const DAMAGE_TOLD_MAX: usize = 10_000;

/// Large enough that a new segment is rare (16,000 mails of 4 KiB), small enough that an old one is soon free again.
const SEGMENT_OCTETS_DEFAULT: u64 = 64 * 1024 * 1024;

/// What such a mail is closed with.
pub const GIVEN_UP_REASON: &str = "5.7.0 taken out of the queue by the administrator";

/// Two segments: what is accepted can still be settled while new mail is refused.
const FREE_OCTETS_MIN_DEFAULT: u64 = 128 * 1024 * 1024;

/// Large bodies take one each; databases, logs and certificates need some too.
const FREE_FILES_MIN_DEFAULT: u64 = 1_000;
