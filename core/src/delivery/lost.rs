//! Senders of mails whose records are damaged are told of it, where what is left of a record says who they are.
//!
//! A flipped bit may lie in the envelope as well. So a sender is believed where the event log has accepted that mail from him,
//! and those recipients are lost of whom it knows no end. A crash behind the discovery may keep him from being told: that the
//! mail is damaged is an event then, and no more.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{error, warn};

use super::closing::DAMAGED;
use super::{Attempt, Closing};
use crate::disk::IoPool;
use crate::events::{Event, What, evidence};
use crate::queue::NewMessage;

/// Tells senders, as long as the queue is open.
pub(super) struct Mourner {
    closing: Closing,
    stop: watch::Receiver<bool>,
    /// Reads the event log.
    reader: IoPool,
}

// === impl Mourner ===

impl Mourner {
    /// # Errors
    /// The operating system refuses a thread.
    pub(super) fn start(closing: Closing, stop: watch::Receiver<bool>) -> io::Result<Self> {
        Ok(Self { closing, stop, reader: IoPool::start("gatepost-lost", 1)? })
    }

    pub(super) async fn run(mut self) {
        loop {
            let lost = tokio::select! {
                biased;
                // An error means that whoever could stop us has gone: the queue's end is ours then.
                Ok(_) = self.stop.wait_for(|stop| *stop) => return,
                lost = self.closing.rooms.queue.lost(LOST_AT_ONCE) => lost,
            };
            let Some(lost) = lost else { return };
            if let Err(error) = self.tell(lost).await {
                error!(%error, "the event log cannot be read, so nobody is told of mails that are lost");
            }
        }
    }

    async fn tell(&self, lost: Vec<NewMessage>) -> io::Result<()> {
        let Some(history) = self.closing.rooms.events.history() else { return Ok(()) };
        let ids: BTreeSet<String> = lost.iter().map(|message| message.id.to_string()).collect();
        // What came in a moment ago is to be found as well.
        self.closing.rooms.events.flush().await;
        let found = self.reader.run(move || history.of_mails(&ids)).await??;
        let known = known_of(&found.events);
        for message in lost {
            let pending =
                known.get(message.id.to_string().as_str()).and_then(|known| known.pending(&message));
            match pending {
                Some(pending) if pending.is_empty() => {}
                Some(pending) => self.give_up(message, &pending).await,
                None => {
                    warn!(queue_id = %message.id, "nobody can be told of a damaged mail: the event log does not know it");
                }
            }
        }
        Ok(())
    }

    async fn give_up(&self, message: NewMessage, pending: &[usize]) {
        let message = Arc::new(message);
        let attempted = Attempt::given_up(pending, DAMAGED);
        self.closing.report(&message, &attempted);
        self.closing.tell_alone(&message, pending, &attempted).await;
    }
}

/// What the event log knows of a mail.
#[derive(Debug, Default)]
struct Known<'e> {
    sender: Option<&'e str>,
    ended: BTreeSet<&'e str>,
}

// === impl Known ===

impl Known<'_> {
    /// Those recipients of a mail of which nobody knows an end; `None` where this is another sender's mail.
    fn pending(&self, message: &NewMessage) -> Option<Vec<usize>> {
        let envelope = &message.submission.envelope;
        if self.sender != Some(evidence(&envelope.reverse_path.to_string()).as_str()) {
            return None;
        }
        let addresses = envelope.recipients.iter().map(|recipient| evidence(&recipient.path.to_string()));
        let without_end = addresses.enumerate().filter(|(_, address)| !self.ended.contains(address.as_str()));
        Some(without_end.map(|(recipient, _)| recipient).collect())
    }
}

fn known_of(events: &[Event]) -> HashMap<&str, Known<'_>> {
    let mut known: HashMap<&str, Known<'_>> = HashMap::new();
    for event in events {
        let Some(id) = event.about.queue_id.as_deref() else { continue };
        let known = known.entry(id).or_default();
        if let What::Accepted { details, .. } = &event.what {
            known.sender = Some(&details.sender);
        }
        known.ended.extend(event.what.end_of().map(|(recipient, _)| recipient.as_str()));
    }
    known
}

/// The whole event log is read for so many at a time, and their bodies are in memory.
const LOST_AT_ONCE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::testing::message;
    use crate::events::{About, Details};

    fn event(id: u64, what: What) -> Event {
        Event::now(About { queue_id: Some(crate::queue::QueueId(id).to_string()), ..About::default() }, what)
    }

    fn accepted(sender: &str) -> What {
        let details = Details { sender: sender.to_owned(), recipients: 3, ..Details::default() };
        What::Accepted { details, octets: 1, user: None }
    }

    #[test]
    fn a_sender_is_believed_where_the_event_log_has_his_mail_and_recipients_are_lost_that_have_no_end() {
        let lost = message(7, &["a@x.example", "b@y.example", "c@z.example"]);
        let sender = lost.submission.envelope.reverse_path.to_string();
        let delivered = What::Delivered { recipient: "<b@y.example>".to_owned() };
        let deferred = What::Deferred { recipient: "<c@z.example>".to_owned(), reason: "4.2.0 x".to_owned() };
        let events = [
            event(7, accepted(&sender)),
            event(7, delivered),
            event(7, deferred),
            event(8, accepted(&sender)),
        ];
        let known = known_of(&events);
        let id = lost.id.to_string();
        assert_eq!(known[id.as_str()].pending(&lost), Some(vec![0, 2]));
        let forged = [event(7, accepted("<somebody@else.example>"))];
        assert_eq!(known_of(&forged)[id.as_str()].pending(&lost), None);
        assert_eq!(known_of(&events[1..3])[id.as_str()].pending(&lost), None, "its beginning is not known");
    }
}
