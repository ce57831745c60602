//! What the queue has promised, and what a restart may find of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::super::standing::Mark;
use super::super::{AppendError, QueueId};
use super::RECIPIENTS;

/// All promises.
#[derive(Default)]
pub(super) struct Ledger {
    promises: BTreeMap<QueueId, Promise>,
    /// Refused for want of space, or undone: never to be seen again.
    refused: BTreeSet<QueueId>,
    /// The domains with a standing hold: as promised and, behind it, those of orders that failed since.
    rules: Vec<BTreeSet<usize>>,
}

/// What is promised of one message.
#[derive(Debug, Clone)]
struct Promise {
    body: Bytes,
    /// What a restart may find: what was promised and, behind it, what settles that failed since would have left.
    ends: Vec<End>,
    /// Likewise of the operator's orders.
    flags: Vec<Flags>,
    /// Whether it may be missing: its append failed, so nobody knows.
    may_be_missing: bool,
}

/// What an attempt leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct End {
    pending: Vec<usize>,
    /// The follow-ups that come with it, and only with it.
    follow_ups: Vec<(QueueId, usize, Bytes)>,
}

/// What an operator ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) held: bool,
    pub(super) given_up: bool,
}

/// What a piece of work does where it is taken.
pub(super) enum Expected {
    /// Adds a message to a domain.
    Appended(QueueId, usize, Bytes),
    /// Leaves these recipients pending, and adds these follow-ups.
    Settled(QueueId, Vec<usize>, Vec<(QueueId, usize, Bytes)>),
    Marked(Mark, Vec<QueueId>),
    Rules(BTreeSet<usize>),
}

// === impl Ledger ===

impl Ledger {
    /// An id that never reached the disk may be given again after a restart with a clock that went back.
    pub(super) fn given_again(&mut self, id: QueueId) {
        self.refused.remove(&id);
    }

    pub(super) fn note(&mut self, expected: Expected, result: Result<(), AppendError>) {
        match expected {
            Expected::Appended(id, ..) if result == Err(AppendError::Full) => {
                self.refused.insert(id);
            }
            Expected::Appended(id, domain, body) => self.append(id, domain, body, result.is_err()),
            Expected::Settled(id, pending, follow_ups) => self.settle(id, pending, follow_ups, result),
            Expected::Marked(mark, ids) => {
                for id in ids {
                    if let Some(promise) = self.promises.get_mut(&id) {
                        let flags = promise.flags[0].with(mark);
                        apply(&mut promise.flags, flags, result);
                    }
                }
            }
            Expected::Rules(rules) => {
                self.rules.resize(self.rules.len().max(1), BTreeSet::new());
                apply(&mut self.rules, rules, result);
            }
        }
    }

    /// A fresh segment has flushed and told where the failed one ends: what failed before never comes back.
    pub(super) fn forget_failures(&mut self) {
        self.rules.truncate(1);
        for promise in self.promises.values_mut() {
            promise.flags.truncate(1);
            let undone = promise.ends.drain(1..).flat_map(|end| end.follow_ups);
            self.refused.extend(undone.map(|(id, ..)| id));
        }
        let failed = self.promises.extract_if(.., |_, promise| promise.may_be_missing);
        self.refused.extend(failed.map(|(id, _)| id));
    }

