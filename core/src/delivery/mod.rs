//! From the queue to the mailbox.
//!
//! ```text
//! queue.claim -> worker -> scan (unless stamped) -> local: directory -> store.deliver | store.record
//!                                  closing: queue.settle_with <------+-> store.forget
//!                                           dsn: notifications --^
//! ```
//! The store commits first, the queue's record follows, and only then the store forgets: wherever a crash falls, the
//! replay gets the answer that was given before and does nothing twice.

pub mod attempt;
mod closing;
pub mod disposition;
mod dsn;
pub mod local;
pub mod loops;
pub mod metrics;
pub mod retry;
pub mod schedule_policy;
#[cfg(test)]
pub(crate) mod testing;
mod trace;
pub mod worker;

pub use attempt::{Attempt, HopReport};
use closing::Closing;
pub use closing::Policy;
pub use disposition::Disposition;
pub use loops::{RECEIVED_MAX, count_received, delivered_to};
pub use metrics::Metrics;
pub use schedule_policy::{Retries, Schedule, Schedules};
pub use worker::{Rooms, Settings, StartError, Workers};
