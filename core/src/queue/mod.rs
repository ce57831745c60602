//! The durable queue. 250 comes after its flush, never before.

mod codec;
mod committer;
mod envelope;
pub mod error;
pub mod handle;
pub mod id;
mod index;
mod journal;
pub mod messages;
pub mod metrics;
mod pending;
mod reader;
mod record;
mod recovery;
pub mod schedule;
mod segment;
mod shared;
mod supply;
mod writer;

pub use error::OpenError;
pub use handle::{Queue, Snapshot};
pub use id::{IdGenerator, QueueId};
pub use messages::{
    AppendError, Claim, Details, NewMessage, Outcome, RecipientSummary, Recovered, Settings, Summary,
};
pub use metrics::Metrics;
pub use schedule::Backoff;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod format_tests;
#[cfg(test)]
mod test_support;
