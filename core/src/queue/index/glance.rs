//! The index as an operator sees it: selections and figures, a part at a time, so that nobody waits long for the lock.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;

use super::super::facts::{SenderKey, normal_domain};
use super::super::{AGE_BOUNDS_MS, DomainStats, Lying, QueueId, Selection, State, Stats};
use super::Index;
use super::entry::{Entry, Stage};

/// A selection as the index can judge it: all but the address of a recipient, which only the record has.
#[derive(Debug)]
pub(in super::super) struct Filter {
    ids: Option<Vec<QueueId>>,
    sender: Option<SenderKey>,
    domain: Option<String>,
    recipient_domain: Option<String>,
    before: Option<u64>,
    since: Option<u64>,
    held: Option<bool>,
    state: Option<State>,
}

/// The figures while they are gathered.
#[derive(Debug, Default)]
pub(in super::super) struct Gathering {
    stats: Stats,
    domains: HashMap<Arc<str>, DomainStats>,
}

/// Messages by what they wait for; each is counted once.
#[derive(Debug, Default)]
pub(in super::super) struct Tally {
    pub(in super::super) waiting: i64,
    pub(in super::super) deferred: i64,
    pub(in super::super) in_delivery: i64,
    pub(in super::super) held: i64,
    /// When the oldest one that is not held was received, seconds since 1970.
    pub(in super::super) oldest_s: Option<u32>,
}

// === impl Filter ===

impl Filter {
    pub(in super::super) fn new(selection: &Selection) -> Self {
        let ids = Some(selection.ids.clone()).filter(|ids| !ids.is_empty()).map(|mut ids| {
            ids.sort_unstable();
            ids.dedup();
            ids
        });
        let domain_of =
            |address: &String| normal_domain(address.rsplit_once('@').map_or("", |(_, domain)| domain));
        Self {
            ids,
            sender: selection.sender.as_deref().map(SenderKey::of_address),
            domain: selection.domain.as_deref().map(normal_domain),
            recipient_domain: selection.recipient.as_ref().map(domain_of),
            before: selection.before_ms,
            since: selection.since_ms,
            held: selection.held,
            state: selection.state,
        }
    }

    fn passes(&self, index: &Index, entry: &Entry) -> bool {
        let received_ms = u64::from(entry.received_at).saturating_mul(1_000);
        let goes_to = |domain: &String| {
            let known = index.domains.find(domain);
            known.is_some_and(|known| entry.pending_domains().contains(&known))
        };
        self.sender.is_none_or(|sender| sender == entry.sender)
            && self.before.is_none_or(|before| received_ms < before)
            && self.since.is_none_or(|since| received_ms >= since)
            && self.held.is_none_or(|held| held == entry.held)
            && self.state.is_none_or(|state| state == entry.state())
            && self.domain.as_ref().is_none_or(goes_to)
            && self.recipient_domain.as_ref().is_none_or(goes_to)
    }
}

// === impl Index ===

impl Index {
    /// Puts what passes, of the next few thousand messages behind `after`, into `found`. Returns where to go on.
    pub(in super::super) fn select(
        &self,
        filter: &Filter,
        after: Option<QueueId>,
        found: &mut Vec<QueueId>,
    ) -> Option<QueueId> {
        if let Some(ids) = &filter.ids {
            let entry = |id: &&QueueId| self.messages.get(id).is_some_and(|entry| filter.passes(self, entry));
            found.extend(ids.iter().filter(entry));
            return None;
        }
        let mut last = None;
        for (id, entry) in self.part(after) {
            last = Some(*id);
            if filter.passes(self, entry) {
                found.push(*id);
            }
        }
        last
    }

    /// How many pending recipients of these messages a selection by domain or address does not name.
    pub(in super::super) fn others(&self, selection: &Selection, ids: &[QueueId]) -> usize {
        let domain = selection.domain.as_deref().map(normal_domain);
        let entries = ids.iter().filter_map(|id| self.messages.get(id));
        let others = entries.map(|entry| match (&selection.recipient, &domain) {
            (Some(_), _) => entry.pending.count().saturating_sub(1),
            (None, Some(domain)) => self.domains.find(domain).map_or(0, |domain| {
                let (all, named) = entry.pending_in(domain);
                all.saturating_sub(named)
            }),
            (None, None) => 0,
        });
        others.fold(0, usize::saturating_add)
    }

