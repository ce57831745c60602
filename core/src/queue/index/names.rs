//! Names that many messages share: each is kept once, counted, and known by a number of 4 octets.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

/// A set of names and what waits under each.
#[derive(Debug, Default)]
pub(in super::super) struct Names {
    numbers: HashMap<Arc<str>, NameId>,
    slots: Vec<Slot>,
    free: Vec<NameId>,
}

/// One name in its `Names`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in super::super) struct NameId(NonZeroU32);

/// What waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct Tally {
    pub(in super::super) messages: u64,
    pub(in super::super) octets: u64,
}

#[derive(Debug)]
struct Slot {
    name: Arc<str>,
    uses: u32,
    tally: Tally,
}

// === impl Names ===

impl Names {
    /// The number of a name, which is used once more.
    pub(super) fn take(&mut self, name: &str) -> NameId {
        if let Some(id) = self.numbers.get(name).copied() {
            self.take_again(id);
            return id;
        }
        let name: Arc<str> = name.into();
        let slot = Slot { name: Arc::clone(&name), uses: 1, tally: Tally::default() };
        let id = match self.free.pop() {
            Some(id) => {
                if let Some(place) = self.slots.get_mut(id.index()) {
                    *place = slot;
                }
                id
            }
            None => {
                self.slots.push(slot);
                NameId::of_length(self.slots.len())
            }
        };
        self.numbers.insert(name, id);
        id
    }

    /// The name is used once less, and forgotten with its last use.
    pub(super) fn give_back(&mut self, id: NameId) {
        let Some(slot) = self.slots.get_mut(id.index()) else { return };
        slot.uses = slot.uses.saturating_sub(1);
        if slot.uses == 0 {
            self.numbers.remove(&slot.name);
            self.free.push(id);
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<NameId> {
        self.numbers.get(name).copied()
    }

    pub(in super::super) fn name(&self, id: NameId) -> Arc<str> {
        self.slots.get(id.index()).map_or_else(|| "".into(), |slot| Arc::clone(&slot.name))
    }

    pub(super) fn tally(&self, name: &str) -> Tally {
        let slot = self.find(name).and_then(|id| self.slots.get(id.index()));
        slot.map_or_else(Tally::default, |slot| slot.tally)
    }

    pub(super) fn deposit(&mut self, id: NameId, octets: u64) {
        if let Some(slot) = self.slots.get_mut(id.index()) {
            slot.tally.messages = slot.tally.messages.saturating_add(1);
            slot.tally.octets = slot.tally.octets.saturating_add(octets);
        }
    }

    pub(super) fn withdraw(&mut self, id: NameId, octets: u64) {
        if let Some(slot) = self.slots.get_mut(id.index()) {
            slot.tally.messages = slot.tally.messages.saturating_sub(1);
            slot.tally.octets = slot.tally.octets.saturating_sub(octets);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    fn take_again(&mut self, id: NameId) {
        if let Some(slot) = self.slots.get_mut(id.index()) {
            slot.uses = slot.uses.saturating_add(1);
        }
    }
}

// === impl NameId ===

impl NameId {
    /// Of the last of so many slots.
    fn of_length(slots: usize) -> Self {
        Self(u32::try_from(slots).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX))
    }

    const fn index(self) -> usize {
        self.0.get().saturating_sub(1) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once_and_goes_with_its_last_use() {
        let mut names = Names::default();
        let first = names.take("example.org");
        assert_eq!(names.take("example.org"), first);
        let other = names.take("example.com");
        assert_ne!(other, first);
        names.deposit(first, 10);
        assert_eq!(names.tally("example.org"), Tally { messages: 1, octets: 10 });
        names.withdraw(first, 10);
        names.give_back(first);
        assert_eq!(&*names.name(first), "example.org");
        names.give_back(first);
        assert_eq!((names.len(), names.find("example.org")), (1, None));
        assert_eq!(names.take("example.net"), first, "its number is free again");
    }
}
