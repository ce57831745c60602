//! `gatepost_events_*`.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// The counters of the event log.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) written: IntCounter,
    pub(super) overflowed: IntCounter,
    pub(super) unwritten: IntCounter,
}

// === impl Metrics ===

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When the registry already has counters of these names.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let written = IntCounter::new("gatepost_events_written_total", "Events written to the event log.")?;
        let lost = IntCounterVec::new(
            Opts::new(
                "gatepost_events_lost_total",
                "Events that are missing in the event log: `overflow` came faster than they could be written, `write` \
                 met a failing disk.",
            ),
            &["cause"],
        )?;
        registry.register(Box::new(written.clone()))?;
        registry.register(Box::new(lost.clone()))?;
        let [overflowed, unwritten] = ["overflow", "write"].map(|cause| lost.with_label_values(&[cause]));
        Ok(Self { written, overflowed, unwritten })
    }
}
