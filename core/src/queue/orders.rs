//! What an operator asks of the queue, and what he is told.

use super::{AppendError, QueueId};

/// Messages that all of these filters let through; without any: the whole queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// One of these; empty: any.
    pub ids: Vec<QueueId>,
    /// From this address, without angle brackets, compared without case; empty: the null sender.
    pub sender: Option<String>,
    /// With this address, written likewise, among the recipients that are pending.
    pub recipient: Option<String>,
    /// With a pending recipient in this domain, compared without case.
    pub domain: Option<String>,
    /// Received before this time, milliseconds since 1970.
    pub before_ms: Option<u64>,
    /// Received at this time or later.
    pub since_ms: Option<u64>,
    /// Held, or not.
    pub held: Option<bool>,
    /// In this state.
    pub state: Option<State>,
}

/// Where a message stands; each is in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has not been tried yet.
    Waiting,
    /// A worker has it.
    InDelivery,
    /// An attempt was in vain, or it was put off without one; another one follows.
    Deferred,
    /// An operator holds it back.
    Held,
    /// An operator removed it with a bounce, which is still to be sent.
    Bouncing,
}

/// A standing hold: it covers what comes in later too, until it is lifted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldRule {
    /// All mail.
    Everything,
    /// All mail from this address, in lower case; empty: the null sender.
    Sender(String),
    /// All mail with a recipient in this domain, in lower case.
    Domain(String),
}

/// How messages leave the queue on an operator's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Nobody is told: `Outcome::Removed`.
    Silent,
    /// Delivery gives the message up at once: `Claim::given_up`, `Disposition::Bounced`, and a notification where one is
    /// due.
    Bounce,
}

/// How many messages an order reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Affected {
    /// Messages that it changed.
    pub messages: usize,
    /// Messages that it would have changed but for a delivery attempt that is under way. A hold counts none here: it holds
    /// such a message when the attempt has ended in vain.
    pub in_delivery: usize,
    /// Recipients that wait with these messages, but whose domain or address the selection does not name: a message is held or
    /// taken out as a whole.
    pub others: usize,
}

/// Why an order was not carried out, or not to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Nothing more was changed than what the disk holds.
    #[error(transparent)]
    Durability(#[from] AppendError),
    /// Rules are kept in every segment, so there are not many of them.
    #[error("there are {HOLD_RULES_MAX} holds of senders and domains already")]
    TooManyRules,
}

// === impl State ===

impl State {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::InDelivery => "in-delivery",
            Self::Deferred => "deferred",
            Self::Held => "held",
            Self::Bouncing => "bouncing",
        }
    }
}

/// The queue at a glance; no record is read for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages with a pending recipient.
    pub messages: usize,
    /// Octets of their bodies.
    pub octets: u64,
    /// Messages that are held.
    pub held: usize,
    /// Messages that a worker has.
    pub in_delivery: usize,
    /// Messages that were tried in vain before.
    pub deferred: usize,
    /// When the oldest was received, milliseconds since 1970.
    pub oldest_ms: Option<u64>,
    /// By the domain of pending recipients, most messages first. A message counts once for each of its domains.
    pub domains: Vec<DomainStats>,
    /// Standing holds.
    pub rules: Vec<HoldRule>,
    /// Messages made durable since the start.
    pub appended: u64,
    /// Delivery attempts recorded since the start.
    pub settled: u64,
    /// Flushes of segments since the start; those of body files are not among them.
    pub flushes: u64,
    /// Segments on disk.
    pub segments: usize,
    /// Whether nothing is accepted after a failed flush.
    pub is_stopped: bool,
}

/// What waits for one domain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DomainStats {
    /// In lower case; empty: recipients without a domain.
    pub domain: String,
    /// Messages with a pending recipient there.
    pub messages: usize,
    /// Octets of their bodies.
    pub octets: u64,
    /// How many of them are held.
    pub held: usize,
    /// How many are younger than `AGE_BOUNDS_MS[i]` and not younger than the bound before; the last: all older ones.
    pub ages: [usize; AGE_BOUNDS_MS.len() + 1],
}

/// Bounds of the ages that `Stats` tells apart: 5 minutes, 1 hour, 4 hours, 1 day, 3 days.
pub const AGE_BOUNDS_MS: [u64; 5] = [300_000, 3_600_000, 14_400_000, 86_400_000, 259_200_000];

/// Each costs its text at the start of every segment.
pub const HOLD_RULES_MAX: usize = 1_000;
