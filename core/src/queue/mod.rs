//! The durable queue. 250 comes after its flush, never before.
//!
//! ```text
//! append, settle, hold, remove -> writer (thread) -> committer -> journal -> segment (file) <- supply (thread)
//!          ^--- teller (task) <-----+                   |  ^                       |
//! claim, select, stats <- index, schedule <-------------+  +- carry                | recovery <- reader, at the start
//!                                                                                  +--------- survey <- verify, salvage
//! ```
//! The format is written down octet by octet where it is coded: files and their footers in `segment`, records and
//! batches in `record`, payloads in `envelope` and `standing`, notes of footers in `facts`. `core/tests/golden` holds a
//! file of every released version.
//!
//! - All sessions that wait share one vectored write and one flush.
//! - What a worker says of a recipient is one record; the last one is the removal. There is no second step that could
//!   fail, so nothing that was deleted or delivered comes back.
//! - A segment goes when nothing in it is pending and no segment that it tells of is left: `done` never disappears
//!   before what it is about.
//! - Segments go in order. The mails that keep an old one are carried on once more is dead than alive.
//! - What an attempt has to tell its sender becomes durable with the attempt's record or not at all.
//! - After a failed flush the segment is left alone for good and nothing is accepted until a fresh one has flushed.

mod carry;
mod codec;
mod committer;
mod envelope;
pub mod error;
mod facts;
mod footer;
pub mod handle;
pub mod id;
mod index;
mod journal;
mod leaps;
mod lost;
pub mod messages;
pub mod metrics;
mod operator;
pub mod orders;
mod pending;
pub mod progress;
mod reader;
mod record;
mod recovery;
mod said;
pub mod salvage;
pub mod schedule;
mod segment;
mod shared;
mod standing;
mod supply;
mod survey;
mod teller;
pub mod verify;
mod waiting;
mod writer;

#[doc(hidden)]
pub use envelope::reencode_message;
pub use error::OpenError;
pub use handle::{Queue, Snapshot};
pub use id::{IdGenerator, QueueId};
pub use messages::{
    AppendError, Claim, Damage, Details, GIVEN_UP_REASON, NewMessage, Outcome, Quota, Quotas,
    RecipientSummary, Recovered, Settings, Summary, Turn, Wait,
};
pub use metrics::Metrics;
pub use orders::{
    AGE_BOUNDS_MS, Affected, DomainStats, HOLD_RULES_MAX, HoldRule, OrderError, Removal, Selection, State,
    Stats,
};
pub use progress::ProgressWatch;
pub use salvage::Salvaged;
pub use schedule::{Backoff, Lane};
pub use verify::{Flaw, Problem, Verified};
pub use waiting::{Lying, Waiting};

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod format_tests;
#[cfg(test)]
mod test_support;
