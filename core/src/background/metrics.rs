//! `gatepost_virus_scan_background_*`.

use prometheus::{IntCounter, IntGauge, Registry};

/// The counters of all background scans together.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) messages: IntCounter,
    pub(super) folders: IntCounter,
    pub(super) infected: IntCounter,
    pub(super) unfinished: IntCounter,
    pub(super) running: IntGauge,
}

// === impl Metrics ===

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When the registry already has counters of these names.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(format!("gatepost_virus_scan_background_{name}"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let running = IntGauge::new(
            "gatepost_virus_scan_background_running",
            "Databases that are scanned in the background now.",
        )?;
        registry.register(Box::new(running.clone()))?;
        Ok(Self {
            messages: counter("messages_total", "Messages scanned in background.")?,
            folders: counter("folders_total", "Folders scanned in background.")?,
            infected: counter("infected_total", "Stored messages that the background scan found infected.")?,
            unfinished: counter(
                "unfinished_total",
                "Stored messages on which the background scan got no verdict.",
            )?,
            running,
        })
    }
}
