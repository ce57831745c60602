//! What the log, the metrics and the event log hear of an attempt that has ended.

use std::cell::LazyCell;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::Closing;
use crate::delivery::dsn::Told;
use crate::delivery::{Attempt, Disposition, trace};
use crate::events::Details;
use crate::queue::{NewMessage, QueueId, Wait};

// === impl Closing ===

impl Closing {
    pub(in crate::delivery) fn report(&self, message: &NewMessage, attempted: &[Attempt]) {
        let (queue_id, session) = (message.id, message.submission.origin.session.as_str());
        let details = LazyCell::new(|| Details::from(message).without_recipients());
        for attempt in attempted {
            trace::record(&self.rooms.events, message, attempt, || details.clone());
            let recipient = address(message, attempt.recipient);
            match &attempt.result {
                Ok(Disposition::Bounced { reason }) => {
                    warn!(%queue_id, session, recipient, reason, "recipient given up");
                }
                Ok(disposition) => debug!(%queue_id, session, recipient, ?disposition, "recipient done"),
                Err(setback) if setback.kept_back().is_some() => {
                    debug!(%queue_id, session, recipient, %setback, "recipient kept back");
                }
                Err(setback) => warn!(%queue_id, session, recipient, %setback, "recipient put off"),
            }
            if let Some(metrics) = &self.metrics {
                match &attempt.result {
                    Ok(disposition) => metrics.count_done(disposition),
                    Err(setback) => metrics.count_retry(setback),
                }
            }
        }
        if let Some(metrics) = &self.metrics
            && count(attempted, is_deleted).is_some()
        {
            metrics.deleted_messages.inc();
        }
        self.report_ends(message, attempted);
    }

    /// One line that says what became of how many.
    fn report_ends(&self, message: &NewMessage, attempted: &[Attempt]) {
        let Some(recipients) = count(attempted, |_| true) else { return };
        let (queue_id, session) = (message.id, message.submission.origin.session.as_str());
        let Wait { since_ms, now_ms } = self.wait_of(message);
        let waited_ms = now_ms.saturating_sub(since_ms);
        // What is `None` is left out.
        info!(
            %queue_id,
            session,
            recipients,
            delivered = count(attempted, |end| matches!(end, Disposition::Delivered)),
            replaced = count(attempted, |end| matches!(end, Disposition::Replaced { .. })),
            quarantined = count(attempted, |end| matches!(end, Disposition::Quarantined { .. })),
            deleted = count(attempted, is_deleted),
            bounced = count(attempted, |end| matches!(end, Disposition::Bounced { .. })),
            waited_ms,
            "recipients have their disposition"
        );
        if let Some(metrics) = &self.metrics {
            metrics.seconds.observe(Duration::from_millis(waited_ms).as_secs_f64());
        }
    }

    pub(super) fn report_silence(&self, message: &NewMessage, unreported: &[usize]) {
        let (queue_id, session) = (message.id, message.submission.origin.session.as_str());
        for recipient in unreported {
            let recipient = address(message, *recipient);
            warn!(%queue_id, session, recipient, "refused where it was sent on to; its sender is a stranger, and is not told");
            if let Some(metrics) = &self.metrics {
                metrics.unreported.inc();
            }
        }
    }

    /// Of the mail `notification`, which tells the sender of `message` what became of it.
    pub(super) fn report_notification(&self, message: &NewMessage, notification: QueueId, told: &[Told]) {
        trace::record_notification(&self.rooms.events, message, notification, told);
        let (session, action) =
            (message.submission.origin.session.as_str(), told.iter().map(|told| told.action).max());
        let (action, recipients) = (action.map(|action| action.name()), told.len());
        info!(queue_id = %notification, about = %message.id, session, action, recipients, "the sender is told");
        if let Some(metrics) = &self.metrics {
            told.iter().for_each(|told| metrics.count_told(told.action));
        }
    }
}

/// As it stands in the envelope: it has passed its grammar, which knows no control characters.
fn address(message: &NewMessage, recipient: usize) -> String {
    let recipient = message.submission.envelope.recipients.get(recipient);
    recipient.map(|recipient| recipient.path.to_string()).unwrap_or_default()
}

/// How many have met such an end; `None` where nobody has.
fn count(attempted: &[Attempt], is_it: impl Fn(&Disposition) -> bool) -> Option<usize> {
    let count = attempted.iter().filter(|attempt| attempt.result.as_ref().is_ok_and(&is_it)).count();
    (count > 0).then_some(count)
}

const fn is_deleted(end: &Disposition) -> bool {
    matches!(end, Disposition::DeletedByPolicy { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_counted_by_kind_and_what_is_put_off_is_no_end() {
        let end = |recipient, result| Attempt::local(recipient, result);
        let threat = || "T".to_owned();
        let attempted = [
            end(0, Ok(Disposition::Delivered)),
            end(1, Ok(Disposition::Quarantined { threat: threat() })),
            end(2, Ok(Disposition::Delivered)),
            end(3, Err(crate::delivery::retry::Setback::Damaged)),
        ];
        assert_eq!(count(&attempted, |_| true), Some(3));
        assert_eq!(count(&attempted, |end| *end == Disposition::Delivered), Some(2));
        assert_eq!(count(&attempted, is_deleted), None);
    }
}
