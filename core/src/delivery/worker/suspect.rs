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
    /// Rewritten, into the quarantine or away, as the policy has it; away, and rewritten, only what is infected.
    pub(super) async fn put_away(&self, claim: &Claim, is_infected: bool, evidence: Evidence) -> Progress {
        let (session, threat) = (claim.message.submission.origin.session.as_str(), evidence.threat.clone());
        warn!(queue_id = %claim.id, session, threat, "the scan found in the queue what must not be delivered");
        let action = self.closing.policy().infected;
        if let (true, InfectedAction::Rewrite(rewriting)) = (is_infected, action) {
            match self.replace(claim, rewriting, &evidence).await {
                Ok(progress) => return progress,
                Err(why) => info!(queue_id = %claim.id, session, %why, "an infected mail is not rewritten"),
            }
        }
        if is_infected && action.disposal() == Disposal::Delete {
            return self.end(claim, &Disposition::DeletedByPolicy { threat }).await.into();
        }
        let ended = self.end(claim, &Disposition::Quarantined { threat }).await;
        infected::keep(&self.rooms.quarantine, &claim.message, evidence, ended).await.into()
    }

    /// Another mail in its place, for those who wait. Nothing of it is remembered outside the queue: where its record gets
    /// lost, this attempt has not been, and the next one asks the scanner anew.
    ///
    /// # Errors
    /// Why it cannot be rewritten. What only has no time now is put off once.
    async fn replace(
        &self,
        claim: &Claim,
        rewriting: Rewriting,
        evidence: &Evidence,
    ) -> Result<Progress, NotRewritten> {
        let mut waiting = claim.pending.clone();
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
                Ok(Progress { attempted, successor: Some(successor), ..Progress::default() })
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
            let suspect = Suspect { message: Arc::clone(message), recipients, evidence: evidence.clone() };
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
