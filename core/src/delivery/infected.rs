//! The way into the quarantine, and what is known of it afterwards.
//!
//! ```text
//! store.record: his copy belongs there -> quarantine.keep -> queue.settle -> quarantine.settled, store.forget
//! ```
//! The store has the first word, as with every end of a recipient. So a mail that the scanner calls clean after a crash is
//! not delivered to whom it was kept from before, and is in quarantine all the same.

use std::sync::Arc;

use tracing::{debug, error};

use super::retry::Setback;
use super::{Attempt, Disposition};
use crate::quarantine::{Evidence, Quarantine, Suspect};
use crate::queue::{NewMessage, QueueId};

/// Keeps the copies that belong into the quarantine, with all that the scan has told. One that does not get there has no end
/// yet.
pub(super) async fn keep(
    quarantine: &Quarantine,
    message: &Arc<NewMessage>,
    evidence: Evidence,
    mut attempted: Vec<Attempt>,
) -> Vec<Attempt> {
    let recipients: Vec<u32> =
        attempted.iter().filter_map(quarantined).map(|(recipient, _)| recipient).collect();
    if recipients.is_empty() {
        return attempted;
    }
    let suspect = Suspect { message: Arc::clone(message), recipients, evidence, files: 1 };
    if let Err(error) = quarantine.keep(suspect).await {
        let session = message.submission.origin.session.as_str();
        error!(queue_id = %message.id, session, %error, "an infected mail could not be put into quarantine");
        for attempt in attempted.iter_mut().filter(|attempt| quarantined(attempt).is_some()) {
            attempt.result = Err(Setback::Quarantine);
        }
    }
    attempted
}

/// As `keep`, of which only the store may remember why. Every attempt passes here before the queue's record of it; what is in
/// quarantine already stays as it is.
pub(super) async fn keep_remembered(
    quarantine: &Quarantine,
    message: &Arc<NewMessage>,
    attempted: Vec<Attempt>,
) -> Vec<Attempt> {
    let threat = attempted.iter().find_map(quarantined).map(|(_, threat)| threat.to_owned());
    match threat {
        Some(threat) => {
            keep(quarantine, message, Evidence { threat, item: None, stamp: None }, attempted).await
        }
        None => attempted,
    }
}

/// The queue has its record of this attempt.
pub(super) async fn settled(quarantine: &Quarantine, id: QueueId, attempted: &[Attempt]) {
    let is_replaced = |attempt: &Attempt| matches!(attempt.result, Ok(Disposition::Replaced { .. }));
    if attempted.iter().any(|attempt| quarantined(attempt).is_some() || is_replaced(attempt))
        && let Err(error) = quarantine.settled(id).await
    {
        debug!(queue_id = %id, %error, "the quarantine learns at the next start what the queue has recorded");
    }
}

/// Whether an attempt has found a virus, whatever becomes of it.
pub(super) const fn is_found(attempt: &Attempt) -> bool {
    matches!(
        attempt.result,
        Ok(Disposition::DeletedByPolicy { .. }
            | Disposition::Quarantined { .. }
            | Disposition::Replaced { .. })
            | Err(Setback::Quarantine | Setback::Rewriting)
    )
}

/// A recipient whose copy belongs into the quarantine, and why.
fn quarantined(attempt: &Attempt) -> Option<(u32, &str)> {
    match &attempt.result {
        Ok(Disposition::Quarantined { threat }) => Some((u32::try_from(attempt.recipient).ok()?, threat)),
        _ => None,
    }
}
