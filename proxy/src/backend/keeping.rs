//! What all who keep a body need to know: what its peer may say in its header, and what a failure means for him.

use gatepost_core::filter::Trust;
use gatepost_core::queue::AppendError;
use gatepost_smtp::server::{Refusal, Right, Rights};

/// Which header fields may stay.
pub(super) fn trust(rights: Rights) -> Trust {
    Trust {
        organization: rights.contains(Right::AcceptHeadersOrganization),
        forest: rights.contains(Right::AcceptHeadersForest),
        routing: rights.contains(Right::AcceptHeadersRouting),
    }
}

/// What somebody is refused with whose mail the disk or the memory does not take.
pub(super) const fn refusal(error: AppendError) -> Refusal {
    match error {
        AppendError::Full | AppendError::OverQuota => Refusal::StorageFull,
        AppendError::Failed | AppendError::Closed => Refusal::StorageFailed,
    }
}
