//! What an attempt leaves in the event log.

use super::{Attempt, Disposition};
use crate::events::{About, Log, What, evidence};
use crate::queue::NewMessage;

/// One event for one recipient.
pub(super) fn record(log: &Log, message: &NewMessage, attempt: &Attempt) {
    let submission = &message.submission;
    let path = submission.envelope.recipients.get(attempt.recipient).map(|known| known.path.to_string());
    let recipient = evidence(&path.unwrap_or_default());
    let what = match &attempt.result {
        Ok(Disposition::Delivered) => What::Delivered { recipient },
        Ok(Disposition::DeletedByPolicy { threat }) => What::Deleted { recipient, threat: threat.clone() },
        Ok(Disposition::Quarantined { threat }) => What::Quarantined { recipient, threat: threat.clone() },
        Ok(Disposition::Bounced { reason }) => What::Bounced { recipient, reason: evidence(reason) },
        Err(setback) => What::Deferred { recipient, reason: setback.to_string() },
    };
    let about = About { queue_id: Some(message.id.to_string()), ..About::from(&submission.origin) };
    log.record(about, what);
}