    /// The messages that lie in a segment, of the next few thousand behind `after`.
    pub(in super::super) fn in_segment(
        &self,
        segment: super::SegmentId,
        after: Option<QueueId>,
        found: &mut Vec<QueueId>,
    ) -> Option<QueueId> {
        let mut last = None;
        for (id, entry) in self.part(after) {
            last = Some(*id);
            if entry.segment == segment {
                found.push(*id);
            }
        }
        last
    }

    /// Counts the next few thousand messages behind `after`.
    pub(in super::super) fn gather(
        &self,
        now_ms: u64,
        after: Option<QueueId>,
        into: &mut Gathering,
    ) -> Option<QueueId> {
        let mut last = None;
        for (id, entry) in self.part(after) {
            last = Some(*id);
            into.count(self, entry, now_ms);
        }
        if last.is_none() {
            into.stats.rules = self.rules.as_slice().to_vec();
            into.stats.segments = self.segments.len();
        }
        last
    }

    /// Counts the next few thousand messages behind `after` by what they wait for: what the gauges show.
    pub(in super::super) fn tally(&self, after: Option<QueueId>, into: &mut Tally) -> Option<QueueId> {
        let mut last = None;
        for (id, entry) in self.part(after) {
            last = Some(*id);
            into.count(entry);
        }
        last
    }

    /// The next so many messages behind `after`.
    pub(in super::super) fn lying(&self, after: Option<QueueId>, most: usize) -> Vec<Lying> {
        let lying = |(id, entry): (&QueueId, &Entry)| Lying {
            id: *id,
            octets: entry.place().payload_octets.into(),
            state: entry.state(),
        };
        self.part(after).take(most).map(lying).collect()
    }

    /// The youngest message.
    pub(in super::super) fn newest(&self) -> Option<QueueId> {
        self.messages.last_key_value().map(|(id, _)| *id)
    }

    fn part(&self, after: Option<QueueId>) -> impl Iterator<Item = (&QueueId, &Entry)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.messages.range((from, Bound::Unbounded)).take(PART_MESSAGES)
    }
}

// === impl Tally ===

impl Tally {
    fn count(&mut self, entry: &Entry) {
        let state = entry.state();
        let counter = match state {
            State::Held => &mut self.held,
            State::InDelivery => &mut self.in_delivery,
            State::Deferred => &mut self.deferred,
            State::Waiting | State::Bouncing => &mut self.waiting,
        };
        *counter = counter.saturating_add(1);
        if state != State::Held {
            self.oldest_s = Some(self.oldest_s.map_or(entry.received_at, |at| at.min(entry.received_at)));
        }
    }
}

// === impl Gathering ===

impl Gathering {
    pub(in super::super) fn finish(mut self) -> Stats {
        self.stats.domains = self.domains.into_values().collect();
        self.stats.domains.sort_by(|a, b| (b.messages, &a.domain).cmp(&(a.messages, &b.domain)));
        self.stats
    }

    fn count(&mut self, index: &Index, entry: &Entry, now_ms: u64) {
        let stats = &mut self.stats;
        let received_ms = u64::from(entry.received_at).saturating_mul(1_000);
        let (held, octets) = (usize::from(entry.held), entry.octets());
        stats.messages = stats.messages.saturating_add(1);
        stats.octets = stats.octets.saturating_add(octets);
        stats.held = stats.held.saturating_add(held);
        stats.in_delivery = stats.in_delivery.saturating_add(usize::from(entry.stage == Stage::Claimed));
        stats.deferred = stats.deferred.saturating_add(usize::from(entry.is_deferred()));
        stats.oldest_ms = Some(stats.oldest_ms.map_or(received_ms, |oldest| oldest.min(received_ms)));
        let age_ms = now_ms.saturating_sub(received_ms);
        let age = AGE_BOUNDS_MS.iter().take_while(|bound| age_ms >= **bound).count();
        for id in entry.pending_domains() {
            let name = index.domains.name(id);
            let domain = name.as_ref().to_owned();
            let new = || DomainStats { domain, ..DomainStats::default() };
            let domain = self.domains.entry(name).or_insert_with(new);
            domain.messages = domain.messages.saturating_add(1);
            domain.octets = domain.octets.saturating_add(octets);
            domain.held = domain.held.saturating_add(held);
            if let Some(count) = domain.ages.get_mut(age) {
                *count = count.saturating_add(1);
            }
        }
    }
}

/// Looked at under one lock: a millisecond.
const PART_MESSAGES: usize = 8_192;
