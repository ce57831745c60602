//! One account of the memory that peers can make the process hold, and shares of it for single purposes.
//!
//! It counts what grows with what peers send or ask for: sessions, read buffers, envelopes, bodies, scans, mails on their way to
//! readers. What the process needs by itself (code, rules, caches with bounds of their own) is not in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much memory may be drawn together. Clones are the same budget.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    purse: Arc<Purse>,
}

#[derive(Debug)]
struct Purse {
    octets_max: AtomicU64,
    used: AtomicU64,
    /// What this is a share of: everything is drawn there as well.
    whole: Option<MemoryBudget>,
}

/// What was drawn from a budget; given back when dropped.
#[derive(Debug)]
pub struct Drawn {
    budget: MemoryBudget,
    octets: u64,
}

// === impl MemoryBudget ===

impl MemoryBudget {
    /// So many octets.
    #[must_use]
    pub fn new(octets_max: u64) -> Self {
        Self::of(octets_max, None)
    }

    /// At most so many of these octets, for one purpose. Shares may be more than the whole together: what all have drawn is
    /// bounded by the whole.
    #[must_use]
    pub fn share(&self, octets_max: u64) -> Self {
        Self::of(octets_max, Some(self.clone()))
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

    /// Draws nothing yet.
    #[must_use]
    pub const fn draw(self) -> Drawn {
        Drawn { budget: self, octets: 0 }
    }

    fn of(octets_max: u64, whole: Option<Self>) -> Self {
        let (octets_max, used) = (AtomicU64::new(octets_max), AtomicU64::new(0));
        Self { purse: Arc::new(Purse { octets_max, used, whole }) }
    }

    /// From the share to the whole.
    fn purses(&self) -> impl Iterator<Item = &Purse> {
        std::iter::successors(Some(&*self.purse), |purse| purse.whole.as_ref().map(|whole| &*whole.purse))
    }

    fn add(&self, octets: u64, left: u64) -> bool {
        let mut fits = true;
        for purse in self.purses() {
            let before = purse.used.fetch_add(octets, Ordering::Relaxed);
            let wanted = before.saturating_add(octets).saturating_add(left);
            fits &= wanted <= purse.octets_max.load(Ordering::Relaxed);
        }
        fits
    }

    fn take_back(&self, octets: u64) {
        for purse in self.purses() {
            purse.used.fetch_sub(octets, Ordering::Relaxed);
        }
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
    /// Draws more. Tells whether the budget had it; it is counted either way: for octets that are there already.
    #[must_use]
    pub fn grow(&mut self, octets: u64) -> bool {
        self.octets = self.octets.saturating_add(octets);
        self.budget.add(octets, 0)
    }

    /// Draws more where the budget, and what it is a share of, then still have `left` octets for others; else draws nothing.
    #[must_use]
    pub fn try_grow(&mut self, octets: u64, left: u64) -> bool {
        if self.budget.add(octets, left) {
            self.octets = self.octets.saturating_add(octets);
            return true;
        }
        self.budget.take_back(octets);
        false
    }

    /// Gives some back, or all where it is less.
    pub fn shrink(&mut self, octets: u64) {
        let octets = octets.min(self.octets);
        self.octets = self.octets.saturating_sub(octets);
        self.budget.take_back(octets);
    }

    /// Gives everything back.
    pub fn give_back(&mut self) {
        self.budget.take_back(std::mem::take(&mut self.octets));
    }
}

impl Drop for Drawn {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        one.shrink(30);
        assert_eq!(budget.used(), 70);
        one.give_back();
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_does_not_fit_is_not_drawn_and_some_is_left_to_others() {
        let budget = MemoryBudget::new(100);
        let mut drawn = budget.clone().draw();
        assert!(drawn.try_grow(90, 10));
        assert!(!drawn.try_grow(1, 10));
        assert_eq!(budget.used(), 90);
        assert!(drawn.try_grow(10, 0));
    }

    #[test]
    fn a_share_is_bounded_by_itself_and_by_the_whole() {
        let whole = MemoryBudget::new(100);
        let (one, two) = (whole.share(80), whole.share(80));
        let mut first = one.clone().draw();
        assert!(!first.try_grow(81, 0), "more than the share");
        assert!(first.try_grow(80, 0));
        let mut second = two.clone().draw();
        assert!(!second.try_grow(21, 0), "more than the whole has left");
        assert_eq!((whole.used(), one.used(), two.used()), (80, 80, 0));
        drop(first);
        assert!(second.try_grow(21, 0));
        assert_eq!(whole.used(), 21);
    }

    proptest! {
        #[test]
        fn whatever_is_drawn_in_whatever_order_comes_back(steps in prop::collection::vec((0..3_usize, 0..60_u64), 0..40)) {
            let whole = MemoryBudget::new(100);
            let mut drawn = [whole.clone().draw(), whole.share(50).draw(), whole.share(200).draw()];
            for (which, octets) in steps {
                match octets % 3 {
                    0 => drawn[which].give_back(),
                    _ => { let _ = drawn[which].try_grow(octets, 0); }
                }
                prop_assert!(whole.used() <= 100);
            }
            drop(drawn);
            prop_assert_eq!(whole.used(), 0);
        }
    }
}
