//! From the queue to the mailbox.
//!
//! ```text
//! queue.claim -> worker -> clearance (scan unless stamped) -+-> local: directory -> store.deliver | store.record
//!                                                           +-> infected: store.record -> quarantine
//!                                                           |   or rewritten: a successor, with the record of this one's end
//!                                                           +-> remote: route -> mx -> hop: a server's word
//!                               closing: queue.settle_with <-+-> store.forget
//!                                        dsn: notifications --^
//!                  anew: addresses that lead elsewhere by now --^
//! session -> suspects -> quarantine
//! queue.lost -> lost: notifications
//! ```
//! The store commits first, the queue's record follows, and only then the store forgets: wherever a crash falls, the
//! replay gets the answer that was given before and does nothing twice. A next hop remembers nothing for us: a crash
//! between its 250 and the flush of the queue's record sends the mail twice, which is the window that SMTP leaves.

mod anew;
pub mod attempt;
mod clearance;
mod closing;
pub mod disposition;
pub mod dns;
mod dsn;
pub mod hop;
mod infected;
pub mod local;
pub mod loops;
mod lost;
pub mod metrics;
pub mod mx;
pub mod reach;
pub mod remote;
pub mod retry;
mod rooms;
pub mod route;
pub mod schedule_policy;
mod successor;
pub mod suspects;
#[cfg(test)]
pub(crate) mod testing;
pub mod tls_policy;
mod trace;
mod warner;
mod warning;
pub mod watchdog;
pub mod worker;

use anew::Anew;
pub use attempt::{Attempt, HopReport};
use closing::Closing;
pub use closing::{Policy, Treatment};
pub use disposition::Disposition;
pub use loops::{RECEIVED_MAX, delivered_to};
pub use metrics::Metrics;
pub use rooms::Rooms;
pub use schedule_policy::{Retries, Schedule, Schedules};
pub use suspects::Suspects;
pub(crate) use warning::{Fate, Occasion};
pub use warning::{InvalidTemplate, Pace, Template, Warnings};
pub use watchdog::Watchdog;
pub use worker::{Settings, StartError, Workers};
