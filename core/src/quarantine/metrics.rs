//! What the operator sees of the quarantine without looking into it.

use prometheus::{IntCounter, IntGauge, Registry};

/// Counters and gauges of this room. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) kept: IntCounter,
    pub(super) files: IntCounter,
    pub(super) released: IntCounter,
    pub(super) overruled: IntCounter,
    pub(super) deleted: IntCounter,
    pub(super) expired: IntCounter,
    pub(super) messages: IntGauge,
    pub(super) octets: IntGauge,
}

// === impl Metrics ===

impl Metrics {
    /// A mail of which there was nothing here before.
    pub(super) fn count_kept(&self, files: usize) {
        self.kept.inc();
        self.files.inc_by(u64::try_from(files).unwrap_or(u64::MAX));
    }

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
            files: counter(
                "gatepost_virus_scan_files_quarantined_total",
                "Items in which something was found, in mails that went into the quarantine: one a mail, or all that were \
                 taken out of it.",
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
