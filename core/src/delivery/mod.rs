//! From the queue to the mailbox.

pub mod disposition;

pub use disposition::Disposition;
