//! The edge's counters.

use prometheus::Registry;

/// Counters of listeners and sessions: `gatepost_edge_...`.
#[derive(Debug)]
pub struct EdgeMetrics {}

// === impl EdgeMetrics ===

impl EdgeMetrics {
    /// Makes the counters and registers them.
    ///
    /// # Errors
    /// The registry has one of them already.
    pub fn register(_registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {})
    }
}
