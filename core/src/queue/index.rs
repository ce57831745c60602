//! What is in the queue, in memory.
//!
//! A message with up to 64 recipients of one domain costs its entry in a B-tree (where it lies, when it is due, whom it
//! concerns) and one in the schedule: some 240 octets together, 300 at most. Names of domains and users and reasons of
//! failed attempts are kept once each. A set of more than 64 recipients and recipients of several domains come on top.
//! Bodies are not here, except for a bounded number of octets of messages that were just accepted: a worker takes
//! them at once, and nothing is read back from disk.

mod changes;
mod entry;
mod glance;
mod lanes;
mod names;
mod segments;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use self::entry::Domains;
pub(super) use self::entry::{Entry, Stage};
pub(super) use self::glance::{Filter, Gathering, Tally};
use self::lanes::Lanes;
use self::names::Names;
use self::segments::Segments;
use super::facts::Facts;
use super::journal::Opened;
use super::pending::Pending;
use super::schedule::{Schedule, believed};
use super::segment::{Location, SegmentId};
use super::standing::{Rules, Standing};
use super::{Lane, NewMessage, QueueId, Quota, Quotas};
use crate::intake::Body;

/// All messages with a pending recipient.
#[derive(Debug, Default)]
pub(super) struct Index {
    messages: BTreeMap<QueueId, Entry>,
    fresh: HashMap<QueueId, Arc<NewMessage>>,
    fresh_octets: u64,
    schedule: Schedule,
    lanes: Lanes,
    segments: Segments,
    domains: Names,
    users: Names,
    reasons: Names,
    rules: Rules,
}

/// A message that a worker may have now.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) id: QueueId,
    pub(super) place: Location,
    pub(super) pending: Vec<usize>,
    pub(super) attempts: u32,
    pub(super) given_up: bool,
    pub(super) sender_knows: bool,
    pub(super) fresh: Option<Arc<NewMessage>>,
}

// === impl Index ===

impl Index {
    /// A segment came into use.
    pub(super) fn open_segment(&mut self, opened: Opened) {
        self.segments.open(opened);
    }

    /// Adds a message that is durable, not yet on the schedule. A second one with the same id is ignored.
    pub(super) fn insert(&mut self, id: QueueId, place: Location, facts: &Facts) -> bool {
        let standing = Standing {
            id,
            attempts: 0,
            not_before_ms: 0,
            held: self.rules.hold(facts),
            given_up: false,
            sender_knows: false,
            last_reason: None,
            pending: Pending::all(facts.recipients),
        };
        facts.recipients > 0 && !self.messages.contains_key(&id) && self.insert_as(standing, place, facts)
    }

    /// A message was carried on to `place`: what is said there counts from now on.
    pub(super) fn insert_moved(&mut self, standing: Standing, place: Location, facts: &Facts) {
        self.forget(standing.id);
        if standing.pending.count() > 0 {
            self.insert_as(standing, place, facts);
        }
    }

    /// A message was carried on to `place`, and stands where it stood.
    pub(super) fn relocate(&mut self, id: QueueId, place: Location) {
        if let Some(entry) = self.messages.get_mut(&id) {
            self.segments.release(entry.place());
            entry.set_place(place);
            self.segments.occupy(place);
        }
    }

    /// Where a message stands, for the record that carries it on.
    pub(super) fn standing(&self, id: QueueId) -> Option<Standing> {
        let entry = self.messages.get(&id)?;
        Some(Standing {
            id,
            attempts: entry.attempts,
            not_before_ms: entry.not_before_ms,
            held: entry.held,
            given_up: entry.given_up,
            sender_knows: entry.sender_knows,
            last_reason: self.last_reason(entry).map(|reason| reason.as_ref().to_owned()),
            pending: entry.pending.clone(),
        })
    }

    /// Keeps a message that was just scheduled for the worker that claims it first, as long as there is room. One that is
    /// held is waited for by nobody, and would take the room of those that are not.
    pub(super) fn keep_fresh(&mut self, message: &Arc<NewMessage>) {
        let total = self.fresh_octets.saturating_add(fresh_octets(message));
        let is_due = self.messages.get(&message.id).is_some_and(|entry| entry.stage == Stage::Due);
        if total <= FRESH_OCTETS_MAX && is_due {
            self.fresh.insert(message.id, Arc::clone(message));
            self.fresh_octets = total;
        }
    }

