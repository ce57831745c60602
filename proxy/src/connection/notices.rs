//! What an SMTP session makes known, to the log, the metrics and the events; and what its refusals were decided on.

use gatepost_core::events::{What, evidence};
use gatepost_smtp::server::{Answer, Notice, Refusal};

use super::smtp::SmtpMachine;

// === impl SmtpMachine ===

impl SmtpMachine {
    pub(super) fn note(&mut self, notice: Notice) {
        let session = &self.peer.session;
        let metrics = &self.peer.context.metrics;
        match notice {
            Notice::Refused { rule, verb, code, evidence, limit, token } => {
                metrics.refused(rule, code);
                let evidence = match evidence.is_empty() {
                    true => self.evidence.pop_front(),
                    false => Some(evidence.to_string()),
                };
                let (limit, token) = (limit.map(|it| it.to_string()), token.map(|it| it.to_string()));
                tracing::debug!(%session, rule, verb, code, ?evidence, token, "refused");
                let (rule, verb, code) = (rule.into(), verb.into(), Some(code));
                self.peer.record(What::Refused { rule, verb, code, evidence, limit, token });
            }
            Notice::Attack { rule, verb, class, evidence } => {
                metrics.attacked(rule, verb);
                let (peer, class) = (self.peer.address, class.name());
                tracing::warn!(%session, %peer, rule, verb, class, ?evidence, "attack");
                let (rule, verb, class) = (rule.into(), verb.into(), class.into());
                self.peer.record(What::Attack { rule, verb, class, evidence: evidence.to_string() });
            }
            Notice::Quirk { quirk } => {
                metrics.tolerated(quirk);
                tracing::debug!(%session, quirk, "a deviation was tolerated");
                self.peer.record(What::Quirk { quirk: quirk.into() });
            }
            Notice::Stored { queue_id, octets, recipients } => {
                metrics.mail_accepted(octets);
                let user = self.session.identity().map(|identity| identity.user.as_str());
                let sender = self.sender.as_ref().map(ToString::to_string);
                // Both passed their grammars, which know no control characters; the log's writer quotes the rest.
                tracing::info!(%session, queue_id, user, sender, recipients, octets, "mail accepted");
                let (user, details) = (user.map(evidence), self.take_details());
                self.peer.record_mail(Some(queue_id), What::Accepted { details, octets, user });
            }
            Notice::HandedOn { octets, recipients } => {
                metrics.mail_accepted(octets);
                let user = self.session.identity().map(|identity| identity.user.as_str());
                let sender = self.sender.as_ref().map(ToString::to_string);
                let details = self.details.as_deref();
                let upstream = details.and_then(|details| details.upstream.as_deref());
                let reply = details.and_then(|details| details.reply.as_deref());
                tracing::info!(%session, user, sender, recipients, octets, upstream, reply, "mail passed through");
                let (user, details) = (user.map(evidence), self.take_details());
                self.peer.record(What::Accepted { details, octets, user });
            }
            Notice::Authenticated { user, mechanism } => {
                tracing::debug!(%session, ?user, mechanism = mechanism.name(), "authenticated");
                let user = evidence(&user);
                self.peer.record(What::Authenticated { user, mechanism: mechanism.name().into() });
            }
        }
    }

    /// The answer, and where it is a refusal what it was decided on.
    pub(super) fn judged(
        &mut self,
        result: Result<(), Refusal>,
        evidence_of: impl FnOnce() -> String,
    ) -> Answer {
        match result {
            Ok(()) => Answer::Accepted,
            Err(refusal) => {
                self.evidence.push_back(evidence(&evidence_of()));
                Answer::Refused(refusal)
            }
        }
    }
}
