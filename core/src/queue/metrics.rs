//! Counters of the queue.

use prometheus::Registry;

/// Registered once a process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {}

// === impl Metrics ===

impl Metrics {
    /// Registers the queue's metrics.
    pub fn register(_registry: &Registry) -> prometheus::Result<Self> {
        todo!()
    }
}
