//! What an attempt leaves in the event log.

use gatepost_smtp::wire::path::ForwardPath;

use super::dsn::Told;
use super::successor::Rewriting;
use super::{Attempt, Disposition};
use crate::events::{About, Details, Log, What, evidence};
use crate::queue::{NewMessage, QueueId};
use crate::scan::rewrite::Treatment;

/// One event for one recipient. `details`: of the mail.
pub(super) fn record(log: &Log, message: &NewMessage, attempt: &Attempt, details: impl FnOnce() -> Details) {
    let submission = &message.submission;
    let path = submission.envelope.recipients.get(attempt.recipient).map(|known| known.path.to_string());
    let recipient = evidence(&path.unwrap_or_default());
    let what = match &attempt.result {
        Ok(Disposition::Delivered) => What::Delivered { recipient },
        Ok(Disposition::DeletedByPolicy { threat }) => {
            What::Deleted { recipient, threat: threat.clone(), details: details() }
        }
        Ok(Disposition::Quarantined { threat }) => {
            What::Quarantined { recipient, threat: threat.clone(), details: details() }
        }
        Ok(Disposition::Bounced { reason }) => What::Bounced { recipient, reason: evidence(reason) },
        Ok(Disposition::Replaced { by }) => What::Replaced { recipient, by: by.to_string() },
        Err(setback) => What::Deferred { recipient, reason: setback.to_string() },
    };
    let about = About { queue_id: Some(message.id.to_string()), ..About::from(&submission.origin) };
    log.record(about, what);
}

/// A mail that took the place of this one: an event for each of the two.
pub(super) fn record_rewriting(log: &Log, message: &NewMessage, rewriting: &Rewriting) {
    let Rewriting { by, threat, parts } = rewriting;
    let count = |treatment| parts.iter().filter(|part| part.treatment == treatment).count();
    let what = What::Rewritten {
        original: message.id.to_string(),
        rewritten_as: by.to_string(),
        threat: threat.clone(),
        removed: count(Treatment::Removed),
        cleaned: count(Treatment::Cleaned),
        clean_failed: count(Treatment::CleanFailed),
        details: message.into(),
    };
    for id in [message.id, *by] {
        let about = About { queue_id: Some(id.to_string()), ..About::from(&message.submission.origin) };
        log.record(about, what.clone());
    }
}

/// One event for a warning, with what it is about; of several whom it goes to, one is named.
pub(super) fn record_warning(log: &Log, about: About, warning: QueueId, to: &ForwardPath, recipients: usize) {
    let what = What::Notified {
        sender: evidence(&to.to_string()),
        notification: warning.to_string(),
        action: "warned".into(),
        recipients,
    };
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
