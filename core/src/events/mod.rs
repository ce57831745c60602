//! What happened, kept so that it can be explained: which rule refused what, and what became of each mail.
//!
//! ```text
//! session, backend, delivery -> Log (bounded channel) -> writer thread -> events-NNNNNNNNNN.jsonl -> History -> words
//! ```
//! Recording never waits: where the channel is full the event is lost, counted, and the gap is told in the log. The
//! log is not flushed to stable storage; a crash of the machine may cost its last seconds, never mail.

mod catalogue;
mod details;
mod history;
mod log;
mod metrics;
mod numbers;
mod words;
mod writer;

pub use catalogue::{About, Event, What, evidence};
pub use details::Details;
pub(crate) use details::subject_of;
pub use history::{Found, History};
pub use log::Log;
pub use metrics::Metrics;