    /// Puts a message on the schedule, at its own time; not one that is held. Answers whether a worker is to know of it.
    pub(super) fn schedule(&mut self, id: QueueId) -> bool {
        let Some(entry) = self.messages.get_mut(&id) else { return false };
        let was_due = entry.stage == Stage::Due;
        self.schedule.remove(entry.lane, entry.not_before_ms, id, entry.stage);
        entry.stage = entry.stage_by_itself();
        if !(was_due && entry.stage == Stage::Due) {
            entry.lane = self.lanes.of(entry, &self.domains);
            self.schedule.put(entry.lane, entry.not_before_ms, id, entry.stage);
        }
        entry.stage != Stage::Held
    }

    /// Makes a message due at once, whatever its time was; not one that is held. `false` where an attempt is under way or
    /// it is gone.
    pub(super) fn hasten(&mut self, id: QueueId) -> bool {
        let Some(entry) = self.messages.get_mut(&id).filter(|entry| entry.stage != Stage::Claimed) else {
            return false;
        };
        self.schedule.remove(entry.lane, entry.not_before_ms, id, entry.stage);
        entry.not_before_ms = 0;
        self.schedule(id);
        true
    }

    /// The attempt ended without an outcome: the message is due again at once.
    pub(super) fn give_back(&mut self, id: QueueId) {
        if let Some(entry) = self.messages.get_mut(&id).filter(|entry| entry.stage == Stage::Claimed) {
            entry.not_before_ms = 0;
            self.schedule(id);
        }
    }

    /// Puts a message that was claimed back on the schedule, at a time and for a reason that no record tells.
    pub(super) fn postpone(&mut self, id: QueueId, not_before_ms: u64, reason: Option<&str>) {
        if let Some(entry) = self.messages.get_mut(&id) {
            entry.not_before_ms = not_before_ms;
            self.schedule(id);
        }
        if let Some(reason) = reason {
            self.explain(id, reason);
        }
    }

    /// Says from now on why a message waits.
    fn explain(&mut self, id: QueueId, reason: &str) {
        let Some(entry) = self.messages.get_mut(&id).filter(|_| self.reasons.len() < REASONS_MAX) else {
            return;
        };
        let before = entry.last_reason.replace(self.reasons.take(reason));
        if let Some(before) = before {
            self.reasons.give_back(before);
        }
    }

    /// A message that is not on the schedule yet is due at its time, if that can be right.
    pub(super) fn believe(&mut self, id: QueueId, now_ms: u64) {
        if let Some(entry) = self.messages.get_mut(&id).filter(|entry| entry.stage == Stage::Claimed) {
            entry.not_before_ms = believed(entry.not_before_ms, now_ms);
        }
    }

    /// All messages are due at their own times, which follow a clock that was set back by `back_ms`: the end of recovery.
    pub(super) fn schedule_all(&mut self, back_ms: u64, now_ms: u64) {
        for (id, entry) in &mut self.messages {
            entry.not_before_ms = believed(entry.not_before_ms.saturating_sub(back_ms), now_ms);
            entry.stage = entry.stage_by_itself();
            self.schedule.put(entry.lane, entry.not_before_ms, *id, entry.stage);
        }
    }

    /// Goes by this from now on, for what is on the schedule already as well.
    pub(super) fn set_lanes(&mut self, lane_of: impl Fn(&str) -> Lane + Send + Sync + 'static) {
        self.lanes = Lanes::new(lane_of);
        self.schedule = Schedule::default();
        for (id, entry) in &mut self.messages {
            entry.lane = self.lanes.of(entry, &self.domains);
            self.schedule.put(entry.lane, entry.not_before_ms, *id, entry.stage);
        }
    }

    /// The wall clock was set back: what waits for a time waits no longer than it would have.
    pub(super) fn set_back(&mut self, by_ms: u64) {
        let waiting = self.schedule.take_later();
        for id in waiting {
            let Some(entry) = self.messages.get_mut(&id).filter(|entry| entry.stage == Stage::Later) else {
                continue;
            };
            entry.not_before_ms = entry.not_before_ms.saturating_sub(by_ms).max(1);
            self.schedule.put(entry.lane, entry.not_before_ms, id, Stage::Later);
        }
    }

    /// Takes the next due message of a lane that is open off the schedule.
    pub(super) fn pop_due(&mut self, now_ms: u64, is_open: impl Fn(Lane) -> bool) -> Option<Due> {
        loop {
            let (id, stage) = self.schedule.pop(now_ms, &is_open)?;
            let Some(entry) = self.messages.get(&id).filter(|entry| entry.stage == stage) else { continue };
            let (place, attempts) = (entry.place(), entry.attempts);
            let (given_up, sender_knows) = (entry.given_up, entry.sender_knows);
            let pending = entry.pending.indices();
            let fresh = self.take(id);
            return Some(Due { id, place, pending, attempts, given_up, sender_knows, fresh });
        }
    }

