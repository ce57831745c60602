//! What an operator sees: log lines, counters, and nothing that is secret.

pub mod log;
pub mod metrics;
pub mod redaction;

pub use log::LogHandle;
pub use metrics::Metrics;
pub use redaction::Secret;
