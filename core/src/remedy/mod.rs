//! What is done about a virus in a message that lies in mailboxes already: nothing, so that its mark keeps it from readers; or it
//! is rewritten, put into quarantine, or deleted, for everybody who has it.
//!
//! ```text
//! background, gate -> findings (told) -> remedy: rewriter -> quarantine -> store.replace -> told, people warned
//! ```
//! The store's transaction is the end of the message as it was. What has to be kept of it is kept before: a crash in between
//! costs a second copy in quarantine, and nobody reads the message meanwhile.

mod envelope;
mod metrics;
mod warn;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use crate::clock::now_ms;
use crate::delivery::{self, Fate};
use crate::events::{About, What, evidence, subject_of};
use crate::findings::{FoundBy, details_of};
use crate::intake::Body;
use crate::quarantine::{Evidence, Suspect};
use crate::queue::QueueId;
use crate::scan::rewrite::{NotRewritten, Notice, Rewritten, Task};
use crate::scan::{Disposal, InfectedAction, Priority, Verdict};
use crate::store::{ContentHash, Copied, Replaced, Replacement, SqliteStore, StoreError};
pub use metrics::Metrics;

/// Acts on what is found in one database. Clones act together.
#[derive(Debug, Clone)]
pub struct Remedy {
    rooms: Arc<Rooms>,
    policy: Arc<ArcSwap<Policy>>,
    /// One body at a time: those who meet the same one wait, and find that it has gone.
    turn: Arc<Mutex<()>>,
}

/// What a remedy works with.
pub struct Rooms {
    /// The mailbox database, by its name in the configuration.
    pub database: String,
    /// Where the messages lie.
    pub store: Arc<SqliteStore>,
    /// The rooms that their mails came through, and that people are warned by.
    pub delivery: delivery::Rooms,
    /// Counts.
    pub metrics: Option<Metrics>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// `None`: nothing, readers do not get the message.
    pub action: Option<InfectedAction>,
    /// Our name in notices, and who is warned.
    pub delivery: Arc<delivery::Policy>,
}

/// What is left of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedied {
    /// It has this uid in its folder now.
    Rewritten(u32),
    /// Nothing.
    Gone,
}

/// How a body is to end.
#[derive(Debug)]
struct Decision {
    /// `rewritten`, `quarantined` or `deleted`.
    name: &'static str,
    fate: Fate,
    keeps: bool,
    rewritten: Option<Rewritten>,
}

// === impl Remedy ===

impl Remedy {
    /// With these rooms; the policy may change.
    #[must_use]
    pub fn new(rooms: Rooms, policy: Policy) -> Self {
        let policy = Arc::new(ArcSwap::from_pointee(policy));
        Self { rooms: Arc::new(rooms), policy, turn: Arc::default() }
    }

    /// Takes a new policy on; it holds for what is found from now on.
    pub fn reload(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }

    /// Acts on every message with this body, and tells what has become of the one in this mailbox. `None` where the policy leaves
    /// messages where they are, or it could not be done now: the mark keeps it from readers.
    pub async fn act(
        &self,
        content: ContentHash,
        threat: &str,
        found_by: FoundBy,
        of: Option<(&str, u32)>,
    ) -> Option<Remedied> {
        let policy = self.policy.load_full();
        let action = policy.action?;
        let _turn = match found_by {
            FoundBy::Background | FoundBy::Proactive => self.turn.lock().await,
            // A reader does not wait for others: who holds this does the same.
            FoundBy::Access => self.turn.try_lock().ok()?,
        };
        let done = self.try_act(content, threat, found_by, action, &policy.delivery).await;
        let replaced = done.unwrap_or_else(|error| {
            tracing::warn!(%content, threat, %error, "nothing could be done about an infected message now");
            None
        })?;
        let (mailbox, uid) = of?;
        let is_it = |one: &&Replaced| one.copy.uid == uid && one.copy.mailbox.eq_ignore_ascii_case(mailbox);
        let now = replaced.iter().find(is_it).and_then(|one| one.uid);
        Some(now.map_or(Remedied::Gone, Remedied::Rewritten))
    }

    async fn try_act(
        &self,
        content: ContentHash,
        threat: &str,
        found_by: FoundBy,
        action: InfectedAction,
        policy: &delivery::Policy,
    ) -> Result<Option<Vec<Replaced>>, Failure> {
        let (rooms, hostname) = (&*self.rooms, policy.hostname.as_str());
        let copies = rooms.store.copies(content, usize::MAX).await?;
        let Some(body) = rooms.store.bodies(vec![content]).await?.pop().flatten() else {
            return Ok(Some(Vec::new()));
        };
        let details = details_of(&copies, subject_of(&body).as_deref());
        let body = Body::Memory(body);
        let found = self.evidence(&body, threat).await;
        let reference = rooms.delivery.queue.allocate_id();
        let decision = self.decide(&body, action, hostname, reference).await?;
        let mut kept = BTreeMap::new();
        if decision.keeps {
            let files = decision.rewritten.as_ref().map_or(1, |rewritten| rewritten.parts.len());
            kept = self.keep(&copies, &body, (&found, files), hostname, reference).await?;
        }
        let replacement = decision.rewritten.as_ref().map(|rewritten| Replacement {
            body: Body::Memory(rewritten.octets.clone()),
            stamp: rewritten.stamp.clone(),
            field: rewritten.field(hostname, reference, threat, now_ms()).into(),
        });
        let replaced = rooms.store.replace(content, replacement).await?;
        for id in kept.values() {
            if let Err(error) = rooms.delivery.quarantine.settled(*id).await {
                tracing::debug!(queue_id = %id, %error, "the quarantine learns at the next start");
            }
        }
        if let Some(rewritten) = &decision.rewritten {
            rooms.delivery.rewriter.count(&rewritten.parts);
        }
        if let Some(metrics) = &rooms.metrics {
            metrics.count(decision.name, replaced.len());
        }
        for one in &replaced {
            let kept_as = kept.get(&one.copy.queue_id);
            let details = details.get(&one.copy.queue_id).cloned().unwrap_or_default();
            let what = What::Remedied {
                database: rooms.database.clone(),
                mailbox: evidence(&one.copy.mailbox),
                folder: one.copy.folder.clone(),
                uid: one.copy.uid,
                content: content.to_string(),
                threat: threat.to_owned(),
                found_by: found_by.name().into(),
                action: decision.name.into(),
                new_uid: one.uid,
                kept_as: kept_as.map(ToString::to_string),
                details,
            };
            self.tell(one, threat, decision.name, what);
        }
        warn::warn(&rooms.delivery, policy, &replaced, &kept, &found, decision.fate).await;
        Ok(Some(replaced))
    }

