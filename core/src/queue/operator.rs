//! The operator's hand on a queue that runs.

use std::io;
use std::sync::Arc;

use super::committer::Work;
use super::facts::normal_domain;
use super::handle::Queue;
use super::index::Stage;
use super::shared::{Lease, Loaded};
use super::standing::{Mark, Marks};
use super::{
    Affected, AppendError, HOLD_RULES_MAX, HoldRule, OrderError, QueueId, RecipientSummary, Removal,
    Selection, Stats,
};
use crate::events::{About, What, evidence};

// === impl Queue ===

impl Queue {
    /// Holds messages back until `thaw`. A selection by a sender alone, a domain alone or nothing at all is a standing
    /// hold as well. An attempt that is under way goes to its end. What is held already is left as it is. Survives a
    /// restart.
    ///
    /// # Errors
    /// What could not be made durable: a part of the messages may be held all the same.
    pub async fn hold(&self, selection: &Selection) -> Result<Affected, OrderError> {
        if selection.held == Some(true) {
            return Ok(Affected::default());
        }
        if let Some(rule) = rule(selection) {
            self.change_rules(|rules| rules.push(rule)).await?;
        }
        self.mark(&Selection { held: Some(false), ..selection.clone() }, Mark::Hold).await
    }

    /// Lifts the standing hold that this selection would set (all of them, for the whole queue), and frees the messages.
    ///
    /// # Errors
    /// As `hold`.
    pub async fn thaw(&self, selection: &Selection) -> Result<Affected, OrderError> {
        if selection.held == Some(false) {
            return Ok(Affected::default());
        }
        match rule(selection) {
            Some(HoldRule::Everything) => self.change_rules(Vec::clear).await?,
            Some(lifted) => self.change_rules(|rules| rules.retain(|rule| *rule != lifted)).await?,
            None => {}
        }
        self.mark(&Selection { held: Some(true), ..selection.clone() }, Mark::Thaw).await
    }

    /// Makes messages due at once; those that are held stay held. A restart forgets it.
    pub async fn retry_now(&self, selection: &Selection) -> Affected {
        let mut affected = Affected::default();
        for ids in self.select(selection).await.chunks(ORDER_MESSAGES) {
            let mut index = self.shared.index();
            for id in ids {
                let done = index.hasten(*id);
                affected.count(done);
            }
            drop(index);
            self.shared.due.notify_one();
        }
        affected
    }

    /// Takes messages out of the queue for good. Those in delivery are left alone by `Silent`; `Bounce` reaches them when
    /// their attempt ends in vain. `by` stands in the event of each recipient who gets nothing and hears nothing.
    ///
    /// # Errors
    /// What could not be made durable: a part of the messages may have gone all the same.
    pub async fn remove(
        &self,
        selection: &Selection,
        removal: Removal,
        by: &str,
    ) -> Result<Affected, OrderError> {
        match removal {
            Removal::Bounce => self.mark(selection, Mark::GiveUp).await,
            Removal::Silent => {
                let mut affected = Affected::default();
                for ids in self.select(selection).await.chunks(REMOVED_AT_ONCE) {
                    let others = self.shared.index().others(selection, ids);
                    affected.others = affected.others.saturating_add(others);
                    self.remove_some(ids, by, &mut affected).await?;
                }
                Ok(affected)
            }
        }
    }

    /// The ids that a selection lets through, oldest first. Where it names a recipient, records are read.
    pub async fn select(&self, selection: &Selection) -> Vec<QueueId> {
        let (shared, selection) = (Arc::clone(&self.shared), selection.clone());
        self.readers.run(move || shared.select(&selection)).await.unwrap_or_default()
    }

    /// The queue at a glance.
    pub async fn stats(&self) -> Stats {
        let shared = Arc::clone(&self.shared);
        self.readers.run(move || shared.stats()).await.unwrap_or_default()
    }

    /// A message as it would be delivered: our trace headers, then the body; `None` where it is not there. The reader
    /// blocks, and fails at the end of a damaged body.
    ///
    /// # Errors
    /// The disk's; `InvalidData` where the record is damaged.
    pub async fn content(&self, id: QueueId) -> io::Result<Option<Box<dyn io::Read + Send>>> {
        let shared = Arc::clone(&self.shared);
        self.readers.run(move || shared.content(id)).await?
    }

    async fn change_rules(&self, change: impl FnOnce(&mut Vec<HoldRule>)) -> Result<(), OrderError> {
        let _turn = self.rules_turn.lock().await;
        let mut rules = self.shared.index().rules().as_slice().to_vec();
        let before = rules.clone();
        change(&mut rules);
        rules.sort_unstable();
        rules.dedup();
        if rules == before {
            return Ok(());
        }
        if rules.len() > HOLD_RULES_MAX.max(before.len()) {
            return Err(OrderError::TooManyRules);
        }
        Ok(self.commit(Work::rules(rules)).await?)
    }

