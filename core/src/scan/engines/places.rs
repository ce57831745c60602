//! How many sessions there may be with an engine at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The places of one engine.
#[derive(Debug)]
pub(super) struct Places {
    most: AtomicUsize,
    taken: AtomicUsize,
}

/// The place of one session, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Places>);

// === impl Places ===

impl Places {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: AtomicUsize::new(most), taken: AtomicUsize::new(0) })
    }

    /// `None` where all are taken. There is always one.
    pub(super) fn take(self: &Arc<Self>) -> Option<Place> {
        let most = self.most.load(Ordering::Relaxed).max(1);
        let one_more = |count: usize| count.checked_add(1).filter(|count| *count <= most);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| Place(Arc::clone(self)))
    }

    /// From now on there are so many.
    pub(super) fn limit(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
