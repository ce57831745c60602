//! The end of an attempt: its durable outcome, then who is told.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::{debug, error, info, warn};

use super::retry::Setback;
use super::worker::Rooms;
use super::{Attempt, Metrics, trace};
use crate::queue::{Claim, NewMessage, Outcome};

/// Closes attempts.
pub(super) struct Closing {
    rooms: Rooms,
    metrics: Option<Metrics>,
}

// === impl Closing ===

impl Closing {
    pub(super) fn new(rooms: &Rooms, metrics: Option<Metrics>) -> Self {
        Self { rooms: rooms.clone(), metrics }
    }

    /// Writes what became of the recipients into the queue, which is their removal where they are done; then lets the
    /// store forget them. Answers whether the queue could keep it.
    pub(super) async fn close(&self, claim: Claim, attempted: Vec<Attempt>) -> bool {
        let (id, message) = (claim.id, Arc::clone(&claim.message));
        let session = message.submission.origin.session.as_str();
        let attempts = claim.attempts.saturating_add(1);
        let outcomes =
            attempted.iter().map(|attempt| (attempt.recipient, outcome(attempt, attempts))).collect();
        if let Err(error) = self.rooms.queue.settle(claim, outcomes).await {
            error!(queue_id = %id, session, %error, "the outcome of a delivery could not be made durable");
            if let Some(metrics) = &self.metrics {
                metrics.settle_failures.inc();
            }
            return false;
        }
        self.report(&message, &attempted);
        let done = attempted.iter().filter(|attempt| attempt.is_done());
        let forget: Vec<u32> = done.filter_map(|attempt| u32::try_from(attempt.recipient).ok()).collect();
        if !forget.is_empty()
            && let Err(error) = self.rooms.store.forget(id, forget).await
        {
            debug!(queue_id = %id, session, %error, "dispositions stay remembered until the next start");
        }
        true
    }

    fn report(&self, message: &NewMessage, attempted: &[Attempt]) {
        let (queue_id, session) = (message.id, message.submission.origin.session.as_str());
        for attempt in attempted {
            let recipient = attempt.recipient;
            trace::record(&self.rooms.events, message, attempt);
            match &attempt.result {
                Ok(disposition) => debug!(%queue_id, session, recipient, ?disposition, "recipient done"),
                Err(Setback::RecipientGone) => {
                    let address =
                        message.submission.envelope.recipients.get(recipient).map(|known| &known.path);
                    error!(
                        %queue_id, session, recipient, ?address,
                        "accepted for a mailbox that is gone; kept in the queue, since nobody could be told"
                    );
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
        let finished = attempted.iter().filter(|attempt| attempt.is_done()).count();
        if finished > 0 {
            let waited_ms = now_ms().saturating_sub(message.submission.origin.received_at_ms);
            info!(%queue_id, session, recipients = finished, waited_ms, "recipients have their disposition");
            if let Some(metrics) = &self.metrics {
                metrics.seconds.observe(Duration::from_millis(waited_ms).as_secs_f64());
            }
        }
    }
}

fn outcome(attempt: &Attempt, attempts: u32) -> Outcome {
    match &attempt.result {
        Ok(disposition) => Outcome::Done(disposition.clone()),
        Err(setback) => {
            let delay_ms = u64::try_from(setback.delay(attempts).as_millis()).unwrap_or(u64::MAX);
            let not_before_ms = now_ms().saturating_add(delay_ms);
            Outcome::Retry { reason: setback.to_string(), not_before_ms }
        }
    }
}

pub(super) fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
