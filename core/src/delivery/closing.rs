//! The end of an attempt: one disposition a recipient, its durable record together with what the sender is told, then the
//! logs.
//!
//! ```text
//! what came of it -> conclude: gone or expired is the end; the store's word holds -> told -> queue.settle_with -> report
//! ```

mod alone;
mod notify;
mod report;
mod waiting;
mod warn;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use gatepost_smtp::wire::path::ReversePath;
use tracing::{debug, error, warn};

pub(super) use self::waiting::DAMAGED;
use self::waiting::{Age, give_up, is_late, outcomes, turn};
use self::warn::Found;
use super::clearance::about;
use super::dsn::{Facts, Notifier};
use super::retry::Setback;
use super::rooms::Rooms;
use super::schedule_policy::Schedules;
use super::successor::Successor;
use super::warning::Warnings;
use super::{Anew, Attempt, Disposition, Metrics, infected, trace};
use crate::badmail::{BadMessage, Cause};
use crate::events::evidence;
use crate::pickup::LISTENER as PICKUP;
use crate::queue::{Claim, NewMessage, QueueId, Wait};
use crate::scan::{InfectedAction, ItemName};

/// What senders are told, and when a mail is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Our name in notifications; a checked domain name.
    pub hostname: String,
    /// When a mail is tried again, and for how long.
    pub schedules: Schedules,
    /// What is done about infected mail for those who live elsewhere, or have mailboxes in several databases.
    pub usual: Treatment,
    /// What is done for those who live in a mailbox database, by its name; what is not here is done as usual.
    pub databases: HashMap<String, Treatment>,
    /// Warnings in an hour, all together; the others are left out.
    pub warnings_per_hour: u32,
    /// Listeners whose mail goes into mailboxes unscanned while no scan can vouch for it (`FailMode::Open`), by name.
    pub open_listeners: HashSet<String>,
}

/// What is done about infected mail for those who live in one place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Treatment {
    /// What becomes of it.
    pub infected: InfectedAction,
    /// Who hears of it, if they live here.
    pub warnings: Warnings,
}

/// Closes attempts. Cheap to clone.
#[derive(Clone)]
pub(super) struct Closing {
    pub(super) rooms: Rooms,
    pub(super) policy: Arc<ArcSwap<Policy>>,
    notifier: Notifier,
    /// Mails that were found to be damaged when they were last tried.
    damaged: Arc<Mutex<HashSet<QueueId>>>,
    metrics: Option<Metrics>,
    /// For the scan of a mail that may go back whole.
    scan_deadline: Duration,
}

// === impl Policy ===

impl Policy {
    /// What is done for somebody who lives in this database, or in none alone.
    pub(super) fn treatment(&self, database: Option<&str>) -> &Treatment {
        database.and_then(|name| self.databases.get(name)).unwrap_or(&self.usual)
    }
}

// === impl Closing ===

impl Closing {
    /// # Errors
    /// The operating system refuses a thread or randomness.
    pub(super) fn start(
        rooms: Rooms,
        policy: Policy,
        scan_deadline: Duration,
        metrics: Option<Metrics>,
    ) -> io::Result<Self> {
        let policy = Arc::new(ArcSwap::from_pointee(policy));
        let (notifier, damaged) = (Notifier::start()?, Arc::default());
        Ok(Self { rooms, policy, notifier, damaged, metrics, scan_deadline })
    }

    /// Takes a new policy on; it holds for attempts that end from now on.
    pub(super) fn reload(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }

    /// What becomes of infected mail now, and our name.
    pub(super) fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Whether a mail may lie in mailboxes before a scan has vouched for it.
    pub(super) fn fails_open(&self, message: &NewMessage) -> bool {
        self.policy.load().open_listeners.contains(&message.submission.origin.listener)
    }

    /// The beginning of a mail, with its header section or the beginning of that; empty where it cannot be read now.
    pub(super) async fn beginning(&self, message: &Arc<NewMessage>) -> Bytes {
        self.notifier.beginning(message).await.unwrap_or_default()
    }

    /// Writes what became of the recipients into the queue, which is their removal where they are done; then lets the
    /// store forget them. `anew` becomes durable with it. Answers whether the queue could keep it.
    pub(super) async fn close(&self, claim: Claim, attempted: Vec<Attempt>, anew: Option<Anew>) -> bool {
        self.close_with(claim, attempted, Vec::new(), anew, None).await
    }

