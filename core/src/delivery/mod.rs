//! From the queue to the mailbox.
//!
//! ```text
//! queue.claim -> worker -> scan (unless stamped) -> local: directory, store -> queue.settle -> store.forget
//! ```

pub mod disposition;

pub use disposition::Disposition;
