//! `gatepost_pickup_*`.

use prometheus::{IntCounter, Registry};

/// Counters of this room.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) queued: IntCounter,
    pub(super) bad: IntCounter,
    pub(super) troubles: IntCounter,
}

// === impl Metrics ===

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// A name is taken.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        Ok(Self {
            queued: counter("gatepost_pickup_queued_total", "Dropped mails that went into the queue.")?,
            bad: counter("gatepost_pickup_bad_total", "Dropped files that went to the bad mail.")?,
            troubles: counter(
                "gatepost_pickup_troubles_total",
                "Looks into the pickup folder that ended early: a full disk, a folder that cannot be read.",
            )?,
        })
    }
}
