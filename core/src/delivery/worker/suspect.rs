//! What becomes of a mail in which something was found.

use std::mem;
use std::sync::Arc;

use tracing::{info, warn};

use super::{Progress, Worker};
use crate::clock::now_ms;
use crate::delivery::retry::Setback;
use crate::delivery::successor::{self, Successor};
use crate::delivery::{Attempt, Disposition, infected};
use crate::quarantine::{Evidence, Suspect};
use crate::queue::Claim;
use crate::scan::rewrite::{NotRewritten, Notice, Rewritten, Task};
use crate::scan::{Disposal, InfectedAction, Rewriting};

// === impl Worker ===

impl Worker {
    /// Rewritten, into the quarantine or away, as the policy has it where each recipient lives; away, and rewritten, only what is
    /// infected.
    pub(super) async fn put_away(&self, claim: &Claim, is_infected: bool, evidence: Evidence) -> Progress {
        let (session, threat) = (claim.message.submission.origin.session.as_str(), evidence.threat.clone());
        warn!(queue_id = %claim.id, session, threat, "the scan found in the queue what must not be delivered");
        let policy = self.closing.policy();
        let action = |recipient| {
            if !is_infected {
                return InfectedAction::Quarantine;
            }
            policy.treatment(self.database_of(claim, recipient)).infected
        };
        let mut progress = Progress { culprit: evidence.item.clone(), ..Progress::default() };
        for (action, recipients) in treated_alike(&claim.pending, action) {
            let Progress { attempted, successors, .. } =
                self.treat(claim, &recipients, action, &evidence).await;
            progress.attempted.extend(attempted);
            progress.successors.extend(successors);
        }
        progress
    }

    fn database_of(&self, claim: &Claim, recipient: usize) -> Option<&str> {
        self.rooms.database_of(&claim.message.submission.envelope.recipients.get(recipient)?.path)
    }

    async fn treat(
        &self,
        claim: &Claim,
        recipients: &[usize],
        action: InfectedAction,
        evidence: &Evidence,
    ) -> Progress {
        let threat = evidence.threat.clone();
        if let InfectedAction::Rewrite(rewriting) = action {
            match self.replace(claim, recipients, rewriting, evidence).await {
                Ok(progress) => return progress,
                Err(why) => {
                    let session = claim.message.submission.origin.session.as_str();
                    info!(queue_id = %claim.id, session, %why, "an infected mail is not rewritten");
                }
            }
        }
        if action.disposal() == Disposal::Delete {
            return self.end(claim, recipients, &Disposition::DeletedByPolicy { threat }).await.into();
        }
        let ended = self.end(claim, recipients, &Disposition::Quarantined { threat }).await;
        infected::keep(&self.rooms.quarantine, &claim.message, evidence.clone(), ended).await.into()
    }

    /// Another mail in its place, for those of these who wait. Nothing of it is remembered outside the queue: where its record gets
    /// lost, this attempt has not been, and the next one asks the scanner anew.
    ///
    /// # Errors
    /// Why it cannot be rewritten. What only has no time now is put off once.
    async fn replace(
        &self,
        claim: &Claim,
        recipients: &[usize],
        rewriting: Rewriting,
        evidence: &Evidence,
    ) -> Result<Progress, NotRewritten> {
        let mut waiting = recipients.to_vec();
        let mut attempted = self.take_out_ended(claim, &mut waiting).await;
        if waiting.is_empty() {
            return Ok(attempted.into());
        }
        let policy = self.closing.policy();
        let task = Task {
            body: claim.message.body.clone(),
            cleans: rewriting.cleans,
            notice: Notice {
                hostname: policy.hostname.clone(),
                reference: claim.id.to_string(),
                at_ms: now_ms(),
                is_kept: rewriting.keeps_original,
            },
            time: self.scan_deadline,
        };
        let rewritten = match self.rooms.rewriter.rewrite(task).await {
            Ok(rewritten) => rewritten,
            Err(NotRewritten::NotNow) if claim.attempts == 0 => {
                attempted.extend(Attempt::put_off(&waiting, &Setback::Rewriting));
                return Ok(attempted.into());
            }
            Err(why) => return Err(why),
        };
        match self.succeed(claim, rewriting, evidence, &waiting, rewritten).await {
            Ok(successor) => {
                attempted.extend(Attempt::replaced(&waiting, successor.message.id));
                Ok(Progress { attempted, successors: vec![successor], ..Progress::default() })
            }
            Err(setback) => {
                attempted.extend(Attempt::put_off(&mem::take(&mut waiting), &setback));
                Ok(attempted.into())
            }
        }
    }

    /// The mail as it was goes into the quarantine first: where that fails, it stays in the queue.
    async fn succeed(
        &self,
        claim: &Claim,
        rewriting: Rewriting,
        evidence: &Evidence,
        waiting: &[usize],
        rewritten: Rewritten,
    ) -> Result<Successor, Setback> {
        let (rooms, message) = (&self.rooms, &claim.message);
        let body = rooms.rewriter.body(&rewritten, rooms.queue.spool()).await.map_err(|error| {
            warn!(queue_id = %claim.id, %error, "a rewritten mail could not be kept");
            Setback::Rewriting
        })?;
        if rewriting.keeps_original {
            let recipients = waiting.iter().filter_map(|index| u32::try_from(*index).ok()).collect();
            let (message, evidence) = (Arc::clone(message), evidence.clone());
            let suspect = Suspect { message, recipients, evidence, files: rewritten.parts.len() };
            rooms.quarantine.keep(suspect).await.map_err(|error| {
                warn!(queue_id = %claim.id, %error, "an infected mail could not be put into quarantine");
                Setback::Quarantine
            })?;
        }
        let hostname = &self.closing.policy().hostname;
        let by = rooms.queue.allocate_id();
        Ok(successor::make(message, waiting, by, hostname, body, &evidence.threat, rewritten))
    }
}

/// The recipients by what is done for them, in the order in which they come.
fn treated_alike(
    recipients: &[usize],
    action: impl Fn(usize) -> InfectedAction,
) -> Vec<(InfectedAction, Vec<usize>)> {
    let mut groups: Vec<(InfectedAction, Vec<usize>)> = Vec::new();
    for &recipient in recipients {
        let action = action(recipient);
        match groups.iter_mut().find(|(of_group, _)| *of_group == action) {
            Some((_, members)) => members.push(recipient),
            None => groups.push((action, vec![recipient])),
        }
    }
    groups
}
