//! Reading protocols: sessions without sockets, and the scan gate that all of them use.

pub mod gate;
pub mod metrics;
pub mod pop3;

pub use gate::{AgeMax, Released, ScanGate, Way, Withheld};
pub use metrics::Metrics;
