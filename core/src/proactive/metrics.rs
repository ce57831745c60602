//! `gatepost_virus_scan_proactive_*`.

use prometheus::{IntCounter, IntGauge, Registry};

/// The counters of all proactive scans together.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) messages: IntCounter,
    pub(super) infected: IntCounter,
    pub(super) overflow: IntCounter,
    pub(super) unfinished: IntCounter,
    pub(super) waiting: IntGauge,
}

// === impl Metrics ===

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When the registry already has counters of these names.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(format!("gatepost_virus_scan_proactive_{name}"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let waiting = IntGauge::new(
            "gatepost_virus_scan_proactive_waiting",
            "Delivered messages that wait for their proactive scan.",
        )?;
        registry.register(Box::new(waiting.clone()))?;
        Ok(Self {
            messages: counter("messages_total", "Messages scanned behind their delivery.")?,
            infected: counter("infected_total", "Messages that the proactive scan found infected.")?,
            overflow: counter(
                "overflow_total",
                "Delivered messages left to their readers' scans because too many waited.",
            )?,
            unfinished: counter(
                "unfinished_total",
                "Delivered messages on which the proactive scan got no verdict.",
            )?,
            waiting,
        })
    }
}
