//! What an attempt leaves in the event log.

use super::dsn::Told;
use super::{Attempt, Disposition};
use crate::events::{About, Log, What, evidence};
use crate::queue::{NewMessage, QueueId};

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

/// One event for a notification of this mail's sender.
pub(super) fn record_notification(log: &Log, message: &NewMessage, notification: QueueId, told: &[Told]) {
    let Some(action) = told.iter().map(|told| told.action).max() else { return };
    let submission = &message.submission;
    let what = What::Notified {
        sender: evidence(&submission.envelope.reverse_path.to_string()),
        notification: notification.to_string(),
        action: action.name().into(),
        recipients: told.len(),
    };
    let about = About { queue_id: Some(message.id.to_string()), ..About::from(&submission.origin) };
    log.record(about, what);
}
