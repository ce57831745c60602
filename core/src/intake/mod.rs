//! Envelope + body -> receipt, after the flush.

pub mod binarymime;
pub mod body;
pub mod spool;
pub mod submission;
pub mod trace;

pub use body::{Body, BodyBuffer};
pub use spool::{BodyFile, Spool};
pub use submission::{Forwards, Origin, Submission};