    /// Takes a message off the schedule for somebody who will settle it. It must not be claimed.
    pub(super) fn take(&mut self, id: QueueId) -> Option<Arc<NewMessage>> {
        if let Some(entry) = self.messages.get_mut(&id) {
            self.schedule.remove(entry.lane, entry.not_before_ms, id, entry.stage);
            entry.stage = Stage::Claimed;
        }
        let fresh = self.fresh.remove(&id)?;
        self.fresh_octets = self.fresh_octets.saturating_sub(fresh_octets(&fresh));
        Some(fresh)
    }

    /// When the next message of a lane that is open is due; 0: at once.
    pub(super) fn next_due_ms(&self, is_open: impl Fn(Lane) -> bool) -> Option<u64> {
        self.schedule.next_ms(is_open)
    }

    pub(super) fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    pub(super) const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Whether as much waits already as may wait for this user and these domains.
    pub(super) fn is_over(&self, quotas: &Quotas, user: Option<&str>, domains: &[String]) -> bool {
        let is_over = |names: &Names, name: &str, quota: &Quota| {
            let tally = names.tally(name);
            quota.messages.is_some_and(|most| tally.messages >= most)
                || quota.octets.is_some_and(|most| tally.octets >= most)
        };
        user.is_some_and(|user| is_over(&self.users, user, &quotas.user))
            || domains.iter().any(|domain| is_over(&self.domains, domain, &quotas.domain))
    }

    /// Drops a message: done, or found to be damaged.
    pub(super) fn forget(&mut self, id: QueueId) {
        self.take(id);
        self.withdraw(id);
        let Some(entry) = self.messages.remove(&id) else { return };
        for domain in entry.all_domains() {
            self.domains.give_back(*domain);
        }
        if let Some(user) = entry.user {
            self.users.give_back(user);
        }
        if let Some(reason) = entry.last_reason {
            self.reasons.give_back(reason);
        }
        self.segments.release(entry.place());
    }

    pub(super) const fn segments(&self) -> &Segments {
        &self.segments
    }

    pub(super) fn removed(&mut self, segment: SegmentId) {
        self.segments.removed(segment);
    }

    pub(super) fn get(&self, id: QueueId) -> Option<&Entry> {
        self.messages.get(&id)
    }

    pub(super) fn last_reason(&self, entry: &Entry) -> Option<Arc<str>> {
        entry.last_reason.map(|reason| self.reasons.name(reason))
    }

    /// All ids, oldest first.
    pub(super) fn ids(&self) -> Vec<QueueId> {
        self.messages.keys().copied().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    fn insert_as(&mut self, standing: Standing, place: Location, facts: &Facts) -> bool {
        let one = facts.domains.first().map_or("", String::as_str);
        let domains = if facts.domain_of.is_empty() {
            Domains::One(self.domains.take(one))
        } else {
            let of = |domain: &u32| facts.domains.get(*domain as usize).map_or("", String::as_str);
            Domains::Each(facts.domain_of.iter().map(|domain| self.domains.take(of(domain))).collect())
        };
        let entry = Entry {
            segment: place.segment,
            offset: place.offset,
            payload_octets: place.payload_octets,
            not_before_ms: standing.not_before_ms,
            sender: facts.sender,
            pending: standing.pending,
            domains,
            attempts: standing.attempts,
            last_reason: standing.last_reason.map(|reason| self.reasons.take(&reason)),
            user: facts.user.as_deref().map(|user| self.users.take(user)),
            body_octets: u32::try_from(facts.octets).unwrap_or(u32::MAX),
            received_at: u32::try_from(facts.received_at_ms / 1_000).unwrap_or(u32::MAX),
            stage: Stage::Claimed,
            lane: Lane::default(),
            held: standing.held,
            given_up: standing.given_up,
            sender_knows: standing.sender_knows,
            has_file: facts.file.is_some(),
        };
        self.messages.insert(standing.id, entry);
        self.segments.occupy(place);
        self.deposit(standing.id);
        true
    }

    /// Counts a message under its user and the domains that still wait for it.
    fn deposit(&mut self, id: QueueId) {
        let Some(entry) = self.messages.get(&id) else { return };
        for domain in entry.pending_domains() {
            self.domains.deposit(domain, entry.octets());
        }
        if let Some(user) = entry.user {
            self.users.deposit(user, entry.octets());
        }
    }

    fn withdraw(&mut self, id: QueueId) {
        let Some(entry) = self.messages.get(&id) else { return };
        for domain in entry.pending_domains() {
            self.domains.withdraw(domain, entry.octets());
        }
        if let Some(user) = entry.user {
            self.users.withdraw(user, entry.octets());
        }
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
/// Next hops may put an id into each reply: beyond so many different reasons the last known one stays.
const REASONS_MAX: usize = 50_000;

#[cfg(test)]
mod tests;
