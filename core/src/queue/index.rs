//! What is in the queue, in memory.
//!
//! A message with up to 64 recipients costs its entry in the map (id, place, attempts, times, a set of 64 bits) and one
//! in the schedule: between 130 and 256 octets, by how full the two are. Reasons of failed attempts and the set of more than 64 recipients come on top.
//! Bodies are not here, except for a bounded number of octets of messages that were just accepted: a worker takes
//! them at once, and nothing is read back from disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::envelope::Change;
use super::journal::Opened;
use super::pending::Pending;
use super::schedule::Schedule;
use super::segment::{Location, SegmentId};
use super::{NewMessage, Outcome, QueueId};
use crate::intake::Body;

/// All messages with a pending recipient.
#[derive(Debug, Default)]
pub(super) struct Index {
    messages: HashMap<QueueId, Entry>,
    segments: BTreeMap<SegmentId, Use>,
    schedule: Schedule,
    fresh_octets: u64,
}

/// One message.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) place: Location,
    pub(super) pending: Pending,
    pub(super) attempts: u32,
    pub(super) not_before_ms: u64,
    pub(super) last_reason: Option<Box<str>>,
    fresh: Option<Arc<NewMessage>>,
}

/// A message that a worker may have now.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) id: QueueId,
    pub(super) place: Location,
    pub(super) pending: Vec<usize>,
    pub(super) attempts: u32,
    pub(super) fresh: Option<Arc<NewMessage>>,
}

/// Why a segment is still needed.
#[derive(Debug, Default)]
struct Use {
    /// Messages in it that have a pending recipient.
    live: usize,
    /// Segments that records in it say something about. It goes after them: `done` never disappears before what it is
    /// about.
    tells_of: BTreeSet<SegmentId>,
}

// === impl Index ===

impl Index {
    /// A segment came into use.
    pub(super) fn open_segment(&mut self, opened: Opened) {
        self.segments.entry(opened.segment).or_default().tells_of.extend(opened.tells_of);
    }

    /// Adds a message that is durable, due at once. A second one with the same id is ignored.
    pub(super) fn insert(&mut self, id: QueueId, place: Location, recipients: usize) -> bool {
        if recipients == 0 || self.messages.contains_key(&id) {
            return false;
        }
        let pending = Pending::all(recipients);
        let entry = Entry { place, pending, attempts: 0, not_before_ms: 0, last_reason: None, fresh: None };
        self.messages.insert(id, entry);
        let segment = self.segments.entry(place.segment).or_default();
        segment.live = segment.live.saturating_add(1);
        true
    }

    /// Keeps a message that was just inserted for the worker that claims it first, as long as there is room.
    pub(super) fn keep_fresh(&mut self, message: &Arc<NewMessage>) {
        let octets = fresh_octets(message);
        let total = self.fresh_octets.saturating_add(octets);
        if total > FRESH_OCTETS_MAX {
            return;
        }
        if let Some(entry) = self.messages.get_mut(&message.id) {
            entry.fresh = Some(Arc::clone(message));
            self.fresh_octets = total;
        }
    }

    /// Puts a message on the schedule, at its own time.
    pub(super) fn schedule(&mut self, id: QueueId) {
        if let Some(entry) = self.messages.get(&id) {
            self.schedule.put(id, entry.not_before_ms);
        }
    }

    /// Puts a message on the schedule, due at once, whatever its time was.
    pub(super) fn schedule_now(&mut self, id: QueueId) {
        if self.messages.contains_key(&id) {
            self.schedule.put(id, 0);
        }
    }

    /// Puts a message on the schedule, at a time that no record tells.
    pub(super) fn postpone(&mut self, id: QueueId, not_before_ms: u64) {
        if self.messages.contains_key(&id) {
            self.schedule.put(id, not_before_ms);
        }
    }

