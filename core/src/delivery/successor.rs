//! The mail that goes on in the place of one that was infected.

use gatepost_smtp::server::Envelope;

use crate::clock::now_ms;
use crate::intake::{Body, Forwards, Submission};
use crate::queue::{NewMessage, QueueId};
use crate::scan::rewrite::{Rewritten, Treated};

/// It, and what is told of it once it is durable.
#[derive(Debug)]
pub(super) struct Successor {
    pub(super) message: NewMessage,
    pub(super) rewriting: Rewriting,
}

/// How one mail became another.
#[derive(Debug)]
pub(super) struct Rewriting {
    pub(super) by: QueueId,
    pub(super) threat: String,
    pub(super) parts: Vec<Treated>,
}

/// As the mail that it comes from, for these of its recipients: with its sender, its parameters, its way so far, and as old as it
/// is, so that it waits no longer in all. A line in front says what was done to it, since signatures of its sender may cover
/// what has changed.
pub(super) fn make(
    message: &NewMessage,
    recipients: &[usize],
    by: QueueId,
    hostname: &str,
    body: Body,
    threat: &str,
    rewritten: Rewritten,
) -> Successor {
    let mut trace = rewritten.field(hostname, message.id, threat, now_ms()).into_bytes();
    let Rewritten { stamp, parts, .. } = rewritten;
    trace.extend_from_slice(&message.trace);
    let submission = narrowed(&message.submission, recipients);
    let message = NewMessage { id: by, submission, trace, body, stamp: Some(stamp) };
    Successor { message, rewriting: Rewriting { by, threat: threat.to_owned(), parts } }
}

/// The same submission for some of its recipients.
fn narrowed(submission: &Submission, recipients: &[usize]) -> Submission {
    let Submission { envelope, origin, forwards } = submission;
    let mut narrowed = Forwards::default();
    narrowed.set_sender(forwards.sender().cloned());
    let mut kept = Vec::with_capacity(recipients.len());
    for index in recipients {
        let Some(recipient) = envelope.recipients.get(*index) else { continue };
        if let Some(address) = forwards.of(*index) {
            narrowed.insert(kept.len(), address.clone());
        }
        kept.push(recipient.clone());
    }
    let Envelope { reverse_path, params, .. } = envelope;
    let envelope = Envelope { reverse_path: reverse_path.clone(), params: params.clone(), recipients: kept };
    Submission { envelope, origin: origin.clone(), forwards: narrowed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::testing;

    #[test]
    fn recipients_keep_the_address_that_they_stand_for() {
        let mut message = testing::message(7, &["a@x.example", "b@x.example", "c@x.example"]);
        message.submission.forwards.insert(2, "<all@localhost>".parse().unwrap());
        let narrowed = narrowed(&message.submission, &[0, 2]);
        assert_eq!(narrowed.envelope.recipients.len(), 2);
        assert_eq!(narrowed.envelope.recipients[1], message.submission.envelope.recipients[2]);
        assert_eq!(narrowed.forwards.of(1), message.submission.forwards.of(2));
        assert_eq!(narrowed.origin, message.submission.origin);
    }
}
