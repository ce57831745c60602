//! What is infected goes from its session straight into the quarantine: it never is in the queue, so nothing of it can be
//! delivered or replayed.

use std::io;
use std::sync::Arc;

use super::{Attempt, Closing, Disposition, infected};
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
        let item = evidence.item.clone();
        let recipients: Vec<usize> = (0..message.submission.envelope.recipients.len()).collect();
        let suspect = Suspect {
            message: Arc::clone(&message),
            recipients: recipients.iter().filter_map(|index| u32::try_from(*index).ok()).collect(),
            evidence,
            files: 1,
        };
        self.closing.rooms.quarantine.keep(suspect).await?;
        let quarantined =
            |&recipient| Attempt::local(recipient, Ok(Disposition::Quarantined { threat: threat.clone() }));
        let attempted: Vec<Attempt> = recipients.iter().map(quarantined).collect();
        // No record of a queue follows, which might tell of it again.
        infected::settled(&self.closing.rooms.quarantine, message.id, &attempted).await;
        self.closing.report(&message, &attempted);
        // The mail is safe and its sender has heard 250.
        self.closing.tell_alone(&message, &recipients, &attempted).await;
        self.closing.warn_at_once(&message, &attempted, item.as_ref()).await;
        Ok(())
    }
}

impl std::fmt::Debug for Suspects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Suspects").finish_non_exhaustive()
    }
}