    /// All messages are due at their own times: the end of recovery.
    pub(super) fn schedule_all(&mut self) {
        let mut ids: Vec<QueueId> = self.messages.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.schedule(id);
        }
    }

    /// Takes the next due message off the schedule.
    pub(super) fn pop_due(&mut self, now_ms: u64) -> Option<Due> {
        loop {
            let id = self.schedule.pop(now_ms)?;
            let Some(entry) = self.messages.get_mut(&id) else { continue };
            let fresh = entry.fresh.take();
            if let Some(message) = &fresh {
                self.fresh_octets = self.fresh_octets.saturating_sub(fresh_octets(message));
            }
            let pending = entry.pending.indices();
            return Some(Due { id, place: entry.place, pending, attempts: entry.attempts, fresh });
        }
    }

    pub(super) fn next_due_ms(&self) -> Option<u64> {
        self.schedule.next_ms()
    }

    /// What a settled attempt changes: the record to write. Outcomes of recipients that are not pending are left out.
    pub(super) fn plan(&self, id: QueueId, outcomes: Vec<(usize, Outcome)>) -> Option<Change> {
        let entry = self.messages.get(&id)?;
        let mut pending = entry.pending.clone();
        let mut kept = Vec::with_capacity(outcomes.len());
        for (recipient, outcome) in outcomes {
            let Ok(number) = u32::try_from(recipient) else { continue };
            if !pending.contains(recipient) {
                continue;
            }
            if matches!(outcome, Outcome::Done(_)) {
                pending.remove(recipient);
            }
            kept.push((number, outcome));
        }
        // The message is tried again when its first recipient is due. One without an outcome is due at once.
        let times = kept.iter().filter_map(|(_, outcome)| match outcome {
            Outcome::Retry { not_before_ms, .. } => Some(*not_before_ms),
            Outcome::Done(_) => None,
        });
        let retried = times.clone().count();
        let not_before_ms = if retried < pending.count() { 0 } else { times.min().unwrap_or(0) };
        let attempts = entry.attempts.saturating_add(1);
        Some(Change { id, attempts, not_before_ms, outcomes: kept, leaves_pending: pending.count() > 0 })
    }

    /// Follows a change that is durable in `segment`.
    pub(super) fn apply(&mut self, change: &Change, segment: SegmentId) {
        let Some(entry) = self.messages.get_mut(&change.id) else { return };
        let home = entry.place.segment;
        for (recipient, outcome) in &change.outcomes {
            match outcome {
                Outcome::Done(_) => entry.pending.remove(*recipient as usize),
                Outcome::Retry { reason, .. } => entry.last_reason = Some(reason.as_str().into()),
            }
        }
        entry.attempts = change.attempts;
        entry.not_before_ms = change.not_before_ms;
        if segment != home {
            self.segments.entry(segment).or_default().tells_of.insert(home);
        }
        if entry.pending.count() == 0 {
            self.forget(change.id);
        }
    }

    /// Drops a message: done, or found to be damaged.
    pub(super) fn forget(&mut self, id: QueueId) {
        let Some(entry) = self.messages.remove(&id) else { return };
        if let Some(message) = &entry.fresh {
            self.fresh_octets = self.fresh_octets.saturating_sub(fresh_octets(message));
        }
        if let Some(home) = self.segments.get_mut(&entry.place.segment) {
            home.live = home.live.saturating_sub(1);
        }
    }

    /// Segments that nothing needs any more, apart from the active one, in an order in which they can go one by one.
    /// `removed` must follow for each that went.
    pub(super) fn removable(&self, active: Option<SegmentId>) -> Vec<SegmentId> {
        let mut gone = BTreeSet::new();
        for (id, used) in &self.segments {
            let free =
                used.tells_of.iter().all(|other| gone.contains(other) || !self.segments.contains_key(other));
            if used.live == 0 && free && active.is_some_and(|active| *id < active) {
                gone.insert(*id);
            }
        }
        gone.into_iter().collect()
    }

    pub(super) fn removed(&mut self, segment: SegmentId) {
        self.segments.remove(&segment);
    }

    pub(super) fn get(&self, id: QueueId) -> Option<&Entry> {
        self.messages.get(&id)
    }

    /// All ids, oldest first.
    pub(super) fn ids(&self) -> Vec<QueueId> {
        let mut ids: Vec<QueueId> = self.messages.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }
}

fn fresh_octets(message: &NewMessage) -> u64 {
    let body = match &message.body {
        Body::Memory(octets) => octets.len(),
        Body::File(_) => 0,
    };
    body.saturating_add(message.trace.len()) as u64
}

/// Some 16,000 mails of 4 KiB: more than the workers are ever behind in ordinary times.
const FRESH_OCTETS_MAX: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_costs_no_more_memory_than_the_module_says() {
        let entry = size_of::<(QueueId, Entry)>();
        // A hash map is between 7/16 and 7/8 full and has an octet a slot; a B-tree's nodes are at least half full.
        let (map, schedule) = ((entry + 1) * 16 / 7, size_of::<(u64, QueueId)>() * 2);
        assert!(entry <= 96, "{entry}");
        assert!(map + schedule <= 256, "{map} + {schedule}");
    }
}