    /// As `close`; the mails that take the place of this one become durable with that or not at all. `culprit`: the item in which
    /// something was found.
    pub(super) async fn close_with(
        &self,
        claim: Claim,
        attempted: Vec<Attempt>,
        successors: Vec<Successor>,
        anew: Option<Anew>,
        culprit: Option<ItemName>,
    ) -> bool {
        let (id, message) = (claim.id, Arc::clone(&claim.message));
        let age = self.age_of(&message);
        let session = message.submission.origin.session.as_str();
        let policy = self.policy.load_full();
        let unreported = self.unreported(&claim, &attempted);
        let may_return = !attempted.iter().any(is_unscanned);
        let (gone_on, anew) = anew.map_or_else(Default::default, |anew| (anew.recipients, anew.message));
        let attempted = self.conclude(&claim, attempted, &policy, age).await;
        let attempted = infected::keep_remembered(&self.rooms.quarantine, &message, attempted).await;
        self.keep_unreturnable(&message, &attempted, &unreported).await;
        let is_late = !claim.sender_knows && is_late(&attempted, &policy, age);
        let facts = Facts {
            message: &message,
            pending: &claim.pending,
            attempted: &attempted,
            unreported: &unreported,
            gone_on: &gone_on,
            is_late,
        };
        let notification = self.notify(Arc::clone(&message), &facts, &policy, age, may_return).await;
        let outcomes = outcomes(claim.attempts, &attempted, is_late, &policy, age);
        let told = notification.as_ref().map(|(notification, told)| (notification.id, told.clone()));
        let (successors, rewritings): (Vec<_>, Vec<_>) =
            successors.into_iter().map(|successor| (successor.message, successor.rewriting)).unzip();
        let rewritten = rewritings.first().map(|rewriting| rewriting.threat.as_str());
        let found = Found { item: culprit.as_ref(), rewritten };
        let warned = self.warn(&message, &attempted, found, &policy);
        let warnings = warned.iter().map(|warned| warned.message.clone());
        let notification = notification.map(|(notification, _)| notification);
        let follow_ups = notification.into_iter().chain(successors).chain(anew).chain(warnings).collect();
        let turn = turn(&attempted);
        if let Err(error) = self.rooms.queue.settle_with(claim, turn, outcomes, follow_ups).await {
            error!(queue_id = %id, session, %error, "the outcome of a delivery could not be made durable");
            if let Some(metrics) = &self.metrics {
                metrics.settle_failures.inc();
            }
            return false;
        }
        self.report(&message, &attempted);
        self.report_silence(&message, &unreported);
        self.rooms.report_warnings(&warned, &about(&message));
        for rewriting in &rewritings {
            trace::record_rewriting(&self.rooms.events, &message, rewriting);
            self.rooms.rewriter.count(&rewriting.parts);
        }
        if let Some((notification, told)) = told {
            self.report_notification(&message, notification, &told);
        }
        self.forget(&message, &attempted).await;
        true
    }

    /// Recipients to whom mail goes on from here, and where it was refused for good: on the server behind, or on one that an
    /// alias leads to. Who has sent from outside could have given anybody's address; his own server, which he would hear
    /// of a refusal from in his session, does not hear of this one. What merely waited for too long is told, and so is what an
    /// operator returns.
    fn unreported(&self, claim: &Claim, attempted: &[Attempt]) -> Vec<usize> {
        let submission = &claim.message.submission;
        // What was picked up comes from this machine.
        if claim.given_up || submission.origin.user.is_some() || submission.origin.listener == PICKUP {
            return Vec::new();
        }
        let is_behind = |recipient: usize| {
            let known = submission.envelope.recipients.get(recipient);
            known.is_some_and(|recipient| self.rooms.relays(&recipient.path))
        };
        let refused = attempted.iter().filter(|attempt| {
            let is_refused = matches!(attempt.result, Ok(Disposition::Bounced { .. }));
            let stands_for_another = submission.forwards.of(attempt.recipient).is_some();
            is_refused && (stands_for_another || (attempt.hop.is_some() && is_behind(attempt.recipient)))
        });
        refused.map(|attempt| attempt.recipient).collect()
    }

    /// Ends what waits in vain. The store has the last word on everything that did not leave this machine: a delivery
    /// that it remembers from before a crash, or whose answer got lost, is no failure.
    async fn conclude(
        &self,
        claim: &Claim,
        attempted: Vec<Attempt>,
        policy: &Policy,
        age: Age,
    ) -> Vec<Attempt> {
        let is_proven = self.is_damage_proven(claim.id, &attempted);
        let mut attempted: Vec<Attempt> =
            attempted.into_iter().map(|attempt| give_up(claim, attempt, is_proven, policy, age)).collect();
        let mut bounced: Vec<_> = attempted.iter_mut().filter_map(bounced_here).collect();
        if bounced.is_empty() {
            return attempted;
        }
        let dispositions = bounced.iter().map(|(number, _, bounced)| (*number, bounced.clone())).collect();
        let recorded = self.rooms.store.record(claim.id, dispositions).await;
        for (number, result, _) in &mut bounced {
            match &recorded {
                Err(error) => **result = Err(Setback::Store(*error)),
                Ok(holding) => {
                    if let Some((_, holds)) = holding.iter().find(|(recipient, _)| recipient == number) {
                        **result = Ok(holds.clone());
                    }
                }
            }
        }
        attempted
    }

