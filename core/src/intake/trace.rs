//! The `Received:` header (RFC 5321 section 4.4).

use super::Submission;
use crate::queue::QueueId;

/// Builds it: CRLF lines, folded.
#[must_use]
pub fn received(_hostname: &str, _id: QueueId, _submission: &Submission) -> Vec<u8> {
    todo!()
}
