//! What one engine has said of items, by their content: an attachment that goes to thousands is given to it once.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::verdict_file::{Draft, Recalled};
use super::{EngineIdentity, POLICY_VERSION, Stamp, Verdict};

/// The verdicts of one engine under its current signatures.
#[derive(Debug, Default)]
pub(super) struct ItemVerdicts {
    state: Mutex<State>,
    ended: Condvar,
}

/// BLAKE3 of an item's octets.
pub(super) type ItemHash = [u8; 32];

/// How often something was learned or forgotten. What is the same has nothing new for a file.
pub(super) type Changes = u64;

#[derive(Debug, Default)]
struct State {
    /// New ones empty it.
    identity: Option<EngineIdentity>,
    /// Of two generations, the younger one: what is asked for again moves up, the rest is forgotten with the older one.
    young: HashMap<ItemHash, Verdict>,
    old: HashMap<ItemHash, Verdict>,
    /// How often all was forgotten: what was with the engine before is not remembered behind it.
    epoch: u64,
    /// With the engine now, under `identity`.
    running: HashSet<ItemHash>,
    /// What a file has said. It waits for an engine that is not there yet, until that has these signatures, or has said something
    /// under others.
    recalled: Option<Recalled>,
    changes: Changes,
}

/// A call to the engine. Dropped, it lets the others who wait for the same item go on.
struct Running<'a> {
    verdicts: &'a ItemVerdicts,
    item: ItemHash,
    identity: &'a EngineIdentity,
    epoch: u64,
}

// === impl ItemVerdicts ===

impl ItemVerdicts {
    /// The verdict on an item, and whether it was there already. Who asks for one that the engine has at the moment waits for it,
    /// until the deadline. What is no verdict (`Failed`, `TimedOut`), or was made while the signatures changed, is not
    /// remembered.
    pub(super) fn find_or_make(
        &self,
        item: &[u8],
        identity: &dyn Fn() -> EngineIdentity,
        deadline: Instant,
        make: impl FnOnce() -> Verdict,
    ) -> (Verdict, bool) {
        let hash = *blake3::hash(item).as_bytes();
        let current = identity();
        let mut state = self.lock();
        state.turn_to(&current);
        loop {
            if state.identity.as_ref() != Some(&current) {
                // Somebody else has seen newer signatures meanwhile: nothing to share.
                drop(state);
                return (make(), false);
            }
            if let Some(verdict) = state.find(&hash) {
                return (verdict, true);
            }
            if !state.running.contains(&hash) {
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return (Verdict::TimedOut, false);
            }
            state = self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.running.insert(hash);
        let epoch = state.epoch;
        drop(state);
        let running = Running { verdicts: self, item: hash, identity: &current, epoch };
        let verdict = make();
        if is_final(&verdict) && identity() == current {
            running.remember(&verdict);
        }
        (verdict, false)
    }

    /// Has everything asked anew: the engine may know more than its version tells.
    pub(super) fn forget(&self) -> Changes {
        let mut state = self.lock();
        state.epoch = state.epoch.wrapping_add(1);
        state.young.clear();
        state.old.clear();
        state.recalled = None;
        state.changes = state.changes.wrapping_add(1);
        state.changes
    }

    /// Takes over what was said before a restart, where it was said under the plan of now, and by an engine as it is `now` or will
    /// have been once it says something. It comes before anything else is asked.
    pub(super) fn recall(&self, recalled: Recalled, now: &EngineIdentity) {
        if recalled.stamp.policy != POLICY_VERSION {
            return;
        }
        let mut state = self.lock();
        state.recalled = Some(recalled);
        state.turn_to(now);
    }

    /// All that is remembered, for the file of the engine with this name; `None` where that has it, as of `written`.
    pub(super) fn draft(&self, engine: &str, written: Changes) -> Option<(Draft, Changes)> {
        let state = self.lock();
        if state.changes == written {
            return None;
        }
        let stamp = Stamp::new(state.identity.clone()?, POLICY_VERSION);
        let mut draft = Draft::new(engine, &stamp, state.old.len().saturating_add(state.young.len()));
        for (item, verdict) in state.old.iter().chain(&state.young) {
            draft.add(item, verdict);
        }
        Some((draft, state.changes))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Running ===

impl Running<'_> {
    fn remember(&self, verdict: &Verdict) {
        let mut state = self.verdicts.lock();
        if state.identity.as_ref() == Some(self.identity) && state.epoch == self.epoch {
            state.recalled = None;
            state.changes = state.changes.wrapping_add(1);
            state.keep(self.item, verdict.clone());
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.verdicts.lock();
        if state.identity.as_ref() == Some(self.identity) {
            state.running.remove(&self.item);
        }
        drop(state);
        self.verdicts.ended.notify_all();
    }
}

// === impl State ===

impl State {
    fn turn_to(&mut self, identity: &EngineIdentity) {
        if self.identity.as_ref() == Some(identity) {
            return;
        }
        let (epoch, changes) = (self.epoch, self.changes);
        let is_current = |recalled: &mut Recalled| recalled.stamp.engine == *identity;
        let said = self.recalled.take_if(is_current).map(|recalled| recalled.verdicts).unwrap_or_default();
        let recalled = self.recalled.take();
        *self = Self { identity: Some(identity.clone()), epoch, recalled, changes, ..Self::default() };
        for (item, verdict) in said {
            self.keep(item, verdict);
        }
    }

    fn find(&mut self, item: &ItemHash) -> Option<Verdict> {
        if let Some(verdict) = self.young.get(item) {
            return Some(verdict.clone());
        }
        let verdict = self.old.remove(item)?;
        self.keep(*item, verdict.clone());
        Some(verdict)
    }

    fn keep(&mut self, item: ItemHash, verdict: Verdict) {
        if self.young.len() >= GENERATION_MAX {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(item, verdict);
    }
}

/// Another call might say something else.
const fn is_final(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Clean | Verdict::Infected { .. } | Verdict::Unscannable { .. } => true,
        Verdict::TimedOut | Verdict::Failed => false,
    }
}

/// Twice as many are remembered. A mail has about three items that no other has (itself, its text, the same in HTML), so an
/// attachment has to come again within some 19,000 mails: hours on most servers, minutes on one that takes 50 mails a second.
/// It is what a table of 65,536 places holds before it doubles: at 57 octets a place, two of them are 7.1 MiB for an engine, and
/// the file has 3.6 MiB. Each threat's name takes its octets besides.
const GENERATION_MAX: usize = 65_536 / 8 * 7;
/// The most that are remembered.
pub(super) const ITEMS_MAX: usize = 2 * GENERATION_MAX;

#[cfg(test)]
mod tests;