    async fn mark(&self, selection: &Selection, mark: Mark) -> Result<Affected, OrderError> {
        let mut affected = Affected::default();
        for ids in self.select(selection).await.chunks(ORDER_MESSAGES) {
            let in_delivery = self.in_delivery(ids);
            let others = if mark == Mark::Thaw { 0 } else { self.shared.index().others(selection, ids) };
            affected.others = affected.others.saturating_add(others);
            self.commit(Work::marks(Marks { mark, ids: ids.to_vec() })).await?;
            affected.in_delivery = affected.in_delivery.saturating_add(in_delivery);
            affected.messages = affected.messages.saturating_add(ids.len().saturating_sub(in_delivery));
        }
        Ok(affected)
    }

    fn in_delivery(&self, ids: &[QueueId]) -> usize {
        let index = self.shared.index();
        let claimed = |id: &&QueueId| index.get(**id).is_some_and(|entry| entry.stage == Stage::Claimed);
        ids.iter().filter(claimed).count()
    }

    async fn remove_some(
        &self,
        ids: &[QueueId],
        by: &str,
        affected: &mut Affected,
    ) -> Result<(), OrderError> {
        let mut removals = Vec::with_capacity(ids.len());
        for id in ids {
            let Some((lease, has_file)) = self.take_for_removal(*id) else {
                affected.count(false);
                continue;
            };
            let message = if has_file { self.read_for_removal(*id).await } else { None };
            let obituary = self.obituary(*id, by).await;
            let Some(change) = self.shared.index().plan_removal(*id) else { continue };
            let recipients = change.outcomes.len() as u64;
            removals.push((self.hand_in(Work::remove(change, message, lease)).await?, recipients, obituary));
        }
        // All of them share a few flushes.
        for (removal, recipients, obituary) in removals {
            removal.await.unwrap_or(Err(AppendError::Closed))?;
            affected.count(true);
            if let Some(metrics) = &self.shared.metrics {
                metrics.removed.inc_by(recipients);
            }
            if let Some(events) = self.shared.events.get() {
                obituary.into_iter().for_each(|(about, what)| events.record(about, what));
            }
        }
        if let Some(events) = self.shared.events.get() {
            // More than the log's channel holds would be lost.
            events.flush().await;
        }
        Ok(())
    }

    /// What the event log is to say of a message once it is gone: whose it was, only its record tells.
    async fn obituary(&self, id: QueueId, by: &str) -> Vec<(About, What)> {
        if self.shared.events.get().is_none() {
            return Vec::new();
        }
        let Some(details) = self.show(id).await else { return Vec::new() };
        let about = About { queue_id: Some(id.to_string()), ..About::from(&details.submission.origin) };
        let pending = details.summary.recipients.into_iter().filter(|recipient| recipient.pending);
        let removed = |recipient: RecipientSummary| What::Removed {
            recipient: evidence(&recipient.address),
            by: by.to_owned(),
        };
        pending.map(|recipient| (about.clone(), removed(recipient))).collect()
    }

    /// Takes a message as a worker would.
    fn take_for_removal(&self, id: QueueId) -> Option<(Lease, bool)> {
        let mut index = self.shared.index();
        let entry = index.get(id).filter(|entry| entry.stage != Stage::Claimed)?;
        let has_file = entry.has_file;
        index.take(id);
        drop(index);
        Some((Lease::claim_guard(&self.shared, id), has_file))
    }

    /// The message whose body file goes with it. Where it cannot be read now, the next start sweeps the file.
    async fn read_for_removal(&self, id: QueueId) -> Option<Arc<super::NewMessage>> {
        let place = self.shared.index().get(id)?.place();
        let shared = Arc::clone(&self.shared);
        match self.readers.run(move || shared.load(id, place)).await {
            Ok(Loaded::Whole(message)) => Some(message),
            Ok(Loaded::Damaged | Loaded::Unreadable(_)) | Err(_) => None,
        }
    }
}

// === impl Affected ===

impl Affected {
    fn count(&mut self, done: bool) {
        let counter = if done { &mut self.messages } else { &mut self.in_delivery };
        *counter = counter.saturating_add(1);
    }
}

/// The standing hold that a selection asks for.
fn rule(selection: &Selection) -> Option<HoldRule> {
    let Selection { ids, sender, recipient, domain, before_ms, since_ms, held, state } = selection;
    let is_of_a_time = before_ms.is_some() || since_ms.is_some() || held.is_some() || state.is_some();
    if !ids.is_empty() || recipient.is_some() || is_of_a_time {
        return None;
    }
    match (sender, domain) {
        (None, None) => Some(HoldRule::Everything),
        (Some(sender), None) => Some(HoldRule::Sender(sender.to_lowercase())),
        (None, Some(domain)) => Some(HoldRule::Domain(normal_domain(domain))),
        (Some(_), Some(_)) => None,
    }
}

/// Under one lock, or in one record (32 KiB).
const ORDER_MESSAGES: usize = 4_096;
/// Waiting for one flush, and for the event log.
const REMOVED_AT_ONCE: usize = 1_024;
