//! What is taken out of a mail before anything of it is kept, scanned or believed.

mod authserv;
pub mod headers;
pub mod metrics;

pub use headers::{HeaderFirewall, Overflow, Stripped, Trust};
pub use metrics::Metrics;
