//! Whom an attempt has warned.

use std::slice;

use gatepost_smtp::wire::params::Notify;
use gatepost_smtp::wire::path::{ForwardPath, ReversePath};

use super::{Closing, Policy};
use crate::clock::now_ms;
use crate::delivery::warning::{Fate, Occasion, Template, Warnings};
use crate::delivery::{Attempt, Disposition, trace};
use crate::queue::NewMessage;

/// A warning that becomes durable with the attempt's record.
pub(super) struct Warned {
    pub(super) message: NewMessage,
    to: ForwardPath,
    recipients: usize,
}

// === impl Closing ===

impl Closing {
    /// The warnings that are due for this attempt; none about mail that has no sender, which is what warnings are. `rewritten`: what
    /// was found in the mail that another one takes the place of.
    pub(super) fn warn(
        &self,
        message: &NewMessage,
        attempted: &[Attempt],
        rewritten: Option<&str>,
        policy: &Policy,
        now_ms: u64,
    ) -> Vec<Warned> {
        let ReversePath::Mailbox(sender) = &message.submission.envelope.reverse_path else {
            return Vec::new();
        };
        let sender = ForwardPath::Mailbox(sender.clone());
        let for_sender = self.warnings_of(&sender, policy).sender.as_ref();
        let mut warned = Vec::new();
        for fate in [Fate::Quarantined, Fate::Deleted] {
            let met = attempted
                .iter()
                .filter_map(|attempt| threat(attempt, fate).map(|it| (attempt.recipient, it)));
            let (recipients, threats): (Vec<usize>, Vec<&str>) = met.unzip();
            let Some(threat) = threats.first() else { continue };
            let occasion = Occasion { message, threat, fate };
            for (template, here) in self.warned_alike(message, &recipients, policy) {
                warned.extend(self.make(template, here, policy, now_ms, occasion));
            }
            // Who has logged in gets a notification, if he wants one.
            if let (Some(template), None) = (for_sender, &message.submission.origin.user) {
                warned.extend(self.make(
                    template,
                    self.of_sender(message, &sender),
                    policy,
                    now_ms,
                    occasion,
                ));
            }
        }
        if let (Some(template), Some(threat)) = (for_sender, rewritten) {
            let occasion = Occasion { message, threat, fate: Fate::Rewritten };
            warned.extend(self.make(template, self.of_sender(message, &sender), policy, now_ms, occasion));
        }
        warned
    }

    /// The same where no attempt's record follows: each warning goes into the queue by itself, or is not worth more than a line in
    /// the log.
    pub(in crate::delivery) async fn warn_at_once(&self, message: &NewMessage, attempted: &[Attempt]) {
        let policy = self.policy.load_full();
        for warned in self.warn(message, attempted, None, &policy, now_ms()) {
            match self.rooms.queue.append(warned.message.clone()).await {
                Ok(_) => self.report_warnings(message, slice::from_ref(&warned)),
                Err(error) => {
                    tracing::error!(queue_id = %message.id, %error, "nobody is warned of an infected mail");
                }
            }
        }
    }

    pub(super) fn report_warnings(&self, message: &NewMessage, warned: &[Warned]) {
        for Warned { message: warning, to, recipients } in warned {
            trace::record_warning(&self.rooms.events, message, warning.id, to, *recipients);
            if let Some(metrics) = &self.metrics {
                metrics.warnings.inc();
            }
        }
    }

    fn warnings_of<'a>(&self, path: &ForwardPath, policy: &'a Policy) -> &'a Warnings {
        &policy.treatment(self.rooms.database_of(path)).warnings
    }

    /// Those of these recipients who live here and are warned, by what they are told.
    fn warned_alike<'a>(
        &self,
        message: &NewMessage,
        recipients: &[usize],
        policy: &'a Policy,
    ) -> Vec<(&'a Template, Vec<ForwardPath>)> {
        let mut groups: Vec<(&Template, Vec<ForwardPath>)> = Vec::new();
        for index in recipients {
            let Some(recipient) = message.submission.envelope.recipients.get(*index) else { continue };
            let path = &recipient.path;
            let Some(template) = &self.warnings_of(path, policy).recipient else { continue };
            if !self.rooms.lives_here(path) {
                continue;
            }
            match groups.iter_mut().find(|(of_group, _)| *of_group == template) {
                Some((_, members)) => members.push(path.clone()),
                None => groups.push((template, vec![path.clone()])),
            }
        }
        groups
    }

    /// The sender, where he lives here and has not said that he wants to hear nothing.
    fn of_sender(&self, message: &NewMessage, sender: &ForwardPath) -> Vec<ForwardPath> {
        let recipients = &message.submission.envelope.recipients;
        let is_deaf = recipients.iter().all(|recipient| recipient.params.notify == Some(Notify::Never));
        if is_deaf || !self.rooms.lives_here(sender) { Vec::new() } else { vec![sender.clone()] }
    }

    fn make(
        &self,
        template: &Template,
        to: Vec<ForwardPath>,
        policy: &Policy,
        now_ms: u64,
        occasion: Occasion<'_>,
    ) -> Option<Warned> {
        let (first, recipients) = (to.first()?.clone(), to.len());
        if !self.warned.take(now_ms, policy.warnings_per_hour) {
            let queue_id = occasion.message.id;
            tracing::warn!(%queue_id, "nobody is warned of this mail: there were as many warnings as an hour may have");
            return None;
        }
        let id = self.rooms.queue.allocate_id();
        let mut message = template.make(id, to, &policy.hostname, now_ms, occasion);
        message.submission = self.rooms.forward(message.submission);
        Some(Warned { message, to: first, recipients })
    }
}

/// What was found, if this is what has become of the recipient's mail.
fn threat(attempt: &Attempt, fate: Fate) -> Option<&str> {
    match (&attempt.result, fate) {
        (Ok(Disposition::Quarantined { threat }), Fate::Quarantined)
        | (Ok(Disposition::DeletedByPolicy { threat }), Fate::Deleted) => Some(threat),
        _ => None,
    }
}
