//! The durable queue. 250 comes after its flush, never before.

pub mod error;
pub mod handle;
pub mod id;
pub mod messages;
pub mod metrics;
pub mod schedule;

pub use error::OpenError;
pub use handle::{Queue, Snapshot};
pub use id::{IdGenerator, QueueId};
pub use messages::{
    AppendError, Claim, Details, NewMessage, Outcome, RecipientSummary, Recovered, Settings, Summary,
};
pub use metrics::Metrics;
pub use schedule::Backoff;
