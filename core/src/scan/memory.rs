//! What the scans that run hold: their messages, and what these decode and unpack to.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::intake::Body;
use crate::memory::{Drawn, MemoryBudget};

/// The memory of running scans. A scan waits before it begins, holding nothing, and is never made to wait after that. One that
/// runs alone gets what it needs, budget or not: else a message that is larger than the budget would never be scanned.
#[derive(Debug)]
pub(super) struct ScanMemory {
    budget: MemoryBudget,
    running: Mutex<usize>,
    left: Condvar,
}

/// What one scan holds, until it is dropped.
#[derive(Debug)]
pub(super) struct Held<'a> {
    memory: &'a ScanMemory,
    drawn: Drawn,
    decoded: u64,
    /// How much of `decoded` is drawn.
    decoded_drawn: u64,
}

// === impl ScanMemory ===

impl ScanMemory {
    pub(super) const fn new(budget: MemoryBudget) -> Self {
        Self { budget, running: Mutex::new(0), left: Condvar::new() }
    }

    /// Draws what this message takes, once it is in memory and once decoded: more only archives have. `None` where that is not
    /// to be had before it is `due`.
    pub(super) fn enter(&self, body: &Body, due: &dyn Fn() -> Instant) -> Option<Held<'_>> {
        let decoded = body.octets();
        let message = match body {
            // Counted by whoever holds it.
            Body::Memory(_) => 0,
            Body::File(_) => decoded,
        };
        let octets = message.saturating_add(decoded);
        let mut drawn = self.budget.clone().draw();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while !drawn.try_grow(octets, 0) {
            if *running == 0 {
                let _ = drawn.grow(octets);
                break;
            }
            if Instant::now() >= due() {
                return None;
            }
            // Others than scans draw from the budget too, and wake nobody up when they give back.
            let waited = self.left.wait_timeout(running, LOOK_AGAIN).unwrap_or_else(PoisonError::into_inner);
            running = waited.0;
        }
        *running = running.saturating_add(1);
        drop(running);
        Some(Held { memory: self, drawn, decoded: 0, decoded_drawn: decoded })
    }
}

// === impl Held ===

impl Held<'_> {
    /// So many octets more were decoded. Tells whether there is memory for them.
    pub(super) fn decoded(&mut self, octets: usize) -> bool {
        self.decoded = self.decoded.saturating_add(u64::try_from(octets).unwrap_or(u64::MAX));
        let missing = self.decoded.saturating_sub(self.decoded_drawn);
        if missing == 0 {
            return true;
        }
        self.decoded_drawn = self.decoded;
        let is_alone = *self.memory.running.lock().unwrap_or_else(PoisonError::into_inner) == 1;
        // They are there already: counted either way.
        self.drawn.grow(missing) || is_alone
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.drawn.give_back();
        let mut running = self.memory.running.lock().unwrap_or_else(PoisonError::into_inner);
        *running = running.saturating_sub(1);
        self.memory.left.notify_all();
    }
}

/// Short beside the time that a session has for its scan.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;

    fn body(octets: usize) -> Body {
        Body::Memory(Bytes::from(vec![0; octets]))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(150)
    }

    #[test]
    fn a_second_scan_waits_for_memory_and_gives_up_when_it_is_due() {
        let memory = ScanMemory::new(MemoryBudget::new(100));
        let due = soon();
        let first = memory.enter(&body(80), &|| due).unwrap();
        assert!(memory.enter(&body(30), &|| due).is_none());
        assert_eq!(memory.budget.used(), 80, "who gave up holds nothing");
        drop(first);
        assert!(memory.enter(&body(30), &|| due).is_some());
        assert_eq!(memory.budget.used(), 0);
    }

    #[test]
    fn who_waits_goes_on_when_memory_comes_back() {
        let memory = Arc::new(ScanMemory::new(MemoryBudget::new(100)));
        let due = Instant::now() + Duration::from_secs(60);
        let first = memory.enter(&body(80), &|| due).unwrap();
        let waiting = {
            let memory = Arc::clone(&memory);
            std::thread::spawn(move || memory.enter(&body(80), &|| due).is_some())
        };
        drop(first);
        assert!(waiting.join().unwrap());
    }

    #[test]
    fn a_scan_alone_gets_more_than_there_is() {
        let memory = ScanMemory::new(MemoryBudget::new(100));
        let mut alone = memory.enter(&body(300), &soon).unwrap();
        assert!(alone.decoded(900));
        assert_eq!(memory.budget.used(), 900);
    }

    #[test]
    fn what_unpacks_beyond_the_budget_ends_a_scan_that_is_not_alone() {
        let memory = ScanMemory::new(MemoryBudget::new(100));
        let _other = memory.enter(&body(10), &soon).unwrap();
        let mut bomb = memory.enter(&body(10), &soon).unwrap();
        assert!(bomb.decoded(10), "as much as the message has was drawn at the start");
        assert!(bomb.decoded(80));
        assert!(!bomb.decoded(1));
    }
}
