//! The durable queue. 250 comes after its flush, never before.

pub mod id;
pub mod messages;

pub use id::QueueId;
pub use messages::{AppendError, Claim, NewMessage, Outcome, Recovered, Settings};
