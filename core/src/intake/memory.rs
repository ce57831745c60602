//! Memory for bodies, of the whole process: however many sessions there are and whatever they declare.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much memory bodies may take together. Clones are the same budget.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    purse: Arc<Purse>,
}

#[derive(Debug)]
struct Purse {
    octets_max: AtomicU64,
    used: AtomicU64,
}

/// What was drawn from a budget; given back when dropped.
#[derive(Debug)]
pub(super) struct Drawn {
    budget: MemoryBudget,
    octets: u64,
}

// === impl MemoryBudget ===

impl MemoryBudget {
    /// So many octets.
    #[must_use]
    pub fn new(octets_max: u64) -> Self {
        let purse = Purse { octets_max: AtomicU64::new(octets_max), used: AtomicU64::new(0) };
        Self { purse: Arc::new(purse) }
    }

    /// Changes the size; what is drawn stays drawn.
    pub fn resize(&self, octets_max: u64) {
        self.purse.octets_max.store(octets_max, Ordering::Relaxed);
    }

    /// How many octets are in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.purse.used.load(Ordering::Relaxed)
    }

    /// How many there are.
    #[must_use]
    pub fn octets_max(&self) -> u64 {
        self.purse.octets_max.load(Ordering::Relaxed)
    }

    pub(super) const fn draw(self) -> Drawn {
        Drawn { budget: self, octets: 0 }
    }
}

impl Default for MemoryBudget {
    /// Without a bound: for tools and tests.
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

// === impl Drawn ===

impl Drawn {
    /// Draws more. Tells whether the budget had it; it is counted either way, since octets that were read have to go
    /// somewhere until the body is moved to its file.
    #[must_use]
    pub(super) fn grow(&mut self, octets: u64) -> bool {
        self.octets = self.octets.saturating_add(octets);
        let before = self.budget.purse.used.fetch_add(octets, Ordering::Relaxed);
        before.saturating_add(octets) <= self.budget.octets_max()
    }

    /// Gives everything back.
    pub(super) fn give_back(&mut self) {
        self.budget.purse.used.fetch_sub(std::mem::take(&mut self.octets), Ordering::Relaxed);
    }
}

impl Drop for Drawn {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_can_be_drawn_again() {
        let budget = MemoryBudget::new(100);
        let (mut one, mut two) = (budget.clone().draw(), budget.clone().draw());
        assert!(one.grow(60));
        assert!(!two.grow(60), "twenty octets too many");
        assert_eq!(budget.used(), 120, "they are counted all the same");
        drop(two);
        assert!(one.grow(40));
        one.give_back();
        assert_eq!(budget.used(), 0);
    }
}