    /// In which item it was found. Who has just found it has left that with the scanner; otherwise it is scanned once more.
    async fn evidence(&self, body: &Body, threat: &str) -> Evidence {
        let scanner = &self.rooms.delivery.scanner;
        let report = scanner.scan(body.clone(), Priority::High, LOOK_TIME_MAX).await;
        let is_same = matches!(&report.verdict, Verdict::Infected { threat: found } if found == threat);
        let (item, stamp) = if is_same { (report.culprit, Some(report.stamp)) } else { (None, None) };
        Evidence { threat: threat.to_owned(), item, stamp }
    }

    /// As in the queue: what cannot be rewritten ends as the policy has it.
    async fn decide(
        &self,
        body: &Body,
        action: InfectedAction,
        hostname: &str,
        reference: QueueId,
    ) -> Result<Decision, Failure> {
        if let InfectedAction::Rewrite(rewriting) = action {
            let notice = Notice {
                hostname: hostname.to_owned(),
                reference: reference.to_string(),
                at_ms: now_ms(),
                is_kept: rewriting.keeps_original,
            };
            let task =
                Task { body: body.clone(), cleans: rewriting.cleans, notice, time: REWRITING_TIME_MAX };
            match self.rooms.delivery.rewriter.rewrite(task).await {
                Ok(rewritten) => {
                    let rewritten = Some(rewritten);
                    let (name, keeps) = ("rewritten", rewriting.keeps_original);
                    return Ok(Decision { name, fate: Fate::RewrittenInMailbox, keeps, rewritten });
                }
                Err(NotRewritten::NotNow) => return Err(Failure::NotNow),
                Err(NotRewritten::Impossible(why)) => {
                    tracing::info!(%why, "an infected message in a mailbox is not rewritten");
                }
            }
        }
        Ok(match action.disposal() {
            Disposal::Quarantine => {
                Decision { name: "quarantined", fate: Fate::TakenOutOfMailbox, keeps: true, rewritten: None }
            }
            Disposal::Delete => {
                Decision { name: "deleted", fate: Fate::DeletedFromMailbox, keeps: false, rewritten: None }
            }
        })
    }

    /// One mail in quarantine for each that the copies have come as. Answers their names there by the ids that they came with.
    async fn keep(
        &self,
        copies: &[Copied],
        body: &Body,
        (evidence, files): (&Evidence, usize),
        hostname: &str,
        reference: QueueId,
    ) -> Result<BTreeMap<QueueId, QueueId>, Failure> {
        let mut mails: BTreeMap<QueueId, Vec<&Copied>> = BTreeMap::new();
        for copy in copies {
            mails.entry(copy.queue_id).or_default().push(copy);
        }
        let (mut kept, mut free) = (BTreeMap::new(), Some(reference));
        for (came_as, copies) in mails {
            let id = free.take().unwrap_or_else(|| self.rooms.delivery.queue.allocate_id());
            let Some(message) = envelope::message(id, &copies, body.clone(), hostname) else { continue };
            let recipients =
                (0..).zip(&message.submission.envelope.recipients).map(|(index, _)| index).collect();
            let (message, evidence) = (Arc::new(message), evidence.clone());
            let suspect = Suspect { message, recipients, evidence, files };
            self.rooms.delivery.quarantine.keep(suspect).await.map_err(Failure::Quarantine)?;
            kept.insert(came_as, id);
        }
        Ok(kept)
    }

    fn tell(&self, one: &Replaced, threat: &str, action: &'static str, what: What) {
        let Replaced { copy, uid: new_uid } = one;
        let (mailbox, uid) = (&copy.mailbox, copy.uid);
        tracing::warn!(
            mailbox,
            uid,
            new_uid,
            threat,
            action,
            "an infected message in a mailbox has had its end"
        );
        let about = About { queue_id: Some(copy.queue_id.to_string()), ..About::default() };
        self.rooms.delivery.events.record(about, what);
    }
}

// === impl Rooms ===

/// Delivery's rooms have no text of their own.
impl std::fmt::Debug for Rooms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rooms").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the quarantine: {0}")]
    Quarantine(std::io::Error),
    #[error("there is no time or memory to rewrite it now")]
    NotNow,
}

/// A reader waits for it behind his scan.
pub(crate) const TIME_MAX: Duration = LOOK_TIME_MAX.saturating_add(REWRITING_TIME_MAX);
const REWRITING_TIME_MAX: Duration = Duration::from_secs(120);
/// Without an answer by then, people are told less.
const LOOK_TIME_MAX: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests;
