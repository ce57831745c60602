//! Envelope + body -> receipt, after the flush.

pub mod body;
pub mod submission;

pub use body::{Body, BodyBuffer};
pub use submission::{Origin, Submission};
