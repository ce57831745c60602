//! Which recipients of a mail may be tried now, and until when the others wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gatepost_smtp::wire::path::ForwardPath;
use tokio::sync::OwnedSemaphorePermit;

use super::super::retry::Setback;
use super::super::route::{Destination, Way};
use super::super::{Attempt, Disposition};
use super::destinations::{Denied, Ticket};
use super::throttle::NotYet;
use super::{Kept, Remote, lock};
use crate::queue::NewMessage;

/// What became of the wish to send a mail on.
pub(in crate::delivery) enum Admission {
    /// Its groups may go. Dropped, nothing happened.
    Admitted(Admitted),
    /// It goes back to the queue untouched.
    NotYet {
        /// For how long.
        pause: Duration,
        /// Why, where there is more to say than that others have come before.
        reason: Option<String>,
    },
}

/// Why recipients may not be tried now.
enum Refusal {
    /// Their destination is left alone.
    PutOff(Setback),
    /// It is not their turn.
    NotYet(NotYet),
}

/// A mail that may be in delivery.
pub(in crate::delivery) struct Admitted {
    pub(super) groups: Vec<(Ticket<Kept>, Destination, Vec<usize>)>,
    /// Recipients whose attempt is over before it began.
    pub(in crate::delivery) attempted: Vec<Attempt>,
    pub(super) slot: OwnedSemaphorePermit,
}

// === impl Remote ===

impl Remote {
    /// Asks for room for these recipients. Those of a destination that is put off, and those who have none, are done with; so
    /// are, where others may go, those whose turn has not come.
    pub(in crate::delivery) fn admit(&self, message: &NewMessage, recipients: &[usize]) -> Admission {
        let Ok(slot) = Arc::clone(&self.inner.slots).try_acquire_owned() else { return crowded() };
        let mut attempted = lock(&self.inner.unsettled).get(&message.id).cloned().unwrap_or_default();
        attempted.retain(|attempt| recipients.contains(&attempt.recipient));
        let is_open = |recipient: &&usize| !attempted.iter().any(|attempt| attempt.recipient == **recipient);
        let open: Vec<usize> = recipients.iter().filter(is_open).copied().collect();
        if self.inner.settings.load().paused {
            attempted.extend(Attempt::put_off(&open, &paused()));
            return Admission::Admitted(Admitted { groups: Vec::new(), attempted, slot });
        }
        let (mut groups, mut waiting) = (Vec::new(), Vec::new());
        for ((way, _), recipients) in self.by_way(message, &open) {
            let Some(way) = way else {
                attempted.extend(recipients.iter().map(|recipient| nowhere(*recipient)));
                continue;
            };
            match self.ask(&way) {
                Ok(ticket) => groups.push((ticket, way.destination, recipients)),
                Err(Refusal::PutOff(setback)) => attempted.extend(Attempt::put_off(&recipients, &setback)),
                Err(Refusal::NotYet(not_yet)) => waiting.push((recipients, not_yet)),
            }
        }
        // Where nobody has anything to do, a record would be written for nothing.
        let first =
            waiting.iter().map(|(_, not_yet): &(_, NotYet)| not_yet).min_by_key(|not_yet| not_yet.pause);
        if let (true, Some(first)) = (groups.is_empty() && attempted.is_empty(), first) {
            return Admission::NotYet { pause: first.pause, reason: Some(first.reason.clone()) };
        }
        for (recipients, not_yet) in waiting {
            attempted.extend(Attempt::put_off(&recipients, &not_yet.into()));
        }
        Admission::Admitted(Admitted { groups, attempted, slot })
    }

    fn ask(&self, way: &Way) -> Result<Ticket<Kept>, Refusal> {
        let settings = self.inner.settings.load();
        let destination = &way.destination;
        let connections = way.limits.connections.unwrap_or(settings.connections);
        let ticket =
            self.inner.destinations.enter(destination, connections).map_err(|denied| match denied {
                Denied::PutOff(put_off) => Refusal::PutOff(put_off.setback(destination)),
                Denied::Crowded => {
                    let reason = format!("4.4.5 waits for other mail to {destination}");
                    Refusal::NotYet(NotYet { pause: crowded_pause(), reason })
                }
            })?;
        self.inner.throttle.ask(way, settings.rate).map_err(|not_yet| {
            self.inner.tools.metrics.count_throttled();
            Refusal::NotYet(not_yet)
        })?;
        Ok(ticket)
    }

    /// Recipients that share a way and the address of ours that they stand for, together: where the mail has been is written
    /// before it. `None` for those who have no destination, or stand for nobody.
    pub(super) fn by_way<'a>(
        &self,
        message: &'a NewMessage,
        recipients: &[usize],
    ) -> HashMap<(Option<Way>, Option<&'a ForwardPath>), Vec<usize>> {
        let settings = self.inner.settings.load();
        let mut groups: HashMap<_, Vec<usize>> = HashMap::new();
        for &index in recipients {
            let recipient = message.submission.envelope.recipients.get(index);
            let way = recipient.and_then(|recipient| settings.routes.way(&recipient.path));
            let alias = message.submission.forwards.of(index);
            groups.entry((way, alias)).or_default().push(index);
        }
        groups
    }
}

impl From<NotYet> for Setback {
    fn from(NotYet { pause, reason }: NotYet) -> Self {
        Self::KeptBack { reason, pause }
    }
}

/// What recipients elsewhere wait for whose mail has others here, and so is not left in the queue as a whole.
fn paused() -> Setback {
    let reason = "4.3.2 mail to other servers is paused by the administrator".to_owned();
    Setback::KeptBack { reason, pause: PAUSED_LOOK }
}

fn crowded() -> Admission {
    Admission::NotYet { pause: crowded_pause(), reason: None }
}

/// Mails that found no room together do not come back together.
fn crowded_pause() -> Duration {
    let spread_ms = u64::from(getrandom::u32().unwrap_or(0)) % CROWDED_SPREAD_MS;
    CROWDED_PAUSE_MIN.saturating_add(Duration::from_millis(spread_ms))
}

/// The domain of the address is none that the DNS can have.
fn nowhere(recipient: usize) -> Attempt {
    let reason = "5.1.2 the domain of this address is no name of the DNS".to_owned();
    Attempt::local(recipient, Ok(Disposition::Bounced { reason }))
}

/// How soon a mail comes again that finds too much other mail on its way.
const CROWDED_PAUSE_MIN: Duration = Duration::from_secs(1);
const CROWDED_SPREAD_MS: u64 = 9_000;
/// How soon such a mail is looked at again: each look is a record in the queue.
const PAUSED_LOOK: Duration = Duration::from_secs(300);
