//! Who hears of infected mail, and how his warning gets into the queue.

use std::slice;

use gatepost_smtp::wire::path::{ForwardPath, ReversePath};
use tracing::{error, info, warn};

use super::warning::{Occasion, Template, Warnings};
use super::{Policy, Rooms, trace};
use crate::clock::now_ms;
use crate::events::About;
use crate::queue::NewMessage;

/// A warning that is not in the queue yet.
pub(crate) struct Warned {
    pub(super) message: NewMessage,
    to: ForwardPath,
    recipients: usize,
}

// === impl Rooms ===

impl Rooms {
    /// For those of these recipients who live here and are warned.
    pub(crate) fn warn_recipients(
        &self,
        recipients: &[ForwardPath],
        policy: &Policy,
        occasion: Occasion<'_>,
    ) -> Vec<Warned> {
        let mut warned = Vec::new();
        for (template, members) in self.warned_alike(recipients, policy) {
            for to in members.chunks(RECIPIENTS_MAX) {
                warned.extend(self.warning(template, to, policy, occasion));
            }
        }
        warned
    }

    /// For the sender, where he lives here and is warned.
    pub(crate) fn warn_sender(&self, policy: &Policy, occasion: Occasion<'_>) -> Option<Warned> {
        let ReversePath::Mailbox(sender) = occasion.sender else { return None };
        let sender = ForwardPath::Mailbox(sender.clone());
        let template = self.warnings_of(&sender, policy).sender.as_ref()?;
        if !self.lives_here(&sender) {
            return None;
        }
        self.warning(template, slice::from_ref(&sender), policy, occasion)
    }

    /// Each goes into the queue by itself, or is not worth more than a line in the log.
    pub(crate) async fn warn_at_once(&self, warned: Vec<Warned>, about: &About) {
        for warned in warned {
            match self.queue.append(warned.message.clone()).await {
                Ok(_) => self.report_warnings(slice::from_ref(&warned), about),
                Err(error) => {
                    error!(queue_id = about.queue_id, %error, "nobody is warned of an infected mail");
                }
            }
        }
    }

    pub(super) fn report_warnings(&self, warned: &[Warned], about: &About) {
        for Warned { message, to, recipients } in warned {
            trace::record_warning(&self.events, about.clone(), message.id, to, *recipients);
            let (queue_id, to) = (message.id, to.to_string());
            info!(%queue_id, about = about.queue_id, to, recipients, "a warning of an infected mail goes out");
            self.warned.count();
        }
    }

    fn warnings_of<'a>(&self, path: &ForwardPath, policy: &'a Policy) -> &'a Warnings {
        &policy.treatment(self.database_of(path)).warnings
    }

    /// Those of these who live here and are warned, by what they are told.
    fn warned_alike<'a>(
        &self,
        recipients: &[ForwardPath],
        policy: &'a Policy,
    ) -> Vec<(&'a Template, Vec<ForwardPath>)> {
        let mut groups: Vec<(&Template, Vec<ForwardPath>)> = Vec::new();
        for path in recipients {
            let Some(template) = &self.warnings_of(path, policy).recipient else { continue };
            if !self.lives_here(path) {
                continue;
            }
            match groups.iter_mut().find(|(of_group, _)| *of_group == template) {
                Some((_, members)) => members.push(path.clone()),
                None => groups.push((template, vec![path.clone()])),
            }
        }
        groups
    }

    fn warning(
        &self,
        template: &Template,
        to: &[ForwardPath],
        policy: &Policy,
        occasion: Occasion<'_>,
    ) -> Option<Warned> {
        let (first, recipients, now_ms) = (to.first()?.clone(), to.len(), now_ms());
        if !self.warned.take(now_ms, policy.warnings_per_hour) {
            let queue_id = occasion.id;
            warn!(%queue_id, "nobody is warned of this mail: there were as many warnings as an hour may have");
            return None;
        }
        let id = self.queue.allocate_id();
        let mut message = template.make(id, to, &policy.hostname, now_ms, occasion);
        message.submission = self.forward(message.submission);
        Some(Warned { message, to: first, recipients })
    }
}

/// As many as a mail from outside usually has at most.
const RECIPIENTS_MAX: usize = 1000;
