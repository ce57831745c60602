//! What is infected goes from its session straight into the quarantine: it never is in the queue, so nothing of it can be
//! delivered or replayed.

use std::io;
use std::sync::Arc;

use tracing::{error, warn};

use super::dsn::{Facts, told};
use super::{Attempt, Closing, Disposition, infected, trace};
use crate::quarantine::{Evidence, Suspect};
use crate::queue::NewMessage;

/// Takes infected mail that no queue has taken. Cheap to clone.
#[derive(Clone)]
pub struct Suspects {
    closing: Closing,
}

// === impl Suspects ===

impl Suspects {
    pub(super) const fn new(closing: Closing) -> Self {
        Self { closing }
    }

    /// Keeps a mail that was handed in, with all its recipients; it is durable when this returns. A sender who has logged in is
    /// told, and others are warned, as if it had been found in the queue.
    ///
    /// # Errors
    /// The disk's; then nothing was kept.
    pub async fn keep(&self, message: NewMessage, evidence: Evidence) -> io::Result<()> {
        let (message, threat) = (Arc::new(message), evidence.threat.clone());
        let recipients: Vec<usize> = (0..message.submission.envelope.recipients.len()).collect();
        let suspect = Suspect {
            message: Arc::clone(&message),
            recipients: recipients.iter().filter_map(|index| u32::try_from(*index).ok()).collect(),
            evidence,
        };
        self.closing.rooms.quarantine.keep(suspect).await?;
        let quarantined =
            |&recipient| Attempt::local(recipient, Ok(Disposition::Quarantined { threat: threat.clone() }));
        let attempted: Vec<Attempt> = recipients.iter().map(quarantined).collect();
        // No record of a queue follows, which might tell of it again.
        infected::settled(&self.closing.rooms.quarantine, message.id, &attempted).await;
        self.closing.report(&message, &attempted);
        self.notify(&message, &recipients, &attempted).await;
        self.closing.warn_at_once(&message, &attempted).await;
        Ok(())
    }

    /// The mail is safe and the sender has heard 250: what cannot be told is not worth more than a line in the log.
    async fn notify(&self, message: &Arc<NewMessage>, pending: &[usize], attempted: &[Attempt]) {
        let facts = Facts { message, pending, attempted, unreported: &[], gone_on: &[], is_late: false };
        if told(&facts).is_empty() {
            return;
        }
        let policy = self.closing.policy.load_full();
        let age = self.closing.age_of(message);
        let made = self.closing.notify(Arc::clone(message), &facts, &policy, age).await;
        let Some((notification, told)) = made else {
            warn!(queue_id = %message.id, "the sender of an infected mail cannot be told");
            return;
        };
        let id = notification.id;
        match self.closing.rooms.queue.append(notification).await {
            Ok(_) => {
                trace::record_notification(&self.closing.rooms.events, message, id, &told);
            }
            Err(error) => {
                error!(queue_id = %message.id, %error, "the sender of an infected mail is not told");
            }
        }
    }
}

impl std::fmt::Debug for Suspects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Suspects").finish_non_exhaustive()
    }
}
