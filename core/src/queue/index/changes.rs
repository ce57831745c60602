//! What attempts and orders change.

use super::super::envelope::Change;
use super::super::segment::SegmentId;
use super::super::standing::{Mark, Marks};
use super::super::{Outcome, QueueId};
use super::Index;
use super::entry::Stage;

// === impl Index ===

impl Index {
    /// What a settled attempt changes: the record to write. Outcomes of recipients that are not pending are left out.
    pub(in super::super) fn plan(&self, id: QueueId, outcomes: Vec<(usize, Outcome)>) -> Option<Change> {
        let entry = self.messages.get(&id)?;
        let mut pending = entry.pending.clone();
        let mut kept = Vec::with_capacity(outcomes.len());
        for (recipient, outcome) in outcomes {
            let Ok(number) = u32::try_from(recipient) else { continue };
            if !pending.contains(recipient) {
                continue;
            }
            if outcome.is_terminal() {
                pending.remove(recipient);
            }
            kept.push((number, outcome));
        }
        // The message is tried again when its first recipient is due. One without an outcome is due at once.
        let times = kept.iter().filter_map(|(_, outcome)| match outcome {
            Outcome::Retry { not_before_ms, .. } | Outcome::Delayed { not_before_ms, .. } => {
                Some(*not_before_ms)
            }
            Outcome::Done(_) | Outcome::Removed => None,
        });
        let retried = times.clone().count();
        let not_before_ms = if retried < pending.count() { 0 } else { times.min().unwrap_or(0) };
        let attempts = entry.attempts.saturating_add(1);
        Some(Change { id, attempts, not_before_ms, outcomes: kept, leaves_pending: pending.count() > 0 })
    }

    /// The change that takes a message out for good.
    pub(in super::super) fn plan_removal(&self, id: QueueId) -> Option<Change> {
        let pending = self.messages.get(&id)?.pending.indices();
        self.plan(id, pending.into_iter().map(|recipient| (recipient, Outcome::Removed)).collect())
    }

    /// Follows a change that is durable in `segment`.
    pub(in super::super) fn apply(&mut self, change: &Change, segment: SegmentId) {
        self.withdraw(change.id);
        let Some(entry) = self.messages.get_mut(&change.id) else { return };
        let mut reason = None;
        for (recipient, outcome) in &change.outcomes {
            match outcome {
                Outcome::Done(_) | Outcome::Removed => entry.pending.remove(*recipient as usize),
                Outcome::Retry { reason: why, .. } => reason = Some(why),
                Outcome::Delayed { reason: why, .. } => {
                    reason = Some(why);
                    entry.sender_knows = true;
                }
            }
        }
        entry.attempts = change.attempts;
        self.schedule.remove(entry.lane, entry.not_before_ms, change.id, entry.stage);
        entry.not_before_ms = change.not_before_ms;
        entry.stage = Stage::Claimed;
        self.segments.tell_of(segment, entry.segment);
        let is_done = entry.pending.count() == 0;
        if let Some(reason) = reason {
            self.explain(change.id, reason);
        }
        self.deposit(change.id);
        if is_done {
            self.forget(change.id);
        }
    }

    /// Follows an operator's order that is durable in `segment`. Messages that wait are scheduled anew.
    pub(in super::super) fn apply_marks(&mut self, marks: &Marks, segment: SegmentId) {
        for id in &marks.ids {
            let Some(entry) = self.messages.get_mut(id) else { continue };
            match marks.mark {
                Mark::Hold => entry.held = true,
                Mark::Thaw => entry.held = false,
                Mark::GiveUp => (entry.given_up, entry.held) = (true, false),
            }
            self.segments.tell_of(segment, entry.segment);
            if entry.stage != Stage::Claimed {
                self.schedule(*id);
            }
        }
    }
}