    /// Whether two attempts in a row have read something else than was written. One alone may have met a bit that fell over on
    /// the way from the disk, however often the mail was tried for other reasons.
    fn is_damage_proven(&self, id: QueueId, attempted: &[Attempt]) -> bool {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        if !attempted.iter().any(|attempt| attempt.result == Err(Setback::Damaged)) {
            damaged.remove(&id);
            return false;
        }
        if damaged.remove(&id) {
            return true;
        }
        if damaged.len() >= DAMAGED_MAX {
            damaged.clear();
        }
        damaged.insert(id);
        false
    }

    /// A mail that is given up and has the null sender, or one that is not told, has nobody to go back to: it goes to the
    /// operator. That comes before its record in the queue, so a crash in between keeps it twice rather than not at all. A full
    /// disk does not keep it in the queue, where nothing would become of it.
    async fn keep_unreturnable(&self, message: &NewMessage, attempted: &[Attempt], unreported: &[usize]) {
        let envelope = &message.submission.envelope;
        let has_sender = envelope.reverse_path != ReversePath::Null;
        let given_up = attempted.iter().filter_map(|attempt| match &attempt.result {
            Ok(Disposition::Bounced { .. }) if has_sender && !unreported.contains(&attempt.recipient) => None,
            Ok(Disposition::Bounced { reason }) => {
                Some((envelope.recipients.get(attempt.recipient)?.path.to_string(), reason.as_str()))
            }
            _ => None,
        });
        let (recipients, reasons): (Vec<_>, Vec<_>) = given_up.unzip();
        let Some(reason) = reasons.first() else { return };
        let kept = match &self.rooms.badmail {
            None => Err(io::ErrorKind::NotFound.into()),
            Some(badmail) => match self.rooms.queue.content(message.id).await {
                Ok(content) => {
                    let bad = BadMessage {
                        id: message.id,
                        cause: Cause::Undeliverable,
                        reason: evidence(reason),
                        sender: envelope.reverse_path.to_string(),
                        recipients,
                        content: content.unwrap_or_else(|| Box::new(io::empty())),
                    };
                    badmail.keep(bad).await
                }
                Err(error) => Err(error),
            },
        };
        let (queue_id, session) = (message.id, message.submission.origin.session.as_str());
        match kept {
            Ok(name) => {
                warn!(%queue_id, session, name, "a mail that nobody can be told of is among the bad mail");
            }
            Err(error) => {
                error!(%queue_id, session, %error, "a mail that nobody can be told of could not be kept");
            }
        }
    }

    /// How long a mail has waited, and how much of that was a pause.
    pub(super) fn age_of(&self, message: &NewMessage) -> Age {
        Age::of(message, self.rooms.remote.as_ref(), self.wait_of(message))
    }

    fn wait_of(&self, message: &NewMessage) -> Wait {
        self.rooms.queue.wait_of(message.id, message.submission.origin.received_at_ms)
    }

    async fn forget(&self, message: &NewMessage, attempted: &[Attempt]) {
        let done = attempted.iter().filter(|attempt| attempt.is_done());
        let forget: Vec<u32> = done.filter_map(|attempt| u32::try_from(attempt.recipient).ok()).collect();
        if !forget.is_empty()
            && let Err(error) = self.rooms.store.forget(message.id, forget).await
        {
            let session = message.submission.origin.session.as_str();
            debug!(queue_id = %message.id, session, %error, "dispositions stay remembered until the next start");
        }
        infected::settled(&self.rooms.quarantine, message.id, attempted).await;
    }
}

/// A recipient that was given up without a next hop's having a part in it: its number, and the place of its result.
fn bounced_here(attempt: &mut Attempt) -> Option<(u32, &mut Result<Disposition, Setback>, Disposition)> {
    let number = u32::try_from(attempt.recipient).ok()?;
    match (&attempt.result, &attempt.hop) {
        (Ok(bounced @ Disposition::Bounced { .. }), None) => {
            let bounced = bounced.clone();
            Some((number, &mut attempt.result, bounced))
        }
        _ => None,
    }
}

/// Whether this very attempt has asked for a scan in vain: asking once more would cost the same time for the same answer.
fn is_unscanned(attempt: &Attempt) -> bool {
    attempt.result == Err(Setback::Scan)
}

/// Mails. Beyond, one that is damaged is looked at once more.
const DAMAGED_MAX: usize = 10_000;