    /// Compares; from here on what was found is what is known.
    pub(super) fn check(
        &mut self,
        found: &BTreeMap<QueueId, (Vec<usize>, Flags)>,
        rules: BTreeSet<usize>,
        seed: u64,
    ) {
        self.rules.resize(self.rules.len().max(1), BTreeSet::new());
        assert!(self.rules.contains(&rules), "seed {seed}: holds {rules:?}, promised {:?}", self.rules);
        // Those of follow-ups that failed settles brought after all; the others are undone.
        let known: BTreeSet<QueueId> = found.keys().copied().collect();
        let mut brought = Vec::new();
        for (id, promise) in &mut self.promises {
            if promise.may_be_missing && !known.contains(id) {
                continue;
            }
            let pending = found.get(id).map_or(Vec::new(), |(pending, _)| pending.clone());
            let has = |end: &End| end.follow_ups.iter().filter(|(id, ..)| known.contains(id)).count();
            let fits = |end: &&End| {
                let others: usize = promise.ends.iter().filter(|other| other != end).map(has).sum();
                end.pending == pending && has(end) == end.follow_ups.len() && others == 0
            };
            let end = promise.ends.iter().find(fits).cloned();
            let end = end.unwrap_or_else(|| {
                panic!("seed {seed}: {id} has {pending:?} pending, promised was {:?}", promise.ends)
            });
            let undone = promise.ends.iter().filter(|other| **other != end);
            self.refused.extend(undone.flat_map(|other| &other.follow_ups).map(|(id, ..)| *id));
            if let Some((_, flags)) = found.get(id) {
                assert!(
                    promise.flags.contains(flags),
                    "seed {seed}: {id} is {flags:?}, promised was {:?}",
                    promise.flags
                );
                promise.flags = vec![*flags];
            }
            promise.ends = vec![End { pending, follow_ups: Vec::new() }];
            brought.extend(end.follow_ups);
        }
        self.promises.retain(|id, promise| {
            let gone = promise.may_be_missing && !known.contains(id);
            promise.may_be_missing = false;
            !gone
        });
        for (id, _, body) in brought {
            let (pending, flags) = &found[&id];
            assert_eq!(pending.len(), RECIPIENTS, "seed {seed}: nobody tried {id}");
            let ends = vec![End { pending: pending.clone(), follow_ups: Vec::new() }];
            let promise = Promise { body, ends, flags: vec![*flags], may_be_missing: false };
            self.promises.insert(id, promise);
        }
        for id in &known {
            assert!(!self.refused.contains(id), "seed {seed}: {id} came back after it was refused");
            assert!(self.promises.contains_key(id), "seed {seed}: {id} was never taken");
        }
        self.rules = vec![rules];
    }

    /// The mails that must be there, right behind `check`.
    pub(super) fn pending_bodies(&self) -> Vec<(QueueId, Bytes)> {
        let pending = self.promises.iter().filter(|(_, promise)| !promise.ends[0].pending.is_empty());
        pending.map(|(id, promise)| (*id, promise.body.clone())).collect()
    }

    fn append(&mut self, id: QueueId, domain: usize, body: Bytes, failed: bool) {
        // A failed order about the holds before it in the same batch may count as well.
        let held = self.rules.iter().map(|rules| rules.contains(&domain));
        let mut flags: Vec<Flags> = held.map(|held| Flags { held, given_up: false }).collect();
        if flags.is_empty() {
            flags.push(Flags { held: false, given_up: false });
        }
        if !failed {
            flags.truncate(1);
        }
        let ends = vec![End { pending: (0..RECIPIENTS).collect(), follow_ups: Vec::new() }];
        self.promises.insert(id, Promise { body, ends, flags, may_be_missing: failed });
    }

    fn settle(
        &mut self,
        id: QueueId,
        pending: Vec<usize>,
        follow_ups: Vec<(QueueId, usize, Bytes)>,
        result: Result<(), AppendError>,
    ) {
        let promise = self.promises.get_mut(&id).unwrap();
        match result {
            Ok(()) => {
                promise.ends = vec![End { pending, follow_ups: Vec::new() }];
                for (id, domain, body) in follow_ups {
                    self.append(id, domain, body, false);
                }
            }
            Err(AppendError::Full) => self.refused.extend(follow_ups.into_iter().map(|(id, ..)| id)),
            Err(_) => promise.ends.push(End { pending, follow_ups }),
        }
    }
}

// === impl Flags ===

impl Flags {
    fn with(self, mark: Mark) -> Self {
        match mark {
            Mark::Hold => Self { held: true, ..self },
            Mark::Thaw => Self { held: false, ..self },
            Mark::GiveUp => Self { held: false, given_up: true },
        }
    }
}

/// What was promised changes where it worked, stays where there was no space, and is in doubt otherwise.
fn apply<T>(promised: &mut Vec<T>, new: T, result: Result<(), AppendError>) {
    match result {
        Ok(()) => *promised = vec![new],
        Err(AppendError::Full) => {}
        Err(_) => promised.push(new),
    }
}
