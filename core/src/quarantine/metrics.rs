//! What the operator sees of the quarantine without looking into it.

use prometheus::{IntCounter, IntGauge, Registry};

/// Counters and gauges of this room. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) kept: IntCounter,
    pub(super) released: IntCounter,
    pub(super) overruled: IntCounter,
    pub(super) deleted: IntCounter,
    pub(super) expired: IntCounter,
    pub(super) messages: IntGauge,
    pub(super) octets: IntGauge,
}

// === impl Metrics ===

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// A name is taken.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name, help| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let gauge = |name, help| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        Ok(Self {
            kept: counter(
                "gatepost_virus_scan_messages_quarantined_total",
                "Mails that went into the quarantine.",
            )?,
            released: counter("gatepost_quarantine_released_total", "Mails that an operator has let go.")?,
            overruled: counter(
                "gatepost_quarantine_overruled_total",
                "Mails that an operator has let go in spite of what the scan said.",
            )?,
            deleted: counter("gatepost_quarantine_deleted_total", "Mails that an operator has deleted.")?,
            expired: counter(
                "gatepost_quarantine_expired_total",
                "Mails that had to go: too many, too old.",
            )?,
            messages: gauge("gatepost_quarantine_messages", "Mails in quarantine.")?,
            octets: gauge("gatepost_quarantine_octets", "Octets of the mails in quarantine.")?,
        })
    }
}
