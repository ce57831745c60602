//! Whom an attempt has warned.

use gatepost_smtp::wire::params::Notify;
use gatepost_smtp::wire::path::ReversePath;

use super::{Closing, Policy};
use crate::delivery::clearance::about;
use crate::delivery::warner::Warned;
use crate::delivery::warning::{Fate, Occasion};
use crate::delivery::{Attempt, Disposition};
use crate::queue::NewMessage;
use crate::scan::ItemName;

/// What was found besides what the attempts say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found<'a> {
    /// In which item, where that is known.
    pub(super) item: Option<&'a ItemName>,
    /// In the mail that another one takes the place of.
    pub(super) rewritten: Option<&'a str>,
}

// === impl Closing ===

impl Closing {
    /// The warnings that are due for this attempt; none about mail that has no sender, which is what warnings are.
    pub(super) fn warn(
        &self,
        message: &NewMessage,
        attempted: &[Attempt],
        found: Found<'_>,
        policy: &Policy,
    ) -> Vec<Warned> {
        let submission = &message.submission;
        if submission.envelope.reverse_path == ReversePath::Null {
            return Vec::new();
        }
        let occasion = |threat, fate| Occasion {
            sender: &submission.envelope.reverse_path,
            received_at_ms: submission.origin.received_at_ms,
            id: message.id,
            session: &submission.origin.session,
            threat,
            item: found.item,
            fate,
        };
        let mut warned = Vec::new();
        for fate in [Fate::Quarantined, Fate::Deleted] {
            let met = attempted.iter().filter_map(|attempt| {
                let recipient = submission.envelope.recipients.get(attempt.recipient)?;
                threat(attempt, fate).map(|threat| (recipient.path.clone(), threat))
            });
            let (recipients, threats): (Vec<_>, Vec<&str>) = met.unzip();
            let Some(threat) = threats.first() else { continue };
            warned.extend(self.rooms.warn_recipients(&recipients, policy, occasion(threat, fate)));
            // Who has logged in gets a notification, if he wants one.
            if submission.origin.user.is_none() && !is_deaf(message) {
                warned.extend(self.rooms.warn_sender(policy, occasion(threat, fate)));
            }
        }
        if let Some(threat) = found.rewritten.filter(|_| !is_deaf(message)) {
            warned.extend(self.rooms.warn_sender(policy, occasion(threat, Fate::Rewritten)));
        }
        warned
    }

    /// The same where no attempt's record follows.
    pub(in crate::delivery) async fn warn_at_once(
        &self,
        message: &NewMessage,
        attempted: &[Attempt],
        item: Option<&ItemName>,
    ) {
        let found = Found { item, rewritten: None };
        let warned = self.warn(message, attempted, found, &self.policy.load_full());
        self.rooms.warn_at_once(warned, &about(message)).await;
    }
}

/// Whether the sender has said that he wants to hear nothing.
fn is_deaf(message: &NewMessage) -> bool {
    let recipients = &message.submission.envelope.recipients;
    recipients.iter().all(|recipient| recipient.params.notify == Some(Notify::Never))
}

/// What was found, if this is what has become of the recipient's mail.
fn threat(attempt: &Attempt, fate: Fate) -> Option<&str> {
    match (&attempt.result, fate) {
        (Ok(Disposition::Quarantined { threat }), Fate::Quarantined)
        | (Ok(Disposition::DeletedByPolicy { threat }), Fate::Deleted) => Some(threat),
        _ => None,
    }
}
