//! One message in the index.

use super::super::facts::SenderKey;
use super::super::pending::Pending;
use super::super::segment::{Location, SegmentId};
use super::super::{Lane, State};
use super::names::NameId;

/// One message. Its size counts a million times.
#[derive(Debug)]
pub(in super::super) struct Entry {
    pub(super) segment: SegmentId,
    pub(super) offset: u64,
    pub(in super::super) not_before_ms: u64,
    pub(super) sender: SenderKey,
    pub(in super::super) pending: Pending,
    pub(super) domains: Domains,
    pub(super) payload_octets: u32,
    pub(in super::super) attempts: u32,
    pub(super) last_reason: Option<NameId>,
    pub(super) user: Option<NameId>,
    /// Larger bodies than 4 GiB do not exist.
    pub(super) body_octets: u32,
    /// Seconds since 1970; ends in 2106.
    pub(super) received_at: u32,
    pub(in super::super) stage: Stage,
    /// Where it stands on the schedule.
    pub(super) lane: Lane,
    pub(in super::super) held: bool,
    pub(in super::super) given_up: bool,
    /// That it is late.
    pub(in super::super) sender_knows: bool,
    /// Whether its body has a file of its own.
    pub(in super::super) has_file: bool,
}

/// The domains of the recipients.
#[derive(Debug)]
pub(super) enum Domains {
    One(NameId),
    /// Of each recipient.
    Each(Box<[NameId]>),
}

/// What a message waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Stage {
    /// Its time: it is among the later ones of the schedule, under `not_before_ms`.
    Later,
    /// A worker: it is among the due ones of the schedule.
    Due,
    /// The end of an attempt.
    Claimed,
    /// An operator.
    Held,
}

// === impl Entry ===

impl Entry {
    pub(in super::super) const fn place(&self) -> Location {
        Location { segment: self.segment, offset: self.offset, payload_octets: self.payload_octets }
    }

    pub(super) const fn set_place(&mut self, place: Location) {
        (self.segment, self.offset, self.payload_octets) =
            (place.segment, place.offset, place.payload_octets);
    }

    /// Where it belongs while nobody works on it.
    pub(super) const fn stage_by_itself(&self) -> Stage {
        match (self.given_up, self.held, self.not_before_ms) {
            (true, ..) | (false, false, 0) => Stage::Due,
            (false, true, _) => Stage::Held,
            (false, false, _) => Stage::Later,
        }
    }

    pub(in super::super) const fn state(&self) -> State {
        match self.stage {
            Stage::Claimed => State::InDelivery,
            _ if self.given_up => State::Bouncing,
            Stage::Held => State::Held,
            Stage::Later | Stage::Due if self.is_deferred() => State::Deferred,
            Stage::Later | Stage::Due => State::Waiting,
        }
    }

    /// Whether an attempt was in vain, or it was put off without one.
    pub(super) const fn is_deferred(&self) -> bool {
        self.attempts > 0 || self.last_reason.is_some()
    }

    pub(super) fn octets(&self) -> u64 {
        u64::from(self.body_octets)
    }

    /// The domains with a pending recipient, each once.
    pub(super) fn pending_domains(&self) -> Vec<NameId> {
        match &self.domains {
            Domains::One(_) if self.pending.count() == 0 => Vec::new(),
            Domains::One(domain) => vec![*domain],
            Domains::Each(domains) => {
                let pending = domains.iter().enumerate().filter(|(number, _)| self.pending.contains(*number));
                let mut found: Vec<NameId> = pending.map(|(_, domain)| *domain).collect();
                found.sort_unstable();
                found.dedup();
                found
            }
        }
    }

    /// How many recipients are pending, and how many of them in this domain.
    pub(super) fn pending_in(&self, domain: NameId) -> (usize, usize) {
        let all = self.pending.count();
        let in_domain = match &self.domains {
            Domains::One(one) if *one == domain => all,
            Domains::One(_) => 0,
            Domains::Each(each) => {
                let here = each.iter().enumerate().filter(|(_, of)| **of == domain);
                here.filter(|(number, _)| self.pending.contains(*number)).count()
            }
        };
        (all, in_domain)
    }

    /// As often as they were taken from the names.
    pub(super) fn all_domains(&self) -> &[NameId] {
        match &self.domains {
            Domains::One(domain) => std::slice::from_ref(domain),
            Domains::Each(domains) => domains,
        }
    }
}
