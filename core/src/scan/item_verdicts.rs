//! What one engine has said of items, by their content: an attachment that goes to thousands is given to it once.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{EngineIdentity, Verdict};

/// The verdicts of one engine under its current signatures.
#[derive(Debug, Default)]
pub(super) struct ItemVerdicts {
    state: Mutex<State>,
    ended: Condvar,
}

/// BLAKE3 of an item's octets.
type ItemHash = [u8; 32];

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
    pub(super) fn forget(&self) {
        let mut state = self.lock();
        state.epoch = state.epoch.wrapping_add(1);
        state.young.clear();
        state.old.clear();
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
        if self.identity.as_ref() != Some(identity) {
            *self = Self { identity: Some(identity.clone()), epoch: self.epoch, ..Self::default() };
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

/// Twice as many are kept, at some 100 octets each: 1.6 MiB for an engine.
const GENERATION_MAX: usize = 8_192;

#[cfg(test)]
mod tests;
